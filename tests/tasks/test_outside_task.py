"""A task of one file and one YAML in a package outside the repository: the example of CONTRIBUTING.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tasks
from dexsim import cli
from tests.markdown import ROOT, fences

SMALL = ["rl=cpu", "num_envs=8", "frames=256", "wandb=disabled", "backend.threads=1"]


def write_package(folder: Path) -> None:
    """The files of the example, and what an installer makes of its entry points."""
    project = {}
    for fence in fences((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        if fence.file == "pyproject.toml":
            project = tomllib.loads(fence.text)["project"]
        elif fence.file:
            path = folder / fence.file
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(fence.text, encoding="utf-8")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    write_package(folder)
    return folder


@pytest.fixture
def installed(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(package)
    yield
    tasks.task_class.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


def dexsim(package: Path, folder: Path, *arguments: str) -> Path:
    """Run the command line in a process of its own, and return the run folder."""
    path = os.pathsep.join([str(package), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "dexsim", *arguments]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def test_it_trains_and_is_evaluated_from_the_command_line(package: Path, tmp_path: Path) -> None:
    run = dexsim(package, tmp_path, "train", "task=push", *SMALL)
    assert json.loads((run / "result.json").read_text())["frames"]["value"] == 256
    evaluation = dexsim(package, tmp_path, "evaluate", "checkpoint=runs/train/push", "episodes=4", "threads=1")
    found = json.loads((evaluation / "result.json").read_text())["success"]
    assert found["n"] == 4
    assert 0 <= found["interval"][0] <= found["value"] <= found["interval"][1] <= 1


@pytest.mark.usefixtures("installed")
def test_it_makes_environments() -> None:
    env = tasks.make_env({"name": "push", "goal_x": [0.45, 0.45]}, {"name": "gr1t2"}, {"threads": 1}, num_envs=3)
    first = env.reset()["obs"]
    assert (env.world.goal[:, 0] - 0.45).abs().max() < 1e-9
    moved = env.step(torch.ones(3, env.num_actions))
    assert bool(torch.isfinite(moved.reward).all())
    assert not torch.equal(moved.obs["obs"], first)
    env.world.state.object_pose[1, 0, :3] = env.world.goal[1]
    assert env.task.success(env.world).tolist() == [False, True, False]
    assert torch.equal(env.reset()["obs"], first)


@pytest.mark.usefixtures("installed")
def test_the_command_line_names_it_with_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert tasks.task_names() == ["bimanual_handover", "box_lift", "grasp_and_reach", "push"]
    assert cli.main(["train", "task=pusk"]) == 2
    assert "grasp_and_reach, push; did you mean 'push'?" in capsys.readouterr().err
    assert cli.main(["train", "task=push", "task.goal_z=1"]) == 2
    assert "unknown key 'task.goal_z' = 1" in capsys.readouterr().err.replace("Key", "key")
    assert cli.main(["train", "--help"]) == 0
    assert "task: box_lift  [bimanual_handover, box_lift, grasp_and_reach, push]" in capsys.readouterr().out


def test_without_its_package_there_is_no_such_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "push" not in tasks.task_names()
    assert cli.main(["train", "task=push", f"runs_dir={tmp_path}"]) == 2
    assert "push" in capsys.readouterr().err
