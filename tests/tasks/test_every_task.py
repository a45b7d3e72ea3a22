"""What every registered task does, whoever brings it: create, step, reset, mirror, checkpoint, evaluate, export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tasks
from dexsim import cli
from dexsim.control.symmetry import QUATERNION, VECTOR, Mirror, mirror_commands
from dexsim.env.env import Env
from dexsim.env.task import Start
from dexsim.rl import checkpoint as checkpoints
from tests.simulated import PAPER

TASKS = tasks.task_names()
SMALL = ["rl=cpu", "rl.horizon=8", "num_envs=4", "wandb=disabled", "backend.threads=1"]
EPOCH = 4 * 8


def make(task: str, num_envs: int = 3, randomization: Mapping[str, Any] | None = None) -> Env:
    return tasks.make_env({"name": task}, {"name": "gr1t2"}, {"threads": 1}, randomization, num_envs=num_envs)


def actions(env: Env, steps: int) -> Tensor:
    return 2 * torch.rand(steps, env.num_envs, env.num_actions, generator=torch.Generator().manual_seed(0)) - 1


@pytest.mark.parametrize("task", TASKS)
def test_it_steps(task: str) -> None:
    env = make(task, randomization=PAPER)
    observations = env.reset()
    assert observations["obs"].shape == (3, env.num_obs)
    assert observations["states"].shape == (3, env.num_states)
    for action in actions(env, 4):
        result = env.step(action)
        terms = result.info["reward_terms"]
        assert list(terms) == list(env.task.rewards)
        assert torch.allclose(result.reward, torch.stack(list(terms.values())).sum(dim=0).float())
        assert all(bool(torch.isfinite(group).all()) for group in result.obs.values())
    assert set(env.task.stages(env.world)) == set(env.task.stage_names)
    assert env.task.marker_positions(env.world).shape[::2] == (3, 3)
    json.dumps(env.task.describe())
    json.dumps(env.spec_table())


@pytest.mark.parametrize("task", TASKS)
def test_an_episode_ends_in_time(task: str) -> None:
    env = make(task, 2)
    env.reset()
    still = torch.zeros(2, env.num_actions)
    for _ in range(env.max_episode_length - 1):
        env.step(still)
    result = env.step(still)
    assert bool((result.truncated | result.terminated).all())
    assert set(result.info["metrics"]) == set(env.task.metrics(env.world))
    assert result.info["success"].shape == (2,)


@pytest.mark.parametrize("task", TASKS)
def test_a_partial_reset_changes_no_other_environment(task: str) -> None:
    env, other = make(task, randomization=PAPER), make(task, randomization=PAPER)
    for each in (env, other):
        each.reset()
        each.step(actions(each, 1)[0])
    before = env.world.goals[1].clone(), env.backend.state.object_pose[1].clone()
    env.reset_envs(torch.tensor([1]))
    assert not torch.equal(env.backend.state.object_pose[1], before[1])
    action = actions(env, 2)[1]
    ours, theirs = env.step(action), other.step(action)
    for mine, its in ((ours.obs["states"], theirs.obs["states"]), (ours.reward, theirs.reward)):
        assert torch.equal(mine[[0, 2]], its[[0, 2]])


def with_twins(env: Env) -> None:
    """Let the second environment start as the mirror image of the first."""
    draw, robot = env.task.start, env.robot
    commands = Mirror(mirror_commands(robot))
    signs = torch.tensor([*VECTOR, *QUATERNION], dtype=torch.float64)

    def start(*given: Any) -> Start:
        drawn = draw(*given)
        state, mirrored = drawn.state, drawn.mirrored
        image = commands(state.joint_position[:1, robot.command_index]).numpy()
        state = replace(
            state,
            joint_position=torch.cat([state.joint_position[:1], torch.from_numpy(robot.expand_coupled(image))]),
            joint_target=torch.cat([state.joint_target[:1], commands(state.joint_target[:1])]),
            object_pose=torch.cat([state.object_pose[:1], state.object_pose[:1] * signs]),
        )
        if mirrored is not None:
            mirrored = torch.stack([mirrored[0], ~mirrored[0]])
        goals = torch.cat([drawn.goals[:1], drawn.goals[:1] * signs[:3]])
        return replace(drawn, state=state, goals=goals, mirrored=mirrored)

    env.task.start = start  # type: ignore[method-assign]


@pytest.mark.parametrize("task", TASKS)
def test_its_mirror_image_is_the_same_task(task: str) -> None:
    env = make(task, 2)
    if not (env.task.symmetric or env.task.two_sided):
        pytest.skip("neither symmetric nor two-sided")
    with_twins(env)
    mirrors = env.mirrors()
    # Of a symmetric task the policy sees the mirror image; of a two-sided one it sees the same.
    see, seen_by_critic = [mirrors[name] if mirrors else lambda values: values for name in ("obs", "states")]
    act = mirrors["actions"] if mirrors else lambda values: values
    first = env.reset()
    assert torch.allclose(see(first["obs"][1]), first["obs"][0], atol=1e-6)
    # The vendor's hands are mirror images to 1.2 mm.
    assert torch.allclose(seen_by_critic(first["states"][1]), first["states"][0], atol=2e-3)
    pairs = [torch.stack([action, act(action)]) for action in actions(env, 4)[:, 0]]
    obs, reward = [env.step(pair)[:2] for pair in pairs][-1]
    obs = obs["obs"]
    assert torch.allclose(see(obs[1]), obs[0], atol=1e-3)
    assert float(reward[0]) == pytest.approx(float(reward[1]), abs=3e-3)
    assert not torch.allclose(first["obs"][0], obs[0], atol=1e-2)


@pytest.fixture(scope="module", params=TASKS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny training."""
    root = tmp_path_factory.mktemp(request.param)
    return cli.run("train", [f"task={request.param}", *SMALL, f"frames={EPOCH}", f"runs_dir={root}"])


def test_its_checkpoint_goes_on(trained: Path, tmp_path: Path) -> None:
    saved = checkpoints.load(trained)
    assert saved.frame == EPOCH
    assert saved.config["task"]["name"] == trained.parents[0].name
    more = cli.run("train", [f"resume={trained}", f"frames={2 * EPOCH}", f"runs_dir={tmp_path}"])
    assert checkpoints.load(more).frame == 2 * EPOCH


def test_its_policy_is_evaluated(trained: Path, tmp_path: Path) -> None:
    options = ["episodes=2", "num_envs=2", "threads=1", f"runs_dir={tmp_path}"]
    run = cli.run("evaluate", [f"checkpoint={trained}", *options])
    found = json.loads((run / "result.json").read_text())
    assert found["success"]["n"] == 2
    assert found["nonfinite_environments"]["value"] == 0


def test_its_policy_is_exported(trained: Path, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    run = cli.run("export", [f"checkpoint={trained}", f"runs_dir={tmp_path}"])
    manifest = json.loads((run / "policy.json").read_text())
    assert (run / manifest["model"]).is_file()
    assert manifest["max_error"] <= 1e-5
    assert np.isfinite(manifest["task"]["episode_s"])
