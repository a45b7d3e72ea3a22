"""Simulators behind one narrow interface."""

from __future__ import annotations

from dexsim.backends.base import Backend, BackendSettings, InitialState, Rollout, SimState
from dexsim.backends.make import make_backend

__all__ = ["Backend", "BackendSettings", "InitialState", "Rollout", "SimState", "make_backend"]
