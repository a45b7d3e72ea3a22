"""Each backend that is installed."""

from __future__ import annotations

from typing import Any

import pytest

from dexsim.backends import BackendSettings
from dexsim.backends.base import BACKENDS
from tests.dexsim.backends.scenes import TIMESTEP

MODULES = {"mujoco": "mujoco", "physx": "sapien", "warp": "mujoco_warp", "isaacgym": "isaacgym"}


@pytest.fixture(params=BACKENDS)
def engine(request: Any) -> BackendSettings:
    pytest.importorskip(MODULES[request.param])
    return BackendSettings(name=request.param, threads=1, timestep=TIMESTEP)
