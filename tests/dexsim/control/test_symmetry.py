"""The mirror image of what happens is what happens to the mirror image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dexsim.backends import InitialState
from dexsim.control.symmetry import Mirror, mirror_commands
from dexsim.env.env import Env
from dexsim.robots import load
from tasks.banks import load_bank, save_bank
from tests.simulated import make


def put_image(env: Env) -> None:
    """Make environment 1 the mirror image of environment 0, box turned and shifted."""
    limits = env.world.tensors.limits
    state = env.backend.state
    joints = state.joint_position[0, env.world.tensors.command_index]
    middle, half = limits.mean(dim=1), (limits[:, 1] - limits[:, 0]) / 2
    image = middle + Mirror(mirror_commands(env.robot))((joints - middle) / half) * half
    targets = torch.stack([joints, image])
    pose = state.object_pose.clone()
    pose[0, 0, :2] += torch.tensor([0.01, 0.015])
    pose[0, 0, 3:] = torch.tensor([0.98006658, 0.0, 0.0, 0.19866933])
    sign = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    pose[1] = pose[0] * sign
    everything = torch.from_numpy(env.robot.expand_coupled(targets.numpy()))
    env.backend.reset(torch.tensor([0, 1]), InitialState(everything, targets, pose))
    env._target[:] = env.world.joint_target[:] = targets.float()
    env.world.changed("episode")


def test_a_mirrored_robot_moves_as_the_mirror_image() -> None:
    env = make(2)
    seen = env.reset()["states"]
    put_image(env)
    mirrors = env.mirrors()
    assert mirrors is not None
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        action = 0.3 * torch.randn(26, generator=generator)
        action[7:13] = action[20:] = 0.0  # fingers that meet the box would amplify rounding
        seen = env.step(torch.stack([action, mirrors["actions"](action)])).obs["states"]
    for name in ("joint_position", "object_position", "object_orientation", "fingertip_position", "object_velocity"):
        where = env.state_layout[name]
        assert torch.allclose(mirrors["states"](seen[0])[where], seen[1][where], atol=5e-3), name


@pytest.mark.parametrize("robot", ["gr1t2", "gr1t2_inspire"])
def test_an_image_of_an_image_is_the_original(robot: str) -> None:
    values = torch.arange(26.0)
    mirror = Mirror(mirror_commands(load(robot)))
    assert torch.equal(mirror(mirror(values)), values)
    assert not torch.equal(mirror(values), values)


def test_a_task_that_prefers_a_side_is_not_mirrored(tmp_path: Path) -> None:
    assert make(1).mirrors() is not None
    assert make(1, alpha=30.0).mirrors() is None
    robot = load("gr1t2")
    bank = load_bank("box_lift", robot, "box_lift")
    aside = bank.object_pose + torch.tensor([0.0, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0])
    save_bank(tmp_path / "aside.npz", robot, replace(bank, object_pose=aside), "box_lift")
    assert make(1, bank=str(tmp_path / "aside.npz")).mirrors() is None
