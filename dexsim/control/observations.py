"""Observation terms and how a group of them is laid out; the same code serves the environment and the robot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dexsim.env.world import World
from dexsim.errors import UserError
from dexsim.robots import RobotSpec


def normalize_joints(position: Tensor, limits: Tensor) -> Tensor:
    """Joint positions as fractions of their range: lower limit -1, upper limit 1.

    Args:
        position: (..., 26) rad.
        limits: (26, 2) rad.
    """
    low, high = limits[:, 0], limits[:, 1]
    return (2 * position - (high + low)) / (high - low)


def joint_position(world: World) -> Tensor:
    """(N, 26) measured positions of the commanded joints in canonical order, normalized to [-1, 1]."""
    return normalize_joints(world.measured_position, world.tensors.limits)


def joint_velocity(world: World) -> Tensor:
    """(N, 26) velocities of the commanded joints, as fractions of their largest speed."""
    return world.state.joint_velocity[:, world.tensors.command_index] / world.tensors.speed


def object_position(world: World) -> Tensor:
    """(N, 3) object centre in the robot's base frame, m."""
    return world.state.object_pose[:, 0, :3]


def object_orientation(world: World) -> Tensor:
    """(N, 4) quaternion w x y z."""
    return world.state.object_pose[:, 0, 3:]


def object_velocity(world: World) -> Tensor:
    """(N, 6) linear in m/s and angular in rad/s."""
    return world.state.object_velocity[:, 0]


def fingertip_position(world: World) -> Tensor:
    """(N, 3 * F) every fingertip, m."""
    return world.state.fingertip_position.flatten(1)


def randomization_scales(world: World) -> Tensor:
    """(N, 5 * K) mass, friction and 3 size scales of the K objects, as ratios to nominal: all masses come first."""
    names = ("object_mass", "object_friction", "object_size")
    return torch.cat([world.parameters[n][:, : len(world.nominal[n])] / world.nominal[n] for n in names], dim=1)


def goal(world: World) -> Tensor:
    """(N, 3) goal of the object, m."""
    return world.goal


TERMS: dict[str, Callable[[World], Tensor]] = {
    f.__name__: f
    for f in (
        joint_position, joint_velocity, object_position, object_orientation, object_velocity, fingertip_position,
        randomization_scales, goal,
    )
}  # fmt: skip


def widths(robot: RobotSpec, objects: int) -> dict[str, int]:
    """Number of values of each term."""
    joints = len(robot.commands)
    return {
        "joint_position": joints, "joint_velocity": joints, "object_position": 3, "object_orientation": 4,
        "object_velocity": 6, "fingertip_position": 3 * len(robot.fingertips), "randomization_scales": 5 * objects,
        "goal": 3,
    }  # fmt: skip


def layout(terms: Sequence[str], width: dict[str, int]) -> dict[str, slice]:
    """Where each term of a group lies in its vector."""
    unknown = [name for name in terms if name not in width]
    if unknown:
        raise UserError(f"unknown observation term {unknown[0]!r}; allowed: {', '.join(width)}")
    slices, start = {}, 0
    for name in terms:
        slices[name] = slice(start, start + width[name])
        start += width[name]
    return slices


def assemble(terms: Sequence[str], world: World) -> Tensor:
    """A group's vector, (N, width) float32."""
    return torch.cat([TERMS[name](world) for name in terms], dim=1).float()


def size_of(slices: dict[str, slice]) -> int:
    """Width of a laid out group."""
    return max(s.stop for s in slices.values())
