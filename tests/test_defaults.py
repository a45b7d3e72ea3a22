"""A default has one home: what a config in `cfg` sets has no default in code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import pytest

from dexsim import cli, settings
from dexsim.backends.mujoco.settings import MujocoSettings
from dexsim.control.actions import ControlSettings
from dexsim.env.randomization import RandomizationSettings
from dexsim.rl.ppo import PpoSettings
from dexsim.robots import RobotSettings
from real2sim.autotune import AutotuneSettings, Real2SimSettings
from real2sim.excite import ExciteSettings
from tasks.registry import task_class, task_names
from tasks.verbs.bench import BenchSettings
from tasks.verbs.demo import DemoSettings
from tasks.verbs.evaluate import EvaluateSettings
from tasks.verbs.export import ExportSettings
from tasks.verbs.play import PlaySettings
from tasks.verbs.train import TrainSettings
from tasks.verbs.transfer import TransferSettings
from tests.fakes import RUN_FOLDER

# Options of groups, and verbs.
HOMES: dict[str, type[Any]] = {
    "control/relative": ControlSettings,
    "backend/mujoco": MujocoSettings,
    "randomization/none": RandomizationSettings,
    "rl/paper": PpoSettings,
    "robot/gr1t2": RobotSettings,
    "real2sim/default": Real2SimSettings,
    "autotune": AutotuneSettings,
    "bench": BenchSettings,
    "demo": DemoSettings,
    "evaluate": EvaluateSettings,
    "excite": ExciteSettings,
    "export": ExportSettings,
    "play": PlaySettings,
    "train": TrainSettings,
    "transfer": TransferSettings,
    **{f"task/{name}": task_class(name).Settings for name in task_names()},
}


def shipped(home: str) -> dict[str, Any]:
    group, _, option = home.rpartition("/")
    outside = RUN_FOLDER if not group else ("name",) if group == "task" else ()
    return {key: value for key, value in settings.shipped(group, option).items() if key not in outside}


def twice(cls: type[Any], values: Mapping[str, Any]) -> Iterator[str]:
    """Fields with a default in code whose values a config sets, sections within included."""
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.name not in values:
            continue
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING:
            yield f"{cls.__name__}.{field.name}"
        if dataclasses.is_dataclass(hints[field.name]):
            yield from twice(hints[field.name], values[field.name])


@pytest.mark.parametrize("home", HOMES)
def test_no_value_stands_in_a_config_and_in_code(home: str) -> None:
    assert list(twice(HOMES[home], shipped(home))) == []


@pytest.mark.parametrize("home", HOMES)
def test_configs_set_what_there_is_and_groups_set_all_of_it(home: str) -> None:
    fields = {settings.key_of(field): field for field in dataclasses.fields(HOMES[home])}
    assert shipped(home).keys() <= fields.keys()
    if "/" in home:
        settings.build(HOMES[home], shipped(home))


def test_a_partial_section_is_what_ships_with_its_own_values() -> None:
    shipped = settings.load(ControlSettings, "control/relative")
    assert settings.load(ControlSettings, "control/relative", {"policy_hz": 5.0}) == dataclasses.replace(
        shipped, policy_hz=5.0
    )


def test_a_verb_s_config_is_read_without_what_it_does_not_hold_itself() -> None:
    assert settings.shipped("", "demo").keys() == {"minutes", "episodes", "seed", "name", "runs_dir"}
    train, evaluate = settings.shipped("", "train"), settings.shipped("", "evaluate")
    assert not {"task", "defaults", "name"} & train.keys()  # groups, and what follows one
    assert "checkpoint" not in evaluate  # still to be given
    assert train["num_envs"] > 1


@pytest.mark.parametrize("verb", ["bench", "demo", "play", "train"])
def test_a_verb_with_nothing_given_is_complete(verb: str) -> None:
    config = settings.plain(cli.compose(verb))
    settings.build(HOMES[verb], {key: value for key, value in config.items() if key not in RUN_FOLDER})
