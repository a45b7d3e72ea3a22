"""`dexsim transfer`: engines against robots, the same episodes in every cell, and nothing is run twice."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from dexsim import cli, settings
from dexsim.env.drives import DriveDraws
from dexsim.env.randomization import RandomizationSettings
from dexsim.errors import UserError
from dexsim.launch.overrides import replaced
from dexsim.robots import constants, load_robot
from real2sim.simulated_robot import hidden_constants
from tasks.registry import EnvSettings
from tasks.transfer import robots as robots_module
from tasks.transfer.cells import Column
from tasks.verbs.evaluate import Subject
from tasks.verbs.transfer import TransferSettings

SMALL = ["task=box_lift", "rl=cpu", "rl.actor.units=[16]", "rl.critic.units=[16]", "rl.horizon=8", "num_envs=4"]
SHORT = ["frames=32", "wandb=disabled", "backend.threads=1", "task.episode_s=0.5", "task.hold_s=0.1"]
FEW = ["episodes=3", "num_envs=2", "threads=1", "robots=2", "robot_seed=9"]
ENGINES = ["rows=[as_trained,fine,other]", "+engines.fine={timestep: 0.005}", "+engines.other={name: bullet}"]
ONE = "rows=[as_trained]"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cli.run("train", [*SMALL, *SHORT, f"runs_dir={tmp_path_factory.mktemp('trained')}"])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rolled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was simulated: a name for each cell."""
    found: list[str] = []
    roll_out = Subject.roll_out

    def counted(subject: Subject, *args: Any) -> Any:
        found.append(str(subject.environment.robot["tuned"]))
        return roll_out(subject, *args)

    monkeypatch.setattr(Subject, "roll_out", counted)
    return found


