"""Simulators behind one narrow interface."""

from __future__ import annotations

from dexsim.backends.base import Backend, BackendSettings, InitialState, SimState, make_backend

__all__ = ["Backend", "BackendSettings", "InitialState", "SimState", "make_backend"]
