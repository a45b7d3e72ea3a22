"""Tests of `dexsim.runs`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dexsim import files, runs
from dexsim.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> runs.RunFolder:
    return runs.RunFolder.create("train", "lift", {"seed": 1}, tmp_path)


def test_the_folder_is_named_by_verb_name_and_time(run: runs.RunFolder, tmp_path: Path):
    assert re.fullmatch(r"train/lift/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", run.path.relative_to(tmp_path).as_posix())


def test_the_config_is_written_resolved(tmp_path: Path):
    config = OmegaConf.create({"seed": 1, "copy": "${seed}"})
    run = runs.RunFolder.create("train", "lift", config, tmp_path)
    assert (run.path / "config.yaml").read_text() == "seed: 1\ncopy: 1\n"


def test_runs_of_the_same_second_get_their_own_folders(tmp_path: Path):
    folders = {runs.RunFolder.create("train", "lift", {}, tmp_path).path for _ in range(3)}
    assert len(folders) == 3


def test_a_name_cannot_leave_the_folder(tmp_path: Path):
    with pytest.raises(UserError, match=r"^name = '\.\./x': must be letters"):
        runs.RunFolder.create("train", "../x", {}, tmp_path)


def test_results_are_on_disk_at_once(run: runs.RunFolder):
    run.result("success_rate", 0.5, "1", n=10, interval=(0.2, 0.8))
    run.result("speed", float("nan"), "steps/s")
    assert json.loads((run.path / "result.json").read_text()) == {
        "success_rate": {"value": 0.5, "unit": "1", "n": 10, "interval": [0.2, 0.8]},
        "speed": {"value": None, "unit": "steps/s", "n": None, "interval": None},
    }


def test_logging_goes_to_the_log_only_during_the_run(run: runs.RunFolder):
    logger = logging.getLogger("some.module")
    with run:
        logger.warning("inside")
    logger.warning("outside")
    assert "WARNING some.module: inside\n" in (run.path / "log.txt").read_text()
    assert "outside" not in (run.path / "log.txt").read_text()


def test_a_crash_is_logged(run: runs.RunFolder):
    with pytest.raises(ZeroDivisionError), run:
        raise ZeroDivisionError("no more")
    assert "ZeroDivisionError: no more" in (run.path / "log.txt").read_text()


def test_a_user_error_at_the_start_leaves_no_folder(run: runs.RunFolder):
    with pytest.raises(UserError), run:
        raise UserError("seed = -1: must be at least 0")
    assert not run.path.exists()


def test_a_user_error_after_output_keeps_the_folder(run: runs.RunFolder):
    with pytest.raises(UserError), run:
        run.result("steps", 3, "1")
        raise UserError("disk is full")
    assert (run.path / "result.json").exists()


def test_an_atomic_write_replaces_and_leaves_nothing_else(tmp_path: Path):
    target = tmp_path / "new" / "file.bin"
    runs.atomic_write(target, "old")
    runs.atomic_write(target, b"new")
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path):
    target = tmp_path / "file.npy"
    runs.atomic_write(target, "old")
    with pytest.raises(RuntimeError), files.atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".npy"
        temporary.write_text("half")
        raise RuntimeError("power cut")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_only_what_a_killed_write_left_is_stale(tmp_path: Path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale = {f".last.{dead.pid}.tmp.pt", f".config.{dead.pid}.tmp"}
    kept = {"last.pt", f".last.{os.getpid()}.tmp.pt", ".notes.tmp.txt", f"last.{dead.pid}.tmp.pt", f".{dead.pid}.pt"}
    for name in stale | kept:
        (tmp_path / name).touch()
    files.remove_stale(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept


@pytest.mark.parametrize(
    ("error", "status"), [(None, "complete"), (KeyboardInterrupt, "interrupted"), (RuntimeError, "failed")]
)
def test_a_run_says_how_it_ended(tmp_path: Path, error: type[BaseException] | None, status: str):
    run = runs.RunFolder.create("train", "lift", {"seed": 1}, tmp_path, ["seed=1"])
    with contextlib.suppress(BaseException), run:
        record = json.loads((run.path / "run.json").read_text())
        assert (record["status"], record["end"]) == ("running", None)
        if error is not None:
            raise error
    record = json.loads((run.path / "run.json").read_text())
    assert record["status"] == status
    assert (record["verb"], record["name"], record["overrides"]) == ("train", "lift", ["seed=1"])
    assert record["start"] <= record["end"] <= datetime.now(UTC).isoformat()


@pytest.mark.parametrize("content", ["", "[1]", "{}"])
def test_a_run_whose_record_is_broken_is_not_complete(tmp_path: Path, content: str):
    with runs.RunFolder.create("train", "lift", {}, tmp_path) as run:
        run.result("success", 1.0, "1")
    assert runs.find_complete("train", "lift", {}, tmp_path) == run.path
    (run.path / "run.json").write_text(content)
    assert runs.find_complete("train", "lift", {}, tmp_path) is None


@pytest.mark.parametrize(
    ("successes", "n", "interval"),
    [
        (0, 0, (0.0, 1.0)),
        (0, 10, (0.0, 0.27753)),
        (10, 10, (0.72247, 1.0)),
        (81, 263, (0.25527, 0.36619)),  # Newcombe (1998), table I, method 3
        (15, 148, (0.06238, 0.16053)),
    ],
)
def test_wilson(successes: int, n: int, interval: tuple[float, float]):
    assert runs.wilson(successes, n) == pytest.approx(interval, abs=5e-5)


@pytest.mark.parametrize("n", [1, 7, 500])
def test_the_ends_of_an_interval_are_exact(n: int):
    assert runs.wilson(0, n)[0] == 0.0
    assert runs.wilson(n, n)[1] == 1.0


def test_wilson_refuses_more_successes_than_tries():
    with pytest.raises(ValueError, match="between 0 and n = 2"):
        runs.wilson(3, 2)