def table(run: Path) -> list[dict[str, str]]:
    with (run / "transfer.csv").open(encoding="utf-8", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_engines_stand_against_robots(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = cli.run("transfer", [f"checkpoint={trained}", *ENGINES, *FEW])
    rows = table(run)
    assert [(row["engine"], row["robot"]) for row in rows] == [
        (engine, robot) for engine in ("as_trained", "fine") for robot in ("nominal", "hidden_9", "hidden_10")
    ]
    for row in rows:
        assert 0 <= float(row["success.low"]) <= float(row["success"]) <= float(row["success.high"]) <= 1
        assert {row["success.n"], row["metric_tracking_arms_rad.n"]} == {"3"}
    assert len({row["return"] for row in rows}) == len(rows)
    results = json.loads((run / "result.json").read_text())
    assert results["success_fine_hidden"]["n"] == 6
    assert results["success_beyond"]["n"] == 15
    assert "other is left out: no simulator 'bullet' here, only mujoco" in caplog.text
    assert "data:image/png" in (run / "report.html").read_text()
    episodes = pyarrow.parquet.read_table(run / "episodes.parquet").to_pylist()
    places = {(row["engine"], row["robot"]) for row in episodes}
    assert len(episodes) == 3 * len(places) == 18


def test_the_nominal_cell_is_what_an_evaluation_measures(trained: Path) -> None:
    same = [f"checkpoint={trained}", "episodes=3", "num_envs=2", "threads=1"]
    evaluated = json.loads((cli.run("evaluate", same) / "result.json").read_text())
    row = table(cli.run("transfer", [*same, "robots=0", ONE]))[0]
    for name in ("success", "return", "metric_tracking_arms_rad"):
        assert float(row[name]) == evaluated[name]["value"]


def test_hidden_robots_are_those_that_excite_drives(trained: Path) -> None:
    run = cli.run("transfer", [f"checkpoint={trained}", ONE, *FEW, "spread=0.5"])
    file = run / "robots" / "gr1t2" / "10" / "hidden.yaml"
    own, wanted = constants(load_robot({"tuned": str(file)})), hidden_constants(load_robot({}), 10, 0.5)
    for name, values in wanted.items():
        np.testing.assert_allclose(own[name], values, rtol=1e-5, err_msg=name)


def test_robots_are_what_their_columns_say_whatever_the_policy_was_trained_with() -> None:
    """A randomization that draws constants of the drives anew would make all robots one."""
    shipped = {**settings.plain(cli.compose("transfer")), "checkpoint": "x"}
    own = {name: shipped[name] for name in (field.name for field in fields(TransferSettings)) if name in shipped}
    options = settings.build(TransferSettings, own)
    cell = options.evaluation("x", {}, Column("hidden_9", "hidden", Path("hidden.yaml")))
    drives = settings.shipped("randomization", "drives")
    section = replaced(drives, cell.randomization)
    varied = DriveDraws(settings.build(RandomizationSettings, section), load_robot({}))
    assert varied.names == ()
    assert section["object_mass"] == drives["object_mass"]


def test_what_is_done_is_not_run_again(trained: Path, monkeypatch: pytest.MonkeyPatch, rolled: list[str]) -> None:
    given = [f"checkpoint={trained}", *ENGINES, *FEW]
    whole = cli.run("transfer", [*given, "name=whole"])
    count, roll_out = len(rolled), Subject.roll_out
    rolled.clear()

    def killed(subject: Subject, *args: Any) -> Any:
        if len(rolled) == 2:
            raise KeyboardInterrupt
        return roll_out(subject, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Subject, "roll_out", killed)
        with pytest.raises(KeyboardInterrupt):
            cli.run("transfer", [*given, "name=cut"])
    cut = next(Path("runs/transfer/cut").iterdir())
    damaged = cut / "cells" / "0-as_trained-nominal.json"
    damaged.write_text(damaged.read_text()[:-20])  # as a copy to another disk may be
    rolled.clear()
    gone_on = cli.run("transfer", [f"resume={cut}"])
    assert gone_on.parent == cut.parent
    assert len(rolled) == count - 1
    assert table(gone_on) == table(whole)
    rolled.clear()
    assert table(cli.run("transfer", ["resume=runs/transfer/cut", "threads=2"])) == table(whole)
    assert rolled == []


def test_another_policy_under_the_same_path_is_run_anew(trained: Path, tmp_path: Path, rolled: list[str]) -> None:
    mine = shutil.copytree(trained, tmp_path / "mine")
    given = [ONE, *FEW, "robots=0"]
    first = cli.run("transfer", [f"checkpoint={mine}", *given])
    further = cli.run("train", [f"resume={mine}", "frames=64", "wandb=disabled", "name=further"])
    shutil.copy(further / "checkpoints" / "last.pt", mine / "checkpoints" / "last.pt")
    rolled.clear()
    assert table(cli.run("transfer", [f"resume={first}"])) != table(first)
    assert len(rolled) == 1


def test_each_of_several_policies_has_rows_of_its_own(trained: Path, tmp_path: Path) -> None:
    twin = shutil.copytree(trained, tmp_path / "twin")
    run = cli.run("transfer", [f"checkpoint=[{trained},{twin}]", ONE, *FEW, "robots=1"])
    assert [row["checkpoint"] for row in table(run)] == 2 * ["box_lift"] + 2 * ["box_lift 2"]
    assert "box_lift 2/success_as_trained_hidden" in json.loads((run / "result.json").read_text())


def test_an_engine_that_cannot_simulate_it_is_left_out(
    trained: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make = EnvSettings.make

    def refuse(chosen: EnvSettings, *args: Any, **more: Any) -> Any:
        if chosen.backend["name"] == "other":
            raise UserError("the engine cannot simulate drives with a delay")
        return make(chosen, *args, **more)

    monkeypatch.setattr("tasks.verbs.transfer.BACKENDS", ("mujoco", "other"))
    monkeypatch.setattr(EnvSettings, "make", refuse)
    monkeypatch.setattr(EnvSettings, "check", lambda chosen: None)
    monkeypatch.setattr("tasks.transfer.cells.Cell.weight", 1.0)
    new = ["+engines.new={name: other}"]
    run = cli.run("transfer", [f"checkpoint={trained}", "rows=[as_trained,new]", *new, *FEW])
    assert {row["engine"] for row in table(run)} == {"as_trained"}
    assert caplog.text.count("new is left out: the engine cannot simulate drives with a delay") == 1
    assert "new is left out" in (run / "report.html").read_text()
    with pytest.raises(UserError, match="none of them can run this: the engine cannot simulate"):
        cli.run("transfer", [f"checkpoint={trained}", "rows=[new]", *new, *FEW])


def test_what_is_not_another_engine_s_fault_ends_it(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise UserError("num_envs = 2: the engine cannot make so many copies")

    monkeypatch.setattr(EnvSettings, "make", refuse)
    with pytest.raises(UserError, match=r"^num_envs = 2: the engine"):
        cli.run("transfer", [f"checkpoint={trained}", "rows=[mujoco_1ms]", *FEW])


class Verbs:
    """Stands in for `cli.run`: writes what `excite` and `autotune` would, in no time."""

    def __init__(self, folder: Path, kills: int = 0) -> None:
        self.folder, self.kills = folder, kills
        self.calls: list[tuple[str, Sequence[str]]] = []

    def run(self, verb: str, overrides: Sequence[str]) -> Path:
        self.calls.append((verb, overrides))
        root = Path(next(text for text in overrides if text.startswith("runs_dir=")).removeprefix("runs_dir="))
        run = root / verb / "robot" / str(len(self.calls))
        run.mkdir(parents=True)
        if verb == "excite":
            (run / "log.parquet").write_bytes(b"a log")
            return run
        (run / "fit.npz").write_bytes(b"half a fit")
        if self.kills:
            self.kills -= 1
            raise KeyboardInterrupt
        text = "format: 1\nrobot: gr1t2\nconstants: {joint_lag: {left_elbow_pitch_joint: 0.03}}\n"
        (run / "tuned.yaml").write_text(text)
        return run


def test_fits_are_made_gone_on_with_and_taken_over(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"checkpoint={trained}", ONE, *FEW, "robots=1", "tuned=true", "spread=2.0"]
    verbs = Verbs(tmp_path, kills=1)
    monkeypatch.setattr(robots_module, "cli", verbs)
    assert cli.main(["transfer", *given, "autotune=[seed=3]"]) == 130
    cut = next(Path("runs/transfer/transfer").iterdir())
    assert cli.main(["transfer", f"resume={cut}"]) == 0
    (excite, autotune, again) = verbs.calls
    assert [verb for verb, _ in verbs.calls] == ["excite", "autotune", "autotune"]
    assert {"interface=simulated", "interface_settings={seed: 9, spread: 2.0}"} <= set(excite[1])
    assert {"seed=3", "robot.name=gr1t2"} <= set(autotune[1])
    assert Path(autotune[1][0].removeprefix("log=")).read_bytes() == b"a log"
    assert again[1][0].startswith("resume=")
    done = Path(capsys.readouterr().out.splitlines()[-1])
    assert [row["robot"] for row in table(done)] == ["nominal", "hidden_9", "tuned_9"]
    verbs.calls.clear()
    assert cli.main(["transfer", *given, f"fits={done}"]) == 0
    assert verbs.calls == []
    assert cli.main(["transfer", *given, f"fits={done}", "spread=1.0"]) == 2
    assert "the robot 9 there is another one; allowed: the same robots" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["checkpoint=null"], "checkpoint is missing: add checkpoint=<file or run folder>, or resume=<run folder>"),
        (["checkpoint=[]"], "checkpoint = []: must be a checkpoint or more"),
        (["checkpoint=no"], "no checkpoint no: "),
        (["robots=-1"], "robots = -1: must be 0 to 1000"),
        (["spread=11"], "spread = 11.0: must be 0 to 10"),
        (["tuned=true", "robots=0"], "tuned = True: must be false where robots = 0"),
        (["rows=[as_traind]"], "rows = ['as_traind']: must be a list of as_trained, mujoco_1ms, "),
        (["rows=[]"], "rows = []: must be an engine or more, or null for all"),
        ([ONE, "engines.as_trained=null"], "rows = ['as_trained']: must be an engine or more, or null for all"),
        (["+engines.a={name: bullet}", "rows=[a]"], "rows = ['a']: must be engines with a name of mujoco"),
        (["+engines.a={cone: round}"], "backend.cone = 'round': must be one of pyramidal, elliptic"),
        (["+engines.a={timestep: 0.003}"], "policy_hz"),
        (["fits=no"], "fits = 'no': must be null without tuned=true"),
        (["tuned=true", "fits=no"], "fits = 'no': must be a run folder of `dexsim transfer tuned=true`"),
        (["tuned=true", "autotune=[no_such_key=1]"], "no_such_key"),
        (
            ["resume=no"],
            "checkpoint, episodes, num_envs cannot be given with resume=no, which goes on",
        ),
        (["task.later_starts=[0.5,0.5]"], "task.later_starts: only training heeds it"),
    ],
)
def test_what_cannot_be_is_one_line(
    trained: Path, given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [] if any(text.startswith("checkpoint=") for text in given) else [f"checkpoint={trained}"]
    assert cli.main(["transfer", *own, *FEW[:3], *given]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ")
    assert message in last


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (None, "nothing to go on with: it has no transfer.yaml"),
        ("log: a\n", "not the config of a transfer: it has no engines"),
        ("{", "not the config of a transfer"),
    ],
)
def test_what_cannot_be_gone_on_with_is_one_line(
    tmp_path: Path, file: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if file is not None:
        (tmp_path / "transfer.yaml").write_text(file)
    assert cli.main(["transfer", f"resume={tmp_path}"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_sweep_has_a_run_for_each_value(trained: Path) -> None:
    given = [f"checkpoint={trained}", ONE, *FEW, "robots=0,1"]
    assert cli.main(["transfer", "-m", *given]) == 0
    text = next(Path("runs/sweep/transfer").glob("*/sweep.csv")).read_text()
    assert text.count("complete") == 2
    assert "success_beyond" in text
