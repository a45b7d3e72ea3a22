"""Checkpoints survive kills, and refuse what they do not fit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dexsim
from dexsim.errors import UserError
from dexsim.rl import checkpoint
from dexsim.rl.checkpoint import Checkpoint, CheckpointFolder
from dexsim.runs import RunFolder
from tests.fakes import PointEnv

KILLS = 25
KILLED_WRITER = """
import itertools, os, random, signal, sys, time
from pathlib import Path
import torch
from dexsim.rl.checkpoint import CheckpointFolder, best_part, load

def write(frames, told=None):
    folder = CheckpointFolder(run)
    for frame in frames:
        model = {"weight": torch.full((300_000,), float(frame))}
        state = {"model": model, "config": {}, "spec_table": {}, "version": "0", "frame": frame}
        folder.save(state, best_part(state) if frame % 3 == 0 else None)
        if told is not None:
            os.write(told, b".")

torch.set_num_threads(1)  # a forked process hangs in OpenMP's threads
run, newest = Path(sys.argv[1]), 0
write([1])
random.seed(0)
for kill in range(int(sys.argv[2])):
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        write(itertools.count(newest + 1), told)
    os.close(told)
    os.read(heard, 1)  # the first is saved, however busy the machine is
    time.sleep(random.uniform(0.0, 0.08))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(heard)
    for file in run.glob("checkpoints/[a-z]*.pt"):
        saved = load(file)
        assert (saved.state["model"]["weight"] == saved.frame).all(), file
    last = load(run).frame
    assert last > newest
    newest = last
print(newest)
"""


def make(path: Path, **state: Any) -> Path:
    folder = CheckpointFolder(path)
    folder.save({"model": {}, "config": {}, "spec_table": {}, "version": "0", "frame": 0, **state})
    return folder.last


def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_WRITER, str(tmp_path), str(KILLS)]
    root = str(Path(__file__).parents[3])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > KILLS


def test_last_best_and_previous(tmp_path: Path) -> None:
    folder, best = CheckpointFolder(tmp_path), None
    for frame in range(4):
        state = {"model": {}, "config": {}, "spec_table": {}, "version": "0", "frame": frame}
        best = checkpoint.best_part(state) if frame == 1 else best
        folder.save(state, best)
    frames = {name: checkpoint.load(folder.path / f"{name}.pt").frame for name in ("last", "previous", "best")}
    assert frames == {"last": 3, "previous": 2, "best": 1}
    assert checkpoint.load(tmp_path).path == folder.last


def test_of_several_runs_the_one_that_started_last_is_taken(tmp_path: Path) -> None:
    names = ("2026-03-29_02-59-59", "2026-03-29_02-00-00", "z_kept")  # a clock that was put back, and a renamed folder
    for frame, name in enumerate(names):
        with RunFolder.create("train", "lift", {}, tmp_path) as run:
            make(run.path, frame=frame)
        run.path.rename(run.path.with_name(name))
    (tmp_path / "train" / "lift" / "notes").mkdir()
    assert checkpoint.load(tmp_path / "train" / "lift").frame == 2
    (tmp_path / "train" / "lift" / "z_kept").rename(tmp_path / "train" / "lift" / "a_kept")
    assert checkpoint.load(tmp_path / "train" / "lift").frame == 2
    (tmp_path / "train" / "lift" / "a_kept" / "run.json").unlink()
    with pytest.raises(UserError, match=r"lift: which run is the newest is not known: no start in .*a_kept/run\.json"):
        checkpoint.load(tmp_path / "train" / "lift")
    assert checkpoint.load(tmp_path / "train" / "lift" / "a_kept").frame == 2


def test_environment_state_may_hold_numpy(tmp_path: Path) -> None:
    generator = np.random.default_rng(3).bit_generator.state
    state = {"array": np.arange(3.0), "flags": np.zeros(2, bool), "scalar": np.float32(2.5), "generator": generator}
    loaded = checkpoint.load(make(tmp_path, env_state=state)).state["env_state"]
    assert loaded["array"].tolist() == [0, 1, 2]
    assert loaded["scalar"] == 2.5
    assert loaded["generator"] == generator


def test_loading_runs_no_code(tmp_path: Path) -> None:
    file = tmp_path / "evil.pt"
    torch.save({"model": {}, "config": {}, "spec_table": {}, "version": Evil()}, file)
    with pytest.raises(UserError, match=r"evil\.pt is not a checkpoint"):
        checkpoint.load(file)
    assert not (tmp_path / "ran").exists()


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*last\.pt"):
        checkpoint.load(tmp_path)
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match=r"broken\.pt is not a checkpoint"):
        checkpoint.load(tmp_path / "broken.pt")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="no model, config, spec_table, version, frame in it"):
        checkpoint.load(tmp_path / "other.pt")


def trained_for(table: dict[str, Any]) -> Checkpoint:
    return Checkpoint(
        Path("some.pt"), {"spec_table": table, "version": dexsim.__version__, "format": checkpoint.FORMAT}
    )


def test_another_robot_is_refused_by_name() -> None:
    trained = trained_for(PointEnv(1).spec_table())
    checkpoint.check_matches(trained, PointEnv(2).spec_table())
    with pytest.raises(UserError, match=r"some\.pt does not fit: joints\.y is missing; joints\.thumb is new"):
        checkpoint.check_matches(trained, PointEnv(1, joints=("x", "thumb", "z")).spec_table())
    with pytest.raises(UserError, match=r"the order of joints is \['y', 'x', 'z'\]"):
        checkpoint.check_matches(trained, PointEnv(1, joints=("y", "x", "z")).spec_table())


def test_another_value_is_refused_unless_allowed() -> None:
    trained, table = trained_for(PointEnv(1).spec_table()), PointEnv(1).spec_table()
    table["rates"]["policy_hz"] = 5.0
    table["joints"][0]["upper"] = 1.0
    with pytest.raises(UserError, match=r"joints\.x\.upper is 1\.0, but was 2\.0; rates\.policy_hz is 5"):
        checkpoint.check_matches(trained, table)
    checkpoint.check_matches(trained, table, allow=("rates", "joints"))


def test_of_another_version_the_refusal_says_so() -> None:
    old = Checkpoint(Path("some.pt"), {"spec_table": PointEnv(1).spec_table(), "version": "0.0.9"})
    with pytest.raises(UserError, match=r"some\.pt, written by dexsim 0\.0\.9 \(format 1\), does not fit: joints\.y"):
        checkpoint.check_matches(old, PointEnv(1, joints=("x", "thumb", "z")).spec_table())


def test_random_state_continues() -> None:
    state = checkpoint.random_state()
    first = torch.rand(3), np.random.rand(3)
    checkpoint.set_random_state(state)
    assert torch.equal(torch.rand(3), first[0])
    assert np.array_equal(np.random.rand(3), first[1])
