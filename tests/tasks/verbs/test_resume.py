"""A resumed run stays in its series, and a checkpoint carries the files that its run was given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import yaml

from dexsim import cli
from dexsim.errors import UserError
from dexsim.paths import assets_dir
from dexsim.rl import checkpoint as checkpoints

SMALL = ["rl=cpu", "rl.horizon=2", "num_envs=16", "rl.actor.minibatches=1", "rl.critic.minibatches=1"]
EPOCH = 32


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*overrides: str, epochs: int = 1) -> Path:
    given = [] if any(text.startswith("resume=") for text in overrides) else [*SMALL, "backend.threads=1"]
    return cli.run("train", [*given, "wandb=disabled", f"frames={epochs * EPOCH}", *overrides])


def write_box(path: Path, *size: float) -> None:
    path.parent.mkdir(exist_ok=True)
    trimesh.creation.box(size).export(path)


@pytest.mark.parametrize("name", [None, "ch"])
def test_a_resumed_run_stays_in_its_series(folder: Path, name: str | None) -> None:
    given = [] if name is None else [f"name={name}"]
    series = Path("runs/train", name or "grasp_and_reach")
    assert train("task=grasp_and_reach", *given).parent == series
    for epochs in (2, 3):
        assert train(f"resume={series}", epochs=epochs).parent == series
    newest = checkpoints.load(series)
    assert newest.frame == 3 * EPOCH
    assert len((newest.path.parents[1] / "curve.csv").read_text().splitlines()) == 1 + 3
    assert not Path("runs/train/box_lift").exists()


def test_where_a_resumed_run_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train("task=grasp_and_reach", "name=ch")
    assert train(f"resume={first}", "name=other", epochs=2).parent == Path("runs/train/other")
    away = folder / "away"
    away.mkdir()
    monkeypatch.chdir(away)
    again = train(f"resume='{folder / first / 'checkpoints' / 'last.pt'}'", epochs=2)
    assert again.parent == folder / "runs/train/ch"
    (away / "link").symlink_to(folder / first)
    assert train("resume=link", epochs=2).resolve().parent == folder / "runs/train/ch"
    shutil.copy(folder / first / "checkpoints" / "last.pt", away / "mine.pt")  # its place tells nothing any more
    assert train("resume=mine.pt", epochs=2).parent == Path("runs/train/ch")


def test_a_checkpoint_carries_its_meshes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_box(folder / "a" / "cup.stl", 0.05, 0.045, 0.13)
    write_box(folder / "b" / "cup.stl", 0.06, 0.06, 0.09)
    monkeypatch.chdir(folder / "a")
    trained = (folder / "a" / train("task=grasp_and_reach", "task.objects=[cup.stl,can]")).resolve()
    write_box(folder / "a" / "cup.stl", 0.07, 0.05, 0.10)

    def evaluated() -> list:
        run = cli.run("evaluate", [f"checkpoint='{trained}'", "episodes=2", "num_envs=2", "threads=1"])
        return yaml.safe_load((run / "evaluated.yaml").read_text())["task"]["objects"]

    for place in ("a", "b"):
        monkeypatch.chdir(folder / place)
        cup, can = evaluated()
        assert (cup["name"], can) == ("cup", "can")
        assert np.allclose(cup["size"], (0.05, 0.045, 0.13))
    (folder / "a" / "cup.stl").unlink()
    again = checkpoints.load(train(f"resume='{trained}'", epochs=2))
    assert again.config["task"]["objects"] == checkpoints.load(trained).config["task"]["objects"]
    exported = cli.run("export", [f"checkpoint='{trained}'"])
    objects = json.loads((exported / "policy.json").read_text())["task"]["objects"]
    assert np.allclose(objects[0]["size_m"], (0.05, 0.045, 0.13))


def test_a_checkpoint_carries_its_bank(folder: Path) -> None:
    shutil.copy(assets_dir() / "banks" / "box_lift_low_gr1t2.npz", folder / "My Bank.NPZ")
    trained = train("task=box_lift", "task.bank='My Bank.NPZ'")
    (folder / "My Bank.NPZ").write_bytes(b"another")
    content = checkpoints.load(trained).config["task"]["bank"]
    assert content["file"] == str(folder / "My Bank.NPZ")
    cli.run("evaluate", [f"checkpoint={trained}", "episodes=2", "num_envs=2", "threads=1"])
    again = checkpoints.load(train(f"resume={trained}", epochs=2))
    assert again.config["task"]["bank"] == content
    assert (trained / "config.yaml").stat().st_size < 5000 > (again.path.parents[1] / "config.yaml").stat().st_size
    with pytest.raises(UserError, match=r"My Bank\.NPZ': not a bank of initial states \(no zip"):
        train("task=box_lift", "task.bank='My Bank.NPZ'")


def test_content_that_was_changed_is_refused(folder: Path) -> None:
    shutil.copy(assets_dir() / "banks" / "box_lift_gr1t2.npz", folder / "my.npz")
    trained = train("task=box_lift", "task.bank=my.npz")
    state = checkpoints.load(trained).state
    state["config"]["task"]["bank"]["sha256"] = "0" * 64
    torch.save(state, folder / "odd.pt")
    with pytest.raises(UserError, match=r"task\.bank: the content of .*my\.npz is not what its sha256 says"):
        cli.run("evaluate", ["checkpoint=odd.pt", "episodes=2", "num_envs=2", "threads=1"])


def test_a_state_without_a_part_is_one_line(folder: Path) -> None:
    trained = train("task=box_lift")
    state = checkpoints.load(trained).state
    del state["env_state"]["buffers"]["_later"]
    torch.save(state, trained / "checkpoints" / "last.pt")
    with pytest.raises(
        UserError, match=r"was written by dexsim \S+ \(format 2\) .* no env_state\.buffers\._later; it can"
    ):
        train(f"resume={trained}", epochs=2)
    cli.run("evaluate", [f"checkpoint={trained}", "episodes=2", "num_envs=2", "threads=1"])
    del state["env_state"], state["rollout"], state["random"], state["config"]["control"]["arm_lead"]
    state["version"] = "0.0.9"
    torch.save(state, trained / "checkpoints" / "last.pt")
    assert checkpoints.load(train(f"resume={trained}", epochs=2)).frame == 2 * EPOCH
    state["config"]["control"]["strength"] = 1.0
    torch.save(state, trained / "checkpoints" / "last.pt")
    for run in (lambda: train(f"resume={trained}", epochs=2), lambda: cli.run("evaluate", [f"checkpoint={trained}"])):
        with pytest.raises(UserError, match=r"unknown key 'control\.strength' = 1\.0.*was written by dexsim 0\.0\.9"):
            run()


def test_a_run_from_python_is_logged(folder: Path) -> None:
    run = train("task=box_lift")
    log = (run / "log.txt").read_text()
    assert "INFO tasks.verbs.train: 32 steps in " in log
    assert "INFO tasks.verbs.train: checkpoint: " in log
