"""`dexsim train` and `dexsim evaluate` around a fake environment."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet
import pytest
import torch
from wandb.errors import UsageError

from dexsim import cli, settings
from dexsim.control.actions import ControlSettings
from dexsim.env.perturbation import PerturbationSettings
from dexsim.errors import UserError
from dexsim.rl import checkpoint as checkpoints
from dexsim.rl.agent import PpoAgent
from dexsim.runs import RunFolder
from tasks.registry import EnvSettings
from tasks.verbs import evaluate, report, train
from tests.fakes import PointEnv, ppo_section, run_verb, verb_config

SMALL = {"units": [32], "mini_epochs": 2}
SECTIONS = {"task": {"name": "point"}, "robot": {"name": "xyz"}, "backend": {}, "randomization": {}, "control": {}}
CONFIG = {**SECTIONS, "rl": ppo_section(actor=SMALL, critic=SMALL), "num_envs": 32, "frames": 2048, "wandb": "disabled"}


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Make point environments in place of simulated ones; return what was asked for."""
    calls: list[dict[str, Any]] = []

    def make(
        chosen: EnvSettings,
        num_envs: int,
        seed: int = 0,
        dump_dir: Path | None = None,
        perturbation: PerturbationSettings | None = None,
        training: bool = False,
    ) -> PointEnv:
        made = {"num_envs": num_envs, "dump_dir": dump_dir, "perturbation": perturbation, "training": training}
        calls.append({**vars(chosen), **made})
        joints = ("x", "y", "w") if chosen.robot["name"] == "xyw" else ("x", "y", "z")
        return PointEnv(num_envs, seed, joints)

    monkeypatch.setattr(EnvSettings, "make", make)
    monkeypatch.setattr(EnvSettings, "with_content", lambda chosen: chosen)  # points are no task that is installed
    return calls


def results(run: RunFolder) -> dict[str, Any]:
    return json.loads((run.path / "result.json").read_text())


def test_train_leaves_a_checkpoint_and_results(tmp_path: Path) -> None:
    run = run_verb(train, tmp_path, **CONFIG)
    saved = checkpoints.load(run.path)
    assert saved.frame == results(run)["frames"]["value"] == 2048
    assert saved.config["rl"]["actor"]["units"] == [32]
    assert results(run)["steps_per_second"]["unit"] == "1/s"


def test_a_resumed_run_keeps_its_config(tmp_path: Path) -> None:
    first = run_verb(train, tmp_path, **CONFIG)
    default = {"seed": 0, "num_envs": 512, "frames": 4096, "resume": None, "wandb": "offline", **SECTIONS}
    asked = {"resume": str(first.path), "frames": 4096}  # the default, and yet what was asked for
    second = run_verb(train, tmp_path, given=("resume", "frames"), **{**default, **asked})
    saved = checkpoints.load(second.path)
    assert saved.frame == 4096
    assert saved.config == {**checkpoints.load(first.path).config, **asked}
    assert "num_envs: 32" in (second.path / "config.yaml").read_text()
    with pytest.raises(UserError, match=r"seed cannot be given with resume=.*; allowed: frames, minutes"):
        run_verb(train, tmp_path, given=("resume", "seed"), **{**default, **asked, "seed": 1})
    with pytest.raises(UserError, match="of a run with frames or minutes left"):
        run_verb(train, tmp_path, given=("resume",), **{**default, "resume": str(second.path)})


@pytest.mark.parametrize("breaks", [True, False])
def test_tracking_ends_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: bool) -> None:
    tracked = mock.Mock()
    monkeypatch.setattr("wandb.init", lambda **_: tracked)
    if breaks:
        monkeypatch.setattr(PpoAgent, "__init__", mock.Mock(side_effect=RuntimeError("no agent")))
    with pytest.raises(RuntimeError, match="no agent") if breaks else contextlib.nullcontext():
        run_verb(train, tmp_path, **{**CONFIG, "wandb": "offline"})
    assert tracked.log.called is not breaks
    assert tracked.finish.call_args_list == [mock.call(exit_code=1) if breaks else mock.call()]


