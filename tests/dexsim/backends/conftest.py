"""Each backend that is installed."""

from __future__ import annotations

from typing import Any

import pytest

from dexsim.backends import BackendSettings
from dexsim.backends.base import BACKENDS
from dexsim.backends.make import load_settings
from tests.dexsim.backends.scenes import TIMESTEP

MODULES = {"mujoco": "mujoco", "physx": "sapien", "warp": "mujoco_warp", "isaacgym": "isaacgym"}


@pytest.fixture(params=BACKENDS)
def engine(request: Any) -> BackendSettings:
    pytest.importorskip(MODULES[request.param])
    return load_settings({"name": request.param, "threads": 1, "timestep": TIMESTEP})
