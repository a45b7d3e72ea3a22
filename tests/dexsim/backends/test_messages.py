"""What the engine refuses or warns of is a line of ours."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from dexsim import robots
from dexsim.backends.mujoco import messages
from dexsim.backends.mujoco.backend import MujocoBackend
from dexsim.errors import UserError
from dexsim.scene import ObjectSpec, Scene, Table
from tests.simulated import make

FLAT = ((0.0, 0.0, 0.0), (0.05, 0.0, 0.0), (0.0, 0.05, 0.0), (0.05, 0.05, 0.0))


def test_a_warning_is_logged_once_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(messages, "_said", set())
    caplog.set_level(logging.WARNING)
    env = make(8, threads=2)
    env.reset()
    for _ in range(3):
        env.step(torch.full((8, 26), torch.nan))
    assert len([text for text in caplog.messages if text.startswith("MuJoCo: Nan, Inf or huge value in CTRL")]) == 1
    assert not list(tmp_path.iterdir())


def test_a_part_that_cannot_be_compiled_is_named() -> None:
    cube = tuple(map(tuple, np.stack(np.meshgrid(*[[-0.02, 0.02]] * 3), axis=-1).reshape(-1, 3).tolist()))
    sheet = ObjectSpec("sheet", "mesh", (0.05, 0.05, 0.05), 0.1, parts=(cube, FLAT))
    scene = Scene(robots.load("gr1t2"), Table(), (sheet,), timestep=0.01)
    with pytest.raises(UserError, match=r"the engine cannot simulate this scene: mesh 'sheet, part 2 of 2'.*coplanar"):
        MujocoBackend(scene, 1)


def test_more_copies_than_memory_are_refused() -> None:
    scene = Scene(robots.load("gr1t2"), Table(), (), timestep=0.01)
    with pytest.raises(UserError, match=r"num_envs = 1000000000: the engine cannot make so many copies"):
        MujocoBackend(scene, 10**9)


def test_there_may_be_as_many_choices_as_objects() -> None:
    things = [ObjectSpec(f"thing{i}", "cylinder", (0.04, 0.04, 0.1 + 0.0005 * i), 0.1) for i in range(150)]
    first, *rest = things
    item = ObjectSpec("object", first.shape, first.size, first.mass, alternatives=tuple(rest))
    backend = MujocoBackend(Scene(robots.load("gr1t2"), Table(), (item,), timestep=0.01), 150, threads=1)
    numbers = torch.arange(150)
    size = torch.tensor([thing.size for thing in things], dtype=torch.float64)
    backend.set_parameters(numbers, {"object_choice": numbers[:, None].double(), "object_size": size})
    backend.step(1)
    assert backend.values["object_choice"][:, 0].tolist() == list(range(150))
