"""Settings of a simulator: those of all, its own, and none of another's."""

from __future__ import annotations

from typing import Any

import mujoco
import pytest
import torch

from dexsim import robots
from dexsim.backends.make import load_settings, make_backend
from dexsim.errors import UserError
from dexsim.scene import Scene
from tests.dexsim.backends.scenes import BOX

# What policies and banks were made with, before any of it could be set.
BEFORE = {"cone": 0, "solver": 2, "iterations": 10, "ls_iterations": 20, "impratio": 1.0}


def options(**section: Any) -> dict[str, float]:
    scene = Scene(robots.load("gr1t2"), objects=(BOX,), timestep=0.01)
    backend: Any = make_backend(scene, 1, load_settings({"threads": 1, **section}))
    assert not backend.step(3).any()
    return {name: getattr(backend.model.opt, name) for name in BEFORE}


def test_what_ships_is_what_policies_were_trained_with() -> None:
    assert options() == options(name="mujoco") == BEFORE


def test_the_solver_is_the_one_that_is_set() -> None:
    own = {"cone": "elliptic", "solver": "cg", "iterations": 40, "ls_iterations": 7, "impratio": 5.0}
    numbers = {"cone": mujoco.mjtCone.mjCONE_ELLIPTIC.value, "solver": mujoco.mjtSolver.mjSOL_CG.value}
    assert options(**own) == {**own, **numbers}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"cone": "round"}, "backend.cone = 'round': must be one of pyramidal, elliptic"),
        ({"solver": "Newton"}, "backend.solver = 'Newton': must be one of newton, cg, pgs"),
        ({"iterations": 0}, "backend.iterations = 0: must be 1 to 10000"),
        ({"ls_iterations": 10**9}, "backend.ls_iterations = 1000000000: must be 1 to 10000"),
        ({"impratio": 0}, "backend.impratio = 0.0: must be above 0, up to 1000"),
        ({"timestep": 1}, "backend.timestep = 1.0: must be 0.0005 to 0.02 s"),
        ({"name": "bullet"}, "backend.name = 'bullet': must be one of mujoco"),
        ({"substeps": 4}, "unknown key 'backend.substeps' = 4; allowed: name, threads, timestep, cone"),
    ],
)
def test_what_a_simulator_does_not_have_is_named(section: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        load_settings(section)
    assert str(raised.value).startswith(message)


def test_a_key_of_another_simulator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from dexsim import settings
    from dexsim.backends import base, make

    shipped = {"name": "other", "threads": 1, "timestep": 0.002}
    for module in (base, make):
        monkeypatch.setattr(module, "BACKENDS", ("mujoco", "other"))
    monkeypatch.setattr(settings, "shipped", lambda group, option: dict(shipped) if option == "other" else {})
    assert vars(load_settings({"name": "other"})) == shipped
    with pytest.raises(UserError, match=r"unknown key 'backend.cone' = 'elliptic'; allowed: name, threads, timestep$"):
        load_settings({"name": "other", "cone": "elliptic"})


def test_other_settings_of_the_solver_move_an_object_otherwise() -> None:
    heights = []
    for section in ({}, {"cone": "elliptic", "impratio": 10.0}):
        scene = Scene(robots.load("gr1t2"), objects=(BOX,), timestep=0.01)
        backend = make_backend(scene, 1, load_settings({"threads": 1, **section}))
        push = torch.zeros(1, 1, 6, dtype=torch.float64)
        push[..., 0] = 2.0
        backend.apply_wrench(push)
        backend.step(20)
        heights.append(backend.state.object_pose[0, 0, :3].tolist())
    assert heights[0] != heights[1]
