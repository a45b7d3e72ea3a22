"""Makes the backend that the settings name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dexsim.backends.base import Backend, BackendSettings
from dexsim.scene import Scene


def make_backend(scene: Scene, num_envs: int, settings: BackendSettings) -> Backend:
    """Compile a scene for the simulator of `settings.name`, in `num_envs` copies."""
    return _MAKERS[settings.name](scene, num_envs, settings)


def _make_mujoco(scene: Scene, num_envs: int, settings: BackendSettings) -> Backend:
    from dexsim.backends.mujoco.backend import MujocoBackend

    return MujocoBackend(scene, num_envs, settings.threads)


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
