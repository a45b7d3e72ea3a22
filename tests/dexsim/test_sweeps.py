"""Sweeps: real processes under each of Hydra's launchers, started again, optimized, and what they leave behind."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import toy

LAUNCHERS = ("basic", "joblib_laptop", "ray_laptop", "submitit_laptop")
Sweep = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Starts sweeps of the toy in a folder of their own."""
    toy.write(tmp_path)

    def run(*overrides: str, code: int = 0, script: str = "toy.py") -> subprocess.CompletedProcess:
        done = toy.run(tmp_path, "toy", "-m", *overrides, script=script)
        assert done.returncode == code, done.stderr
        return done

    return run


def table(folder: Path) -> list[dict[str, str]]:
    """The sweep.csv of the newest sweep below a folder of runs."""
    newest = max((folder / "sweep").glob("*/*"), key=lambda path: path.stat().st_mtime_ns)
    with (newest / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_runs_every_job(sweep: Sweep, tmp_path: Path, launcher: str):
    killed = [] if launcher == "basic" else ["66"]  # whose jobs are in the process of the sweep
    done = sweep(f"hydra/launcher={launcher}", f"x={','.join(['2', '13', 'wrong', *killed, '77', '3'])}", code=1)
    assert [(row["config.x"], row["status"], row["cost"]) for row in table(tmp_path / "runs")] == [
        ("2", "complete", str((2 - 5.2) ** 2)),
        ("13", "failed", ""),
        ("wrong", "failed", ""),
        *[("66", "killed", "") for _ in killed],
        ("77", "failed", ""),
        ("3", "complete", str((3 - 5.2) ** 2)),
    ]
    folder = tmp_path / done.stdout.splitlines()[-1]
    assert folder.parent == tmp_path / "runs/sweep/toy"
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: job 1 (x=13): RuntimeError: bad luck",
        "error: job 2 (x=wrong): x = 'wrong': expected float",
        *["error: job 3 (x=66): its process was killed" for _ in killed],
        f"error: job {3 + len(killed)} (x=77): SystemExit: no more",
    ]
    runs = {read(file)["overrides"][0]: file.parent for file in tmp_path.glob("runs/toy/toy/*/run.json")}
    assert set(runs) == {"x=2", "x=13", "x=77", "x=3", *(f"x={x}" for x in killed)}
    for override, run in runs.items():
        assert f"x is {override[2:]}" in (run / "log.txt").read_text()
    assert "RuntimeError: bad luck" in (runs["x=13"] / "log.txt").read_text()
    assert read(runs["x=13"] / "run.json")["status"] == "failed"
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {name.partition("/")[0] for name in toy.FILES} | {"runs"}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_killed_sweep_goes_on_with_the_rest(sweep: Sweep, tmp_path: Path, launcher: str):
    command = [sys.executable, "toy.py", "toy", "-m", f"hydra/launcher={launcher}", "x=1,2,99,4"]
    process = subprocess.Popen(command, cwd=tmp_path, env=toy.environment(tmp_path), start_new_session=True)
    wait_for(lambda: statuses(tmp_path).get("x=99") == "running" and statuses(tmp_path).get("x=2") == "complete")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (tmp_path / "toy_verb.py").write_text(toy.TOY.replace("time.sleep(600)", "pass"))  # now it gets through
    done = sweep(f"hydra/launcher={launcher}", "x=1,2,99,4")
    found = {row["config.x"]: row["status"] for row in table(tmp_path / "runs")}
    # The last job may have been under way in another process.
    assert found.pop("4") in ("complete", "already complete")
    assert found == {"1": "already complete", "2": "already complete", "99": "complete"}
    if launcher != "submitit_laptop":  # whose jobs print to files
        assert "already complete: runs/toy/toy/" in done.stdout
    runs = [read(file)["overrides"][0] for file in tmp_path.glob("runs/toy/toy/*/run.json")]
    assert {override: runs.count(override) for override in ("x=1", "x=2", "x=99")} == {"x=1": 1, "x=2": 1, "x=99": 2}


