"""The robot's left-right symmetry: observations and actions as seen in a mirror in its x-z plane.

A task that is symmetric too learns from every transition twice (Mittal et al., arXiv 2403.04359: augmentation with the
mirrored samples). A mirror image is a permutation of the values and a change of some signs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dexsim.robots import RobotSpec

Entries = list[tuple[int, float]]  # for each value of the image: where it comes from, and its sign

# Signs of vectors, axial vectors (angular velocity) and quaternions w x y z under y -> -y.
VECTOR, AXIAL, QUATERNION = (1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, -1.0, 1.0, -1.0)


class Mirror:
    """Turns a batch of vectors (..., k) into their mirror image; its own inverse."""

    def __init__(self, entries: Sequence[tuple[int, float]]) -> None:
        """`entries`: for each value of the image its source's index and sign."""
        self._index = torch.tensor([index for index, _ in entries])
        self._sign = torch.tensor([sign for _, sign in entries])

    def __call__(self, values: Tensor) -> Tensor:
        """The mirror image."""
        return values[..., self._index] * self._sign.to(values.dtype)


def mirror_commands(robot: RobotSpec) -> Entries:
    """Of normalized joint positions and of actions in canonical order.

    Arm joints about x and z turn the other way on the other side, those about y the same way. Hand joints are
    normalized from open to closed, or have the same range on both sides: they only change sides.
    """
    entries: Entries = []
    for name in robot.commands:
        other = _other_side(name)
        turned = name.startswith(("left", "right")) and abs(robot.joint(name).axis[1]) < 0.5
        entries.append((robot.commands.index(other), -1.0 if turned else 1.0))
    return entries


def mirrors(robot: RobotSpec, obs: dict[str, slice], states: dict[str, slice]) -> dict[str, Mirror]:
    """Mirror images of "obs" and "states", laid out so, of "commands" (26 joint positions, rad too) and "actions"."""
    commands = Mirror(mirror_commands(robot))
    groups = {"obs": mirror_group(obs, robot), "states": mirror_group(states, robot)}
    return {**groups, "commands": commands, "actions": commands}


def mirror_group(layout: dict[str, slice], robot: RobotSpec) -> Mirror:
    """Of an observation group laid out by `dexsim.control.observations.layout`."""
    size = max(s.stop for s in layout.values())
    entries: Entries = [(i, 1.0) for i in range(size)]
    parts = _parts(robot)
    for name, where in layout.items():
        for i, (source, sign) in enumerate(parts.get(name, [])):
            entries[where.start + i] = (where.start + source, sign)
    return Mirror(entries)


def _parts(robot: RobotSpec) -> dict[str, Entries]:
    """Entries of each observation term; what is not listed is its own mirror image."""
    tips = [tip.name for tip in robot.fingertips]
    fingertips: Entries = []
    for name in tips:
        start = 3 * tips.index(_other_side(name))
        fingertips += [(start + i, sign) for i, sign in enumerate(VECTOR)]
    return {
        "joint_position": mirror_commands(robot),
        "joint_velocity": mirror_commands(robot),
        "object_position": list(enumerate(VECTOR)),
        "goal": list(enumerate(VECTOR)),
        "object_orientation": list(enumerate(QUATERNION)),
        "object_velocity": [*enumerate(VECTOR), *((3 + i, sign) for i, sign in enumerate(AXIAL))],
        "fingertip_position": fingertips,
    }


def _other_side(name: str) -> str:
    for ours, theirs in (("left", "right"), ("right", "left"), ("L_", "R_"), ("R_", "L_")):
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    raise ValueError(f"{name!r} belongs to no side")
