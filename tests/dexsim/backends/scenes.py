"""Scenes that backends are tested in, and where they start."""

from __future__ import annotations

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
    return {name: value.clone() for name, value in vars(state).items()}


def drive(backend: Backend, initial: InitialState) -> Tensor:
    """Reset everything and hold where it starts; return all ids."""
    ids = torch.arange(backend.num_envs)
    backend.reset(ids, initial)
    backend.set_joint_targets(initial.joint_target)
    return ids