def test_the_variables_of_wandb_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = mock.Mock()
    monkeypatch.setattr("wandb.init", start)
    assert settings.plain(cli.compose("train"))["wandb"] == "offline"
    for name, value in {"MODE": "online", "PROJECT": "mine", "NAME": "first"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    assert settings.plain(cli.compose("train"))["wandb"] == "online"
    run_verb(train, tmp_path, **{**CONFIG, "wandb": "online"})
    assert {key: start.call_args.kwargs[key] for key in ("mode", "project", "name")} == {
        "mode": "online",
        "project": "mine",
        "name": "first",
    }
    start.side_effect = UsageError("No API key configured.")
    with pytest.raises(UserError, match=r"wandb = 'online': No API key configured\.; wandb=offline needs no account"):
        run_verb(train, tmp_path, **{**CONFIG, "wandb": "online"})


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = PointEnv.step

    def interrupt(self: PointEnv, actions: torch.Tensor) -> Any:
        if self.length.max() == 5:
            signal.raise_signal(signal.SIGINT)
            monkeypatch.setattr(PointEnv, "step", step)
        return step(self, actions)

    monkeypatch.setattr(PointEnv, "step", interrupt)
    caplog.set_level(logging.INFO)
    with pytest.raises(KeyboardInterrupt):
        run_verb(train, tmp_path, **{**CONFIG, "frames": 10**9})
    path = next(tmp_path.glob("verb/test/*"))
    assert f"dexsim train resume={path}" in caplog.text
    assert checkpoints.load(path).frame == 512


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frames": None}, "frames = None: must be given when minutes is not"),
        ({"minutes": -1}, r"minutes = -1\.0: must be positive, or null"),
        ({"wandb": "on"}, "wandb = 'on'; allowed: offline, online, disabled"),
        ({"num_env": 3}, "unknown key 'num_env' = 3.*did you mean 'num_envs'"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_verb(train, tmp_path, **{**CONFIG, **values})
    assert not list(tmp_path.glob("verb/test/*"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EnvSettings, "make", lambda _, num_envs, seed, **__: PointEnv(num_envs, seed))
        patch.setattr(EnvSettings, "with_content", lambda chosen: chosen)
        config = {**CONFIG, "control": {"policy_hz": 10.0}, "randomization": {"noise": 0.1, "lag": 0.2}}
        return run_verb(train, tmp_path_factory.mktemp("trained"), **config).path


def test_evaluate_reports_rates_with_their_intervals(tmp_path: Path, trained: Path) -> None:
    run = run_verb(evaluate, tmp_path, checkpoint=str(trained), episodes=50, num_envs=20)
    for name in ("success", "picked_up", "stage_near"):
        metric = results(run)[name]
        assert metric["n"] == 50
        assert 0 <= metric["interval"][0] <= metric["value"] <= metric["interval"][1] <= 1
    table = pyarrow.parquet.read_table(run.path / "episodes.parquet").to_pylist()
    assert len(table) == 50
    assert {row["seed"] for row in table} == {1000}
    assert sum(row["success"] for row in table) / 50 == results(run)["success"]["value"]


def test_an_evaluation_has_the_median_of_what_the_task_measures() -> None:
    tilts = [*range(90), *[90.0] * 10]  # a tenth has tipped over
    episodes = [{"return": 1.0, "length": 5, "success": True, "metric_tilt_deg": float(tilt)} for tilt in tilts]
    entries = {name: (value, interval) for name, value, _, _, interval in evaluate.summarize(episodes[::-1])}
    value, interval = entries["median_tilt_deg"]
    assert value == 49.5
    assert interval[0] == 39.0  # ranks 40 and 61 of 100 have the median between them with 96%
    assert interval[1] == 60.0
    assert evaluate.summarize(episodes[:1])[-1][4] == (0.0, 0.0)


def test_evaluate_counts_and_dumps_non_finite_environments(
    tmp_path: Path, trained: Path, made: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PointEnv, "nonfinite_count", 2)
    run = run_verb(evaluate, tmp_path, checkpoint=str(trained), episodes=4)
    assert results(run)["nonfinite_environments"]["value"] == 2
    assert made[-1]["dump_dir"] == run.path


def test_only_shares_of_episodes_are_percent(tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_verb(evaluate, tmp_path, checkpoint=str(trained), episodes=4, num_envs=4)
    report.write_report(tmp_path / "report.html", "Points", trained, run.path)
    lines = (capsys.readouterr().out + (tmp_path / "report.html").read_text()).splitlines()
    for name in ("success", "picked up", "stage near", "return", "length"):
        shown = [line for line in lines if line.startswith((f"│ {name} ", f"<tr><td>{name}<"))]
        assert ["%" in line for line in shown] == 2 * [name not in ("return", "length")], name


def test_evaluate_repeats(tmp_path: Path, trained: Path) -> None:
    options = {"checkpoint": str(trained), "episodes": 30, "num_envs": 10}
    first, second = (run_verb(evaluate, tmp_path, **options) for _ in range(2))
    assert results(first) == results(second)


def test_evaluate_takes_its_environment_from_the_checkpoint(
    tmp_path: Path, trained: Path, made: list[dict[str, Any]]
) -> None:
    few = {"checkpoint": str(trained), "episodes": 2}
    run_verb(evaluate, tmp_path, **few)
    run_verb(evaluate, tmp_path, **few, randomization={"noise": None, "lag": None}, control={"policy_hz": None})
    run_verb(evaluate, tmp_path, **few, randomization={"lag": 0.0}, control={"policy_hz": 5.0}, threads=1)
    run_verb(evaluate, tmp_path, **few, randomization={})
    assert [call["randomization"] for call in made] == [
        {"noise": 0.1, "lag": 0.2},
        {"noise": None, "lag": None},
        {"noise": 0.1, "lag": 0.0},
        {},
    ]
    assert [call["control"]["policy_hz"] for call in made] == [10.0, 10.0, 5.0, 10.0]
    assert [call["backend"]["threads"] for call in made] == [0, 0, 1, 0]
    assert {call["num_envs"] for call in made} == {2}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"timestep": 0.005}, {"name": "one", "cone": "round", "timestep": 0.005, "threads": 0}),
        ({"name": "one"}, {"name": "one", "cone": "round", "timestep": 0.01, "threads": 0}),
        ({"name": "other", "timestep": 0.002}, {"name": "other", "timestep": 0.002, "threads": 0}),
    ],
)
def test_another_simulator_is_not_given_the_settings_of_the_first(given: dict[str, Any], found: dict[str, Any]) -> None:
    config = {**SECTIONS, "backend": {"name": "one", "cone": "round", "timestep": 0.01, "threads": 3}}
    options = settings.build(evaluate.EvaluateSettings, verb_config("evaluate", checkpoint="x", backend=given))
    assert evaluate.environment_of(config, options).backend == found


