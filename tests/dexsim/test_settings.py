"""Tests of `dexsim.settings`: what is accepted, and how each mistake is named."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from dexsim import settings
from dexsim.errors import UserError, require


@dataclasses.dataclass(frozen=True)
class Goal:
    height: float = 0.2
    within: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        require(self.height > 0, "height", self.height, "above 0")
        if self.within[0] > self.within[1]:
            raise UserError("the bounds are the wrong way round")


@dataclasses.dataclass(frozen=True)
class Task:
    name: str
    steps: int = 10
    rate: float = 10.0
    fast: bool = False
    mode: Literal["relative", "absolute"] = "relative"
    seed: int | None = None
    noise: float | tuple[float, float] = 0.0
    size: tuple[float, ...] = ()
    layers: list[int] = dataclasses.field(default_factory=list)
    names: Sequence[str] = ()
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    goals: Mapping[str, Goal] = dataclasses.field(default_factory=dict)
    goal: Goal = dataclasses.field(default_factory=Goal)
    file: Path | None = None
    extra: Any = None


FULL = {
    "name": "lift",
    "steps": 2e6,
    "rate": "1e-4",
    "fast": True,
    "mode": "absolute",
    "seed": 3,
    "noise": [0, 1],
    "size": [1, 2.5, 3],
    "layers": [256, 128],
    "names": ["a"],
    "weights": {"reach": 1},
    "goals": {"far": {"height": 1}},
    "goal": {"within": [0.1, 0.2]},
    "file": "a/b.yaml",
    "extra": {"free": ["form"]},
}


def test_every_kind_of_value_is_converted():
    task = settings.build(Task, FULL)
    assert task == Task(
        name="lift",
        steps=2000000,
        rate=1e-4,
        fast=True,
        mode="absolute",
        seed=3,
        noise=(0.0, 1.0),
        size=(1.0, 2.5, 3.0),
        layers=[256, 128],
        names=("a",),
        weights={"reach": 1.0},
        goals={"far": Goal(height=1.0)},
        goal=Goal(within=(0.1, 0.2)),
        file=Path("a/b.yaml"),
        extra={"free": ["form"]},
    )
    assert type(task.steps) is int
    assert type(task.size[0]) is float


def test_defaults_stay():
    assert settings.build(Task, {"name": "lift"}) == Task("lift")


def test_to_dict_is_the_inverse():
    task = settings.build(Task, FULL)
    assert settings.build(Task, settings.to_dict(task)) == task
    assert settings.to_dict(task)["goal"] == {"height": 0.2, "within": [0.1, 0.2]}
    assert settings.to_dict(task)["file"] == "a/b.yaml"


def test_a_hydra_config_is_resolved():
    config = OmegaConf.create({"name": "lift", "steps": "${seed}", "seed": 4})
    assert settings.build(Task, config).steps == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 1}, "unknown key 'task.stepz' = 1; allowed: name, steps, "),
        ({"stepz": 1}, "; did you mean 'steps'?"),
        ({"goal": {"hight": 1}}, "unknown key 'task.goal.hight' = 1; allowed: height, within; did you mean 'height'?"),
        ({"goal": 3}, "task.goal = 3: expected a section with the keys height, within"),
        ({"steps": 1.5}, "task.steps = 1.5: expected int"),
        ({"steps": True}, "task.steps = True: expected int"),
        ({"steps": None}, "task.steps = None: expected int"),
        ({"rate": "fast"}, "task.rate = 'fast': expected float"),
        ({"rate": math.nan}, "task.rate = nan: expected float"),
        ({"rate": False}, "task.rate = False: expected float"),
        ({"fast": 1}, "task.fast = 1: expected bool"),
        ({"name": 1}, "task.name = 1: expected str"),
        ({"mode": "relativ"}, "task.mode = 'relativ'; allowed: relative, absolute; did you mean 'relative'?"),
        ({"seed": "x"}, "task.seed = 'x': expected int"),
        ({"noise": "x"}, "task.noise = 'x': expected float | tuple[float, float]"),
        ({"noise": [1, 2, 3]}, "task.noise = [1, 2, 3]: expected float | tuple[float, float]"),
        ({"size": 3}, "task.size = 3: expected tuple[float, ...]"),
        ({"size": [1, "x"]}, "task.size[1] = 'x': expected float"),
        ({"layers": "abc"}, "task.layers = 'abc': expected list[int]"),
        ({"weights": [1]}, "task.weights = [1]: expected dict[str, float]"),
        ({"weights": {"reach": "x"}}, "task.weights.reach = 'x': expected float"),
        ({"weights": {1: 1}}, "task.weights key = 1: expected str"),
        ({"goals": {"far": {"height": -1}}}, "task.goals.far.height = -1.0: must be above 0"),
        ({"goal": {"within": [2, 1]}}, "task.goal: the bounds are the wrong way round"),
    ],
)
def test_a_mistake_is_named(values: dict[str, Any], message: str):
    with pytest.raises(UserError) as caught:
        settings.build(Task, {"name": "lift", **values}, "task")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match=r"^task\.name is missing: expected str$"):
        settings.build(Task, {}, "task")


def test_a_value_still_to_be_given_is_named():
    with pytest.raises(UserError, match=r"^task\.name is missing: add task\.name=<value>$"):
        settings.build(Task, OmegaConf.create({"task": {"name": "???"}}).task)


def test_a_broken_interpolation_is_named():
    with pytest.raises(UserError, match=r"^name: Interpolation key 'nowhere' not found"):
        settings.build(Task, OmegaConf.create({"name": "${nowhere}"}))
