"""A robot that is driven through an exported policy alone moves as the environment would have it move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tasks
from dexsim.control.controller import Controller
from dexsim.control.exported import ExportedPolicy
from dexsim.control.measured import Measured
from dexsim.env.env import Env
from dexsim.errors import UserError
from dexsim.rl import export
from dexsim.rl.checkpoint import Checkpoint
from dexsim.rl.player import Policy
from dexsim.robots import load

SECTIONS = {"robot": {"name": "gr1t2"}, "backend": {"threads": 1}, "control": {"hand_speed": 1.0}}
TASKS = ("box_lift", "grasp_and_reach", "bimanual_handover")


def make(task: str, num_envs: int = 8, **control: Any) -> Env:
    return tasks.make_env(
        {"name": task}, **{**SECTIONS, "control": {**SECTIONS["control"], **control}}, num_envs=num_envs
    )


def lively(env: Env) -> Policy:
    """A policy with large weights: joints come to their limits, leads and speeds."""
    torch.manual_seed(0)
    policy = Policy(env.num_obs, (32,), env.num_actions)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(3.0)
    return policy.requires_grad_(False).eval()


def write(env: Env, policy: Policy, path: Path, section: dict[str, Any] | None = None) -> dict[str, Any]:
    config = {**SECTIONS, "robot": section or SECTIONS["robot"]}
    checkpoint = Checkpoint(path, {"config": config, "spec_table": env.spec_table(), "version": "0", "frame": 0})
    controller = Controller(policy, env.task.actor, env.robot, env.action_map, env.task.two_sided)
    about = export.describe(checkpoint, controller, env.robot, env.control, env.task.describe())
    return export.export(controller, path, about)


@pytest.mark.parametrize("mode", ["relative", "absolute"])
@pytest.mark.parametrize("task", TASKS)
def test_the_export_drives_a_robot_as_the_environment_does(
    task: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make(task, action_mode=mode)
    policy = lively(env)
    write(env, policy, tmp_path / "policy.onnx")
    exported = ExportedPolicy(tmp_path / "policy.onnx", env.robot)
    obs = env.reset()["obs"]
    sent = env.joint_target.clone()
    theirs: list[Tensor] = []
    drive = env.backend.set_joint_targets
    # The robot gets the export's targets; what the environment would have sent is kept.
    monkeypatch.setattr(env.backend, "set_joint_targets", lambda t: (theirs.append(t.clone()), drive(sent)))
    exported.begin(env.world.measured, env.world.goals)
    assert torch.equal(exported.mirrored, env.world.mirrored)
    if env.task.two_sided:
        assert set(exported.mirrored.tolist()) == {False, True}
    running = torch.ones(env.num_envs, dtype=torch.bool)
    for step in range(env.max_episode_length):
        measured = Measured(**{**vars(env.world.measured), "joint_target": sent})
        measured.goal = exported.goal(measured)
        sent = exported.act(measured)
        assert torch.allclose(exported.action, policy(obs), atol=1e-4), f"step {step}"
        result = env.step(exported.action)
        assert float((sent - theirs[-1])[running].abs().max()) < 1e-5, f"step {step}"
        running &= ~(result.terminated | result.truncated)
        if not running.any():
            break
        sent, obs = torch.where(running[:, None], sent, env.joint_target), result.obs["obs"]
        exported.mirrored = torch.where(running, exported.mirrored, env.world.mirrored)
    assert len(theirs) > 10
    assert float((theirs[0] - theirs[-1]).abs().max()) > 0.1, "nothing has moved"


@pytest.mark.parametrize("task", TASKS)
def test_a_manifest_says_what_a_runner_needs(task: str, tmp_path: Path) -> None:
    env = make(task, 64)
    manifest = write(env, lively(env), tmp_path / "policy.onnx")
    assert manifest["max_error"] <= 1e-5
    env.reset()
    start, world = manifest["task"]["start"], env.world
    right = ~world.mirrored
    low, high = torch.tensor(start["object_range"]).double()
    assert ((world.object_position >= low - 1e-6) & (world.object_position <= high + 1e-6))[right].all()
    assert len(start["joint_target"]) == len(start["joint_position"]) == len(manifest["robot"]["commands"])
    for phase, goal in enumerate(manifest["task"]["goals"]):
        for axis, (lowest, highest) in enumerate((goal["x"], goal["y"], goal["z"])):
            values = world.goals[right, phase, axis]
            assert lowest - 0.01 <= float(values.min()) <= float(values.max()) <= highest + 0.01, (phase, axis)
    assert manifest["task"]["episode_s"] * manifest["policy_hz"] == env.max_episode_length
    assert manifest["task"]["success"]["hold_s"] == 1.0
    assert [item["name"] for item in manifest["task"]["objects"]]
    assert manifest["control"]["arm_speed"] == 0.3
    assert manifest["control"]["hand_speed"] == 1.0
    assert manifest["control"]["arm_lead"] == 0.25
    assert max(manifest["control"]["largest_step_rad"]) > 0.03
    assert "rate" in manifest["outputs"]["action"]["text"]
    assert manifest["inputs"]["object_position"]["unit"] == "m"
    assert manifest["assumes"]["tuned"] is None
    assert manifest["assumes"]["drives"]["joint_stiffness"]["left_elbow_pitch_joint"] == 60.0
    assert (manifest["mirror"] is not None) == env.task.two_sided


def test_a_manifest_names_the_log_that_its_robot_was_tuned_to(tmp_path: Path) -> None:
    from dexsim.robots import with_content

    section = with_content({"name": "gr1t2", "tuned": "gr1t2_tuned.yaml"})
    env = tasks.make_env({"name": "box_lift"}, section, {"threads": 1}, num_envs=2)
    robot = write(env, lively(env), tmp_path / "policy.onnx", section)["assumes"]
    assert robot["tuned"]["log"]
    assert "constants" not in robot["tuned"]
    assert robot["drives"]["joint_lag"]["left_elbow_pitch_joint"] > 0


def test_the_goal_moves_on_once_the_object_is_held_where_it_should_be(tmp_path: Path) -> None:
    env = make("bimanual_handover", 2)
    write(env, lively(env), tmp_path / "policy.onnx")
    policy = ExportedPolicy(tmp_path / "policy.onnx", env.robot)
    env.reset()
    measured, goals = env.world.measured, env.world.goals
    policy.begin(measured, goals)
    assert torch.equal(policy.goal(measured), goals[:, 0])
    there = torch.stack([goals[0, 0] + 0.03, measured.object_position[1]])
    after = policy.goal(Measured(**{**vars(measured), "object_position": there}))
    assert torch.equal(after, torch.stack([goals[0, 1], goals[1, 0]]))
    assert torch.equal(policy.goal(measured), after), "a goal that was reached comes back"


def test_what_is_no_export_or_another_robot_s_is_refused(tmp_path: Path) -> None:
    env = make("box_lift", 1)
    path = tmp_path / "policy.onnx"
    with pytest.raises(UserError, match=r"policy.json: not the manifest"):
        ExportedPolicy(path, env.robot)
    write(env, lively(env), path)
    with pytest.raises(UserError, match=r"does not fit"):
        ExportedPolicy(path, load("gr1t2_inspire"))
    path.write_bytes(b"broken")
    with pytest.raises(UserError, match=r"not an exported policy"):
        ExportedPolicy(path, env.robot)


def test_a_policy_that_sees_what_no_robot_knows_is_not_exported() -> None:
    env = make("box_lift", 1)
    with pytest.raises(UserError, match=r"'joint_velocity': only a simulator knows it"):
        Controller(lively(env), env.task.critic, env.robot, env.action_map, False)