def statuses(folder: Path) -> dict[str, str]:
    """The status of each run, by its override x; that of the last where it was repeated."""
    records = [read(file) for file in sorted(folder.glob("runs/toy/toy/*/run.json"))]
    return {next(item for item in record["overrides"] if item[:2] == "x="): record["status"] for record in records}


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("nothing happened for two minutes")


def test_only_the_same_job_is_not_repeated(sweep: Sweep, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "log.csv").write_text("1")

    def status(*overrides: str) -> list[str]:
        sweep(*overrides)
        return [row["status"] for row in table(tmp_path / "runs")]

    assert status("x=1,2", "file=data") == ["complete", "complete"]
    assert status("x=2,3", "file=data") == ["already complete", "complete"]
    assert status("x=1", "file=data", "objective=twice", "shape=round") == ["already complete"]
    assert status("x=1", "file=data", "shape=square") == ["complete"]
    assert status("x=1", "file=data", "name=other") == ["complete"]
    os.utime(data / "log.csv", ns=(0, time.time_ns() + 10**9))
    assert status("x=1", "file=data") == ["complete"]
    newest = max(tmp_path.glob("runs/toy/toy/*/result.json"), key=lambda path: path.parent.stat().st_mtime_ns)
    newest.unlink()
    assert status("x=1", "file=data") == ["complete"]
    for file in tmp_path.glob("runs/toy/toy/*/run.json"):
        file.write_text(json.dumps({**read(file), "version": "0.0.1"}))
    assert status("x=1", "file=data") == ["complete"]


def test_a_sweeper_gets_the_objective(sweep: Sweep, tmp_path: Path):
    sweep("hydra/sweeper=halving")
    found = [(row["config.x"], row["status"]) for row in table(tmp_path / "runs")]
    new, old = "complete", "already complete"
    assert found == [("4.0", new), ("8.0", new), ("4.0", old), ("6.0", new), ("5.0", new), ("6.0", old)]


def test_an_objective_that_is_no_metric_is_named(sweep: Sweep, tmp_path: Path):
    done = sweep("hydra/sweeper=halving", "objective=price", code=2)
    line = "objective = 'price': no metric that this run has; allowed: cost, twice"
    assert f"error: job 0 (objective=price x=4.0): {line}" in done.stderr
    assert {row["status"] for row in table(tmp_path / "runs")} == {"failed"}


def test_a_default_objective_may_be_missing(sweep: Sweep, tmp_path: Path):
    config = tmp_path / "cfg/toy.yaml"
    config.write_text(config.read_text().replace("objective: cost", "objective: price"))
    sweep("x=1")
    sweep("hydra/sweeper=halving", code=2)


def test_batches_go_on_after_a_failure(sweep: Sweep, tmp_path: Path):
    sweep("x=13,wrong,3", "hydra.sweeper.max_batch_size=1", code=1)
    assert [row["status"] for row in table(tmp_path / "runs")] == ["failed", "failed", "complete"]


def test_every_job_is_checked_before_the_first_runs(sweep: Sweep, tmp_path: Path):
    done = sweep("x=1,mistaken", "shape=round,squar", "hydra.sweeper.max_batch_size=1", code=2)
    unknown = "no 'shape' named 'squar'; allowed: round, square; did you mean 'square'?"
    assert done.stderr.splitlines() == [
        f"error: job 1 (x=1 shape=squar): {unknown}",
        "error: job 2 (x=mistaken shape=round): x = 'mistaken': expected float",
        f"error: job 3 (x=mistaken shape=squar): {unknown}",
    ]
    assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_jobs_that_a_file_of_options_names_are_checked_too(sweep: Sweep, tmp_path: Path):
    own = tmp_path / "own/hydra/sweeper/mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("defaults: [basic]\nparams: {x: '1,mistaken', name: 'mine,your/s'}\n")
    done = sweep("--config-dir", "own", "hydra/sweeper=mine", code=2)
    assert [line.partition(")")[0] for line in done.stderr.splitlines()] == [
        "error: job 1 (x=1 name=your/s",
        "error: job 2 (x=mistaken name=mine",
        "error: job 3 (x=mistaken name=your/s",
    ]
    sweep("--config-dir", "own", "hydra/sweeper=mine", "x=1,2", "name=mine")
    assert len(list(tmp_path.glob("runs/toy/mine/*"))) == 2
    done = sweep("hydra.sweeper.params={x: '1,2'}", code=2)
    assert done.stderr.startswith("error: cannot use \"hydra.sweeper.params={x: '1,2'}\": Hydra sets nothing in")


