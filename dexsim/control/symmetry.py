"""The robot's left-right symmetry: observations and actions as seen in a mirror in its x-z plane.

A task that is symmetric too learns from every transition twice (Mittal et al., arXiv 2403.04359: augmentation with the
mirrored samples). A mirror image is a permutation of the values and a change of some signs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dexsim.errors import UserError
from dexsim.robots import RobotSpec

Entries = list[tuple[int, float]]  # for each value of the image: where it comes from, and its sign

# Signs of vectors, axial vectors (angular velocity) and quaternions w x y z under y -> -y.
VECTOR, AXIAL, QUATERNION = (1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, -1.0, 1.0, -1.0)


class Mirror:
    """Turns a batch of vectors (..., k) into their mirror image; its own inverse."""

    def __init__(self, entries: Sequence[tuple[int, float]], device: torch.device | str = "cpu") -> None:
        """`entries`: for each value of the image its source's index and sign; `device`: where the values are."""
        self._index = torch.tensor([index for index, _ in entries], device=device)
        self._sign = torch.tensor([sign for _, sign in entries], device=device)

    def __call__(self, values: Tensor) -> Tensor:
        """The mirror image."""
        return values[..., self._index] * self._sign.to(values.dtype)


def mirror_commands(robot: RobotSpec) -> Entries:
    """Of joint positions in canonical order, in rad or as fractions of their range; `RobotSpec.mirror` as entries."""
    if robot.mirror is None:
        raise UserError(f"robot {robot.name!r} has joints on one side only: no two-sided or symmetric task can be its")
    return list(zip(robot.mirror.index, robot.mirror.sign, strict=True))


def mirror_actions(robot: RobotSpec) -> Entries:
    """Of actions in canonical order: hand joints, which they take from open to closed, only change sides."""
    is_hand = robot.is_hand.tolist()
    return [(i, 1.0 if hand else sign) for hand, (i, sign) in zip(is_hand, mirror_commands(robot), strict=True)]


def mirrors(
    robot: RobotSpec, obs: dict[str, slice], states: dict[str, slice], device: torch.device | str = "cpu"
) -> dict[str, Mirror]:
    """Mirror images of "obs" and "states", laid out so, of "commands" (26 joint positions, rad) and "actions"."""
    groups = {"obs": mirror_group(obs, robot, device), "states": mirror_group(states, robot, device)}
    commands, actions = (Mirror(entries, device) for entries in (mirror_commands(robot), mirror_actions(robot)))
    return {**groups, "commands": commands, "actions": actions}


def mirror_group(layout: dict[str, slice], robot: RobotSpec, device: torch.device | str = "cpu") -> Mirror:
    """Of an observation group laid out by `dexsim.control.observations.layout`."""
    size = max(s.stop for s in layout.values())
    entries: Entries = [(i, 1.0) for i in range(size)]
    parts = _parts(robot)
    for name, where in layout.items():
        for i, (source, sign) in enumerate(parts.get(name, [])):
            entries[where.start + i] = (where.start + source, sign)
    return Mirror(entries, device)


def _parts(robot: RobotSpec) -> dict[str, Entries]:
    """Entries of each observation term; what is not listed is its own mirror image."""
    return {
        "joint_position": mirror_commands(robot),
        "joint_velocity": mirror_commands(robot),
        "object_position": list(enumerate(VECTOR)),
        "goal": list(enumerate(VECTOR)),
        "object_orientation": list(enumerate(QUATERNION)),
        "object_velocity": [*enumerate(VECTOR), *((3 + i, sign) for i, sign in enumerate(AXIAL))],
        "fingertip_position": [
            (3 * source + i, sign) for source in robot.fingertip_mirror for i, sign in enumerate(VECTOR)
        ],
    }
