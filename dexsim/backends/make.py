"""Makes the backend that the settings name."""

from __future__ import annotations

from dexsim.backends.base import Backend, BackendSettings
from dexsim.scene import Scene


def make_backend(scene: Scene, num_envs: int, settings: BackendSettings) -> Backend:
    """Compile a scene for a simulator."""
    from dexsim.backends.mujoco.backend import MujocoBackend

    return MujocoBackend(scene, num_envs, settings.threads)
