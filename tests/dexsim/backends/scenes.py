"""Scenes that backends are tested in, and where they start."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dexsim.backends import Backend, BackendSettings, InitialState, SimState
from dexsim.backends.make import make_backend
from dexsim.robots import load
from dexsim.rotations import quat_from_yaw
from dexsim.scene import ContactPair, ObjectSpec, Scene, Table

ROBOT = load("gr1t2")
BOX = ObjectSpec("box", "box", (0.10, 0.12, 0.08), mass=0.2, friction=0.5, position=(0.5, 0.0, 0.04))
PAIRS = (
    ContactPair("on_table", "box", "table"),
    ContactPair("left", "L_hand_base_link", "box"),
    ContactPair("right", "R_hand_base_link", "box"),
)
# What may lie in the box's place: each kind of shape, and meshes of two parts and of one. The corner of two plates does
# not fill the middle of its extents.
_CORNER = (
    tuple(itertools.product((-0.04, 0.04), (-0.03, 0.03), (-0.04, -0.02))),
    tuple(itertools.product((-0.04, -0.02), (-0.03, 0.03), (-0.02, 0.04))),
)
_WEDGE = tuple((0.04 * x, 0.04 * y, 0.03 * z) for x, y, z in itertools.product((-1, 1), repeat=3) if x + z < 2)
MIXED = (
    BOX,
    ObjectSpec("ball", "sphere", (0.06, 0.06, 0.06), mass=0.1),
    ObjectSpec("can", "cylinder", (0.07, 0.07, 0.12), mass=0.3),
    ObjectSpec("corner", "mesh", (0.08, 0.06, 0.08), mass=0.1, parts=_CORNER),
    ObjectSpec("wedge", "mesh", (0.08, 0.08, 0.06), mass=0.1, parts=(_WEDGE,)),
)
TIMESTEP = 0.005
IN_THE_AIR = (0.6, 0.0, 1.0)


def build(engine: BackendSettings, num_envs: int, item: ObjectSpec = BOX, table: Table | None = None) -> Backend:
    scene = Scene(ROBOT, table or Table(), (item,), contacts=PAIRS, timestep=engine.timestep)
    return make_backend(scene, num_envs, engine)


def at(position: tuple[float, float, float], yaw: float = 0.0, num_envs: int = 1, commands: Any = None) -> InitialState:
    """The robot at rest, its arms hanging unless `commands` (26,) are given; the object at `position`."""
    commands = np.clip(0.0, *ROBOT.command_limits.T) if commands is None else np.asarray(commands)
    pose = torch.cat([torch.tensor(position, dtype=torch.float64), quat_from_yaw(torch.tensor(yaw).double())])
    return InitialState(
        torch.from_numpy(ROBOT.expand_coupled(commands)).repeat(num_envs, 1),
        torch.from_numpy(commands).repeat(num_envs, 1),
        pose.repeat(num_envs, 1, 1),
    )


def fields(state: SimState) -> dict[str, Tensor]:
    return {name: getattr(state, name).clone() for name in SimState.__annotations__}


def drive(backend: Backend, initial: InitialState) -> Tensor:
    """Reset everything and hold where it starts; return all ids."""
    ids = torch.arange(backend.num_envs)
    backend.reset(ids, initial)
    backend.set_joint_targets(initial.joint_target)
    return ids
