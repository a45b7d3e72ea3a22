"""Observation terms that only a simulator knows: the critic sees them too (arXiv 2502.20396, section C)."""

from __future__ import annotations

import torch
from torch import Tensor

from dexsim.control.observations import ObservationTerm
from dexsim.control.symmetry import QUATERNION, SAME, VECTOR, mirror_commands, mirror_fingertips
from dexsim.env.world import World
from dexsim.robots.mirror import AXIAL


def _joint_velocity(world: World) -> Tensor:
    return world.state.joint_velocity[:, world.tensors.command_index] / world.tensors.speed


def _randomization_scales(world: World) -> Tensor:
    names = ("object_mass", "object_friction", "object_size")
    return torch.cat([world.parameters[name] / world.nominal[name] for name in names], dim=1)


# Velocities of the commanded joints.
JOINT_VELOCITY = ObservationTerm(
    "joint_velocity", _joint_velocity, mirror_commands, "fraction of the largest speed", privileged=True
)
OBJECT_ORIENTATION = ObservationTerm(
    "object_orientation", lambda world: world.object_orientation, QUATERNION, "quaternion w x y z", privileged=True
)
# Linear, then angular.
OBJECT_VELOCITY = ObservationTerm(
    "object_velocity",
    lambda world: world.state.object_velocity[:, 0],
    (*VECTOR, *AXIAL),
    "m/s, rad/s",
    privileged=True,
)
# All fingertips, three values each.
FINGERTIP_POSITION = ObservationTerm(
    "fingertip_position",
    lambda world: world.state.fingertip_position.flatten(1),
    mirror_fingertips,
    "m",
    privileged=True,
)
# Mass, friction and three extents of the object as ratios to nominal, the same in a mirror.
RANDOMIZATION_SCALES = ObservationTerm(
    "randomization_scales", _randomization_scales, SAME, "ratio to nominal", privileged=True
)
# What the paper's critic sees beside the actor's observations (section C).
CRITIC = (JOINT_VELOCITY, FINGERTIP_POSITION, OBJECT_ORIENTATION, OBJECT_VELOCITY, RANDOMIZATION_SCALES)
