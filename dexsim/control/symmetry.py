"""The robot's left-right symmetry: observations and actions as seen in a mirror in its x-z plane.

A task that is symmetric too learns from every transition twice (Mittal et al., arXiv 2403.04359: augmentation with the
mirrored samples). A mirror image is a permutation of the values and a change of some signs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dexsim.errors import UserError
from dexsim.robots import RobotSpec
from dexsim.robots.mirror import VECTOR

if TYPE_CHECKING:
    from dexsim.control.observations import ObservationGroup

Entries = list[tuple[int, float]]  # for each value of the image: where it comes from, and its sign
TermMirror = Sequence[float] | Callable[[RobotSpec], Entries]

QUATERNION = (1.0, -1.0, 1.0, -1.0)  # signs of one, w x y z, under y -> -y
SAME = (1.0,)  # of what a mirror does not change


class Mirror(nn.Module):
    """Turns a batch of vectors (..., k) into their mirror image; its own inverse.

    Args:
        entries: for each value of the image its source's index and sign.
        device: where its tensors are.
    """

    index: Tensor
    sign: Tensor

    def __init__(self, entries: Sequence[tuple[int, float]], device: torch.device | str | None = None) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor([index for index, _ in entries], device=device))
        self.register_buffer("sign", torch.tensor([sign for _, sign in entries], device=device))

    def forward(self, values: Tensor) -> Tensor:
        """The mirror image."""
        return values.index_select(-1, self.index) * self.sign.to(values.dtype)

    def where(self, mirrored: Tensor, values: Tensor) -> Tensor:
        """Values (N, k), in the mirror where `mirrored` (N, 1) says so."""
        return torch.where(mirrored, self(values), values)


def left_hand_acts(object_position: Tensor) -> Tensor:
    """(N,) bool, the rule of two-sided tasks: an object (N, 3) in m that starts on the left is the left hand's.

    The left hand acts then, or begins, and the policy sees the episode in the mirror.
    """
    return object_position[:, 1] > 0


def mirror_commands(robot: RobotSpec) -> Entries:
    """Of joint positions in canonical order, in rad or as fractions of their range; `RobotSpec.mirror` as entries.

    Raises:
        UserError: for a robot that has joints on one side only.
    """
    if robot.mirror is None:
        raise UserError(f"robot {robot.name!r} has joints on one side only: no two-sided or symmetric task can be its")
    return list(zip(robot.mirror.index, robot.mirror.sign, strict=True))


def mirror_actions(robot: RobotSpec) -> Entries:
    """Of actions in canonical order: hand joints, which they take from open to closed, only change sides."""
    is_hand = robot.is_hand.tolist()
    return [(i, 1.0 if hand else sign) for hand, (i, sign) in zip(is_hand, mirror_commands(robot), strict=True)]


def mirror_fingertips(robot: RobotSpec) -> Entries:
    """Of the positions of all fingertips, three values each."""
    return [(3 * source + i, sign) for source in robot.fingertip_mirror for i, sign in enumerate(VECTOR)]


def mirror_group(group: ObservationGroup, robot: RobotSpec) -> Entries:
    """Of an observation group.

    Raises:
        UserError: for a term that has no mirror image.
    """
    entries: Entries = []
    for term in group.terms:
        if term.mirror is None:
            raise UserError(
                f"observation term {term.name!r} has no mirror image, which a symmetric or two-sided task needs"
            )
        place = group.layout[term.name]
        signs = [] if callable(term.mirror) else term.mirror
        width = place.stop - place.start
        image = term.mirror(robot) if callable(term.mirror) else [(i, signs[i % len(signs)]) for i in range(width)]
        entries += [(place.start + source, sign) for source, sign in image]
    return entries