def test_evaluate_refuses_another_robot_by_name(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(UserError, match=r"does not fit: joints\.z is missing; joints\.w is new"):
        run_verb(evaluate, tmp_path, checkpoint=str(trained), episodes=2, robot={"name": "xyw"})


def test_the_shipped_configs_fit() -> None:
    for name, cls in (("train", train.TrainSettings), ("evaluate", evaluate.EvaluateSettings)):
        config = settings.plain(cli.compose(name, ["checkpoint=x"] if name == "evaluate" else []))
        del config["name"], config["runs_dir"], config["objective"]
        settings.build(cls, config)
    assert config["control"].keys() == {field.name for field in dataclasses.fields(ControlSettings)}


def test_forces_are_swept_and_plotted(tmp_path: Path, made: list[dict[str, Any]]) -> None:
    trained = run_verb(train, tmp_path, **CONFIG)
    given = {"checkpoint": str(trained.path), "episodes": 20, "num_envs": 10, "forces": ["knock", "drag"]}
    run = run_verb(evaluate, tmp_path, **given, magnitudes=[2.0, 1.0])
    disturbed = [call["perturbation"] for call in made if call.get("perturbation")]
    assert [(p.kind, p.magnitude) for p in disturbed] == [("knock", 1), ("knock", 2), ("drag", 1), ("drag", 2)]
    assert {"success_knock_1N", "success_drag_2N"} <= results(run).keys()
    assert results(run)["success_drag_2N"]["n"] == 20
    assert (run.path / "forces.png").read_bytes().startswith(b"\x89PNG")


def test_a_force_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"forces = .*'shove'.*knock, push, pull, drag"):
        run_verb(evaluate, tmp_path, checkpoint="x", forces=["shove"])
