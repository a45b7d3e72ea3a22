"""Makes the backend that the settings name, and reads those settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from dexsim import settings as configs
from dexsim.backends.base import BACKENDS, Backend, BackendSettings
from dexsim.backends.mujoco.settings import MujocoSettings
from dexsim.backends.physx.engine import MAX_STEP
from dexsim.errors import require
from dexsim.scene import Scene

DEFAULT = "mujoco"
# Name of a simulator -> its settings, where it has some of its own.
_SETTINGS: dict[str, type[BackendSettings]] = {"mujoco": MujocoSettings}


def load_settings(section: Mapping[str, Any] | None = None) -> BackendSettings:
    """The settings of a config section `backend`; keys left out are as that simulator's config ships.

    Raises:
        UserError: for an unknown simulator, or a key that it does not have.
    """
    given = dict(configs.plain(section or {}))
    name = given.get("name", DEFAULT)
    require(name in BACKENDS, "backend.name", name, f"one of {', '.join(BACKENDS)}")
    return configs.load(_SETTINGS.get(name, BackendSettings), f"backend/{name}", given)


def least_values(settings: BackendSettings) -> dict[str, float]:
    """Parameters whose smallest value depends on how the simulator runs, name -> that value."""
    return {"contact_time": 2 * settings.timestep} if settings.name == "mujoco" else {}


def finest_step(settings: BackendSettings) -> float:
    """The time step that the engine itself takes, s."""
    return min(settings.timestep, MAX_STEP) if settings.name == "physx" else settings.timestep


def make_backend(scene: Scene, num_envs: int, settings: BackendSettings) -> Backend:
    """Compile a scene for the simulator of `settings.name`, in `num_envs` copies."""
    return _MAKERS[settings.name](scene, num_envs, settings)


def _make_mujoco(scene: Scene, num_envs: int, settings: BackendSettings) -> Backend:
    from dexsim.backends.mujoco.backend import MujocoBackend

    solver = settings if isinstance(settings, MujocoSettings) else None
    return MujocoBackend(scene, num_envs, settings.threads, solver)


def _make_physx(scene: Scene, num_envs: int, settings: BackendSettings) -> Backend:
    from dexsim.backends.physx.backend import PhysxBackend

    return PhysxBackend(scene, num_envs, settings.threads)


# Name of a simulator, one of `base.BACKENDS` -> what makes it; each imports its engine only then.
_MAKERS: dict[str, Callable[[Scene, int, BackendSettings], Backend]] = {
    "mujoco": _make_mujoco,
    "physx": _make_physx,
}


def device_of(settings: BackendSettings) -> torch.device:
    """Where the tensors of a backend are, known before it is built."""
    return _DEVICES[settings.name]


# Name of a simulator -> where its tensors are.
_DEVICES = {"mujoco": torch.device("cpu"), "physx": torch.device("cpu")}
