"""Every task on another engine: the same start, nearly the same first steps, evaluated from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tasks
from dexsim import cli
from tasks.registry import task_names
from tests.test_mutated_files import write_checkpoint

pytest.importorskip("sapien")


@pytest.mark.parametrize("name", task_names())
def test_a_task_starts_and_begins_as_on_mujoco(name: str) -> None:
    seen = []
    for engine in ("mujoco", "physx"):
        backend = {"name": engine, "threads": 1, "timestep": 0.005}
        env = tasks.make_env({"name": name}, {"name": "gr1t2"}, backend, num_envs=2, seed=3)
        rows = [env.reset()["states"]]
        action = torch.full((2, env.num_actions), 0.5)
        for _ in range(3):
            result = env.step(action)
            assert not result.terminated.any()
            rows.append(result.obs["states"])
        seen.append(rows)
    for number, (ours, theirs) in enumerate(zip(*seen, strict=True)):
        assert torch.allclose(ours, theirs, atol=1e-4 if number == 0 else 0.2), number
    assert not torch.allclose(seen[0][0], seen[0][-1], atol=0.1)


def test_a_policy_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path)
    given = ["checkpoint=last.pt", "backend=physx", "episodes=1", "num_envs=1", "threads=1"]
    folder = cli.run("evaluate", [*given, "task.episode_s=0.5", "task.hold_s=0.1"])
    assert json.loads((folder / "result.json").read_text())["success"]["n"] == 1


def test_a_benchmark_against_the_bare_engine_needs_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "backend=physx"]) == 2
    assert capsys.readouterr().err == (
        "error: backend.name = 'physx': must be mujoco, whose bare batch it is compared with\n"
    )
