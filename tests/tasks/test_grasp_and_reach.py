"""Grasp-and-reach: either hand's episodes look alike to the policy, goals and objects vary, success means held."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import tasks
from dexsim.backends import InitialState
from dexsim.control.symmetry import left_hand_acts
from dexsim.env.env import Env
from dexsim.errors import UserError
from tasks import objects
from tasks.grasp_and_reach import GraspAndReach
from tests.simulated import PAPER


def make(num_envs: int = 4, randomization: Any = None, **task: Any) -> Env:
    return tasks.make_env(
        {"name": "grasp_and_reach", **task}, {"name": "gr1t2"}, {"threads": 1}, randomization, None, num_envs, seed=0
    )


def test_the_left_hand_s_episode_is_seen_as_the_right_hand_s() -> None:
    """The same actions on the same episode, played by either hand: observations agree, the world is mirrored."""
    right, left = (
        make(3, randomization={"initial_yaw": 0.5, "initial_position": 0.02}, side=side) for side in ("right", "left")
    )
    seen, image = right.reset(), left.reset()
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        # Velocities in contact amplify rounding.
        for group, tolerance in (("obs", 2e-3), ("states", 5e-2)):
            assert torch.allclose(seen[group], image[group], atol=tolerance), group
        action = torch.rand(3, right.num_actions, generator=generator) - 0.5
        seen, image = right.step(action).obs, left.step(action).obs
    assert (right.world.state.object_pose[:, 0, 1] < 0).all()
    assert (left.world.state.object_pose[:, 0, 1] > 0).all()
    assert (left.world.goal[:, 1] > 0).all()


def test_the_other_hand_keeps_still() -> None:
    env = make(4, randomization={"action_noise": 0.1})
    env.reset()
    before = env.world.state.joint_position.clone()
    for _ in range(10):
        env.step(torch.ones(4, env.num_actions))
    moved = (env.world.state.joint_position - before).abs()
    sides = torch.tensor(["left" in name or name.startswith("L_") for name in env.robot.joint_names])
    other = torch.stack([moved[i, ~sides if env.world.mirrored[i] else sides].max() for i in range(4)])
    acting = torch.stack([moved[i, sides if env.world.mirrored[i] else ~sides].max() for i in range(4)])
    assert other.max() < 0.02
    assert acting.min() > 0.1


def test_the_nearer_hand_acts() -> None:
    env = make(16)
    env.reset()
    assert torch.equal(left_hand_acts(env.world.initial_object[:, 0, :3]), env.world.mirrored)
    assert 0 < int(env.world.mirrored.sum()) < 16


def test_one_batch_holds_all_objects_each_resting_on_the_table() -> None:
    env = make(64, randomization={"object_scale": PAPER["object_scale"]}, objects=["all"])
    env.reset()
    numbers = env.world.parameters["object_choice"][:, 0].long().tolist()
    assert len(set(numbers)) == len(objects.TRAINING)
    sizes = torch.tensor([objects.OBJECTS[name].size for name in objects.GROUPS["all"]], dtype=torch.float64)
    scale = env.world.object_size() / sizes[numbers]
    assert scale.min() >= 0.95 - 1e-9
    assert scale.max() <= 1.05 + 1e-9
    before = env.world.state.object_pose.clone()
    for _ in range(3):
        env.step(torch.zeros(64, env.num_actions))
    assert (env.world.state.object_pose[:, 0, 2] - before[:, 0, 2]).abs().max() < 2e-3


def test_training_and_held_out_objects_are_disjoint_and_groups_cover_them() -> None:
    assert not set(objects.TRAINING) & set(objects.HELD_OUT)
    for prefix in ("shape_", "mix_"):
        members = [name for group, names in objects.GROUPS.items() if group.startswith(prefix) for name in names]
        assert sorted(members) == sorted(objects.TRAINING)


def test_at_the_goal_without_a_hand_is_no_success() -> None:
    env = make(2)
    env.reset()
    assert isinstance(env.task, GraspAndReach)
    pose = env.world.state.object_pose.clone()
    pose[:, 0, :3] = env.world.goal
    joints = env.world.state.joint_position.clone()
    targets = joints[:, env.world.tensors.command_index]
    env.backend.reset(torch.arange(2), InitialState(joints, targets, pose))
    env.world.changed()
    assert (env.task.metrics(env.world)["goal_distance_m"] < 1e-6).all()
    assert not env.task.success(env.world).any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objects": ["canoe"]}, "task.objects: no object or group named 'canoe'.*'can'"),
        ({"objects": []}, r"task.objects = \[\]"),
        ({"side": "middle"}, "task.side = 'middle'"),
        ({"goal_height": [0.3, 0.1]}, "task.goal_height"),
        ({"weights": {"gaol": 1.0}}, "no reward term named 'gaol'"),
        ({"bank": "box_lift"}, "was made for task 'box_lift', not 'grasp_and_reach'"),
    ],
)
def test_what_cannot_be_is_one_line(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(1, **given)


def test_meshes_and_primitives_share_a_batch_and_stand_on_the_table() -> None:
    """Each rests on its own height, whichever mesh was compiled first, and touches a hand where its parts are."""
    env = make(40, objects=["ball", "held_out_meshes"], side="right")
    env.reset()
    assert len(env.world.parameters["object_choice"].unique()) == 1 + len(objects.MESHES)
    before = env.world.state.object_pose.clone()
    for _ in range(5):
        env.step(torch.zeros(40, env.num_actions))
    after = env.world.state.object_pose
    assert (after[:, 0, :3] - before[:, 0, :3]).abs().max() < 2e-3
    assert after[:, 0, 3].min() > 0.999


def test_a_mesh_keeps_its_size_and_has_the_mass_that_was_drawn() -> None:
    env = make(8, objects=["jug"], randomization={"object_scale": [0.9, 1.1], "object_mass": [0.03, 0.1]})
    env.reset()
    size = torch.tensor(objects.expand(["jug"])[0].size, dtype=torch.float64)
    assert torch.allclose(env.world.object_size(), size.expand(8, 3))
    assert env.world.parameters["object_mass"].std() > 0.005


def test_markers_stay_on_an_object_that_starts_tilted() -> None:
    env = make(3, side="right")
    env.reset()
    half = torch.tensor([0.0, 40.0, 90.0], dtype=torch.float64).deg2rad() / 2
    zero = torch.zeros_like(half)
    env.world.initial_object[:, 0, 3:] = torch.stack([half.cos(), half.sin(), zero, zero], dim=1)
    distance = env.task.marker_positions(env.world) - env.world.state.object_pose[:, :1, :3]
    assert torch.allclose(
        torch.linalg.vector_norm(distance, dim=-1), torch.tensor(0.03, dtype=torch.float64), atol=1e-6
    )


def test_gymnasium_accepts_the_environment() -> None:
    env = gymnasium.make("dexsim/GraspAndReach-v0", task={"objects": ["all"]})
    assert env.action_space.shape == (13,)
    check_env(env.unwrapped, skip_render_check=True)
