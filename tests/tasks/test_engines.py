"""Every task on another engine: the same start, nearly the same first steps, evaluated from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tasks
from dexsim import cli
from tasks.recording.grasp import play
from tasks.recording.session import Session
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


def test_a_recorded_grasp_holds_on_both(tmp_path: Path) -> None:
    """The targets of a scripted grasp, sent again: the palm goes where it went to 1 mm, the can is lifted, and lies in
    the hand where it lay to 25 mm. Fingers close further where contacts give way more, by up to a radian.
    """
    section = {"name": "grasp_and_reach", "side": "right", "objects": ["can"]}
    sent: list[Any] = []
    ends = []
    for engine in ("mujoco", "physx"):
        backend = {"name": engine, "threads": 1, "timestep": 0.002}
        session = Session(tasks.make_env(section, {"name": "gr1t2"}, backend, seed=2), tmp_path / "bank.npz")
        made = session.env.backend
        if not sent:
            _listen(made, sent)
            assert play(session, np.random.default_rng(2))
        else:
            session.reset()
            for targets, steps in sent:
                made.set_joint_targets(targets)
                made.step(steps)
            session.env.world.changed()
        assert "picked_up" in session.reached()
        ends.append((made.state.object_pose[0, 0, :3].clone(), made.state.palm_pose[0, 1].clone()))
    palms = [palm[:3] for _, palm in ends]
    in_hand = [palm[3:].view(3, 3).T @ (item - palm[:3]) for item, palm in ends]
    assert float((palms[0] - palms[1]).norm()) < 1e-3
    assert float((in_hand[0] - in_hand[1]).norm()) < 0.025


def _listen(backend: Any, sent: list[Any]) -> None:
    """Note every target that a backend is given, with the physics steps that it is held for."""
    send, step = backend.set_joint_targets, backend.step

    def sending(targets: torch.Tensor) -> None:
        sent.append([targets.clone(), 0])
        send(targets)

    def stepping(substeps: int) -> torch.Tensor:
        sent[-1][1] += substeps
        return step(substeps)

    backend.set_joint_targets, backend.step = sending, stepping


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