def test_a_mistake_of_every_job_is_one_line(sweep: Sweep):
    assert sweep("shape=round,square", "x=mistaken", code=2).stderr == "error: x = 'mistaken': expected float\n"


def test_settings_of_hydra_have_their_effect(sweep: Sweep, tmp_path: Path):
    verb = tmp_path / "toy_verb.py"
    verb.write_text(
        toy.TOY.replace("    x = config", "    logging.debug('in %s', os.environ['PLACE'])\n    x = config")
    )
    done = sweep("x=1", "hydra.job.env_set.PLACE=in here", code=2)
    assert done.stderr.endswith(": '+hydra.job.env_set.PLACE=in here'\n")
    sweep("x=1", "+hydra.job.env_set.PLACE=in here", "hydra.verbose=true")
    (log,) = tmp_path.glob("runs/toy/toy/*/log.txt")
    assert "in here" in log.read_text()
    for setting in ("hydra.job.name=x", "hydra/help=default", "hydra.mode=RUN", "hydra.runtime.cwd=x"):
        done = sweep("x=1", setting, code=2)
        assert done.stderr.startswith(f"error: cannot use '{setting}': ")
        assert done.stderr.count("\n") == 1


def test_only_mistakes_of_the_user_exit_with_2(sweep: Sweep):
    sweep("x=wrong,1", code=2)


def test_a_job_may_run_other_verbs(sweep: Sweep, tmp_path: Path):
    sweep("x=50")
    assert len(list(tmp_path.glob("runs/toy/toy/*/toy/toy/*/result.json"))) == 1


def test_a_launcher_without_its_plugin_names_the_extra(sweep: Sweep, tmp_path: Path):
    (tmp_path / "bare.py").write_text("import sys\nsys.modules['hydra_plugins'] = None\n" + toy.FILES["toy.py"])
    for launcher, plugin in (("joblib", "joblib"), ("ray_laptop", "ray"), ("slurm_cluster", "submitit_slurm")):
        done = sweep("x=1,2", f"hydra/launcher={launcher}", code=2, script="bare.py")
        message = f"hydra/launcher={plugin}: its plugin is not installed: pip install 'dexsim[launchers]'"
        assert done.stderr == f"error: {message}\n"
    assert not list(tmp_path.glob("runs/sweep/toy/*"))


def test_trainings_are_the_same_under_every_launcher(tmp_path: Path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/__init__.py").touch()  # hides nothing of ours, in no process
    given = ["rl=cpu", "num_envs=4", "frames=128", "wandb=disabled", "backend.threads=1"]
    results = {}
    for launcher in LAUNCHERS:
        where = [f"hydra/launcher={launcher}", f"runs_dir={launcher}"]
        command = [sys.executable, "-m", "dexsim", "train", "-m", "task=box_lift,grasp_and_reach", *where, *given]
        subprocess.run(command, cwd=tmp_path, env=toy.environment(), check=True, capture_output=True)
        rows = table(tmp_path / launcher)
        assert [row["status"] for row in rows] == ["complete"] * 2
        results[launcher] = [(without_times(row), curve(tmp_path / row["folder"])) for row in rows]
    assert all(results[launcher] == results["basic"] for launcher in LAUNCHERS)


def without_times(row: dict[str, str]) -> dict[str, str]:
    """What does not depend on the machine, or on where the run folder is."""
    elsewhere = ("folder", "config.runs_dir")
    return {key: value for key, value in row.items() if not re.search("time|second", key) and key not in elsewhere}


def curve(run: Path) -> list[dict[str, str]]:
    with (run / "curve.csv").open() as file:
        return [without_times(row) for row in csv.DictReader(file)]
