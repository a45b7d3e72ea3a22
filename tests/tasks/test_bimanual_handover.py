"""Bimanual handover: two phases, starts of every stage while training, and only the second hand's hold counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import tasks
from dexsim.env.env import Env
from dexsim.errors import UserError
from dexsim.robots import load
from tasks.banks import FIELDS, Bank, load_bank, save_bank
from tasks.bimanual_handover import BimanualHandover
from tasks.recording.handover import write_bank

STAGES = BimanualHandover.stage_names


def make(num_envs: int = 4, training: bool = False, randomization: Any = None, **task: Any) -> Env:
    section = {"name": "bimanual_handover", **task}
    return tasks.make_env(
        section, {"name": "gr1t2"}, {"threads": 1}, randomization, num_envs=num_envs, training=training
    )


def started(folder: Path, after: str, num_envs: int = 4) -> Env:
    """Right-to-left, every environment in a state of the shipped bank that comes after a stage."""
    robot = load("gr1t2")
    bank = load_bank("bimanual_handover", robot, "bimanual_handover")
    chosen = (bank.stage == 0) | (bank.stage == STAGES.index(after) + 1)
    some = Bank(*(getattr(bank, field)[chosen] for field in FIELDS))
    save_bank(folder / f"{after}.npz", robot, some, "bimanual_handover")
    path = str(folder / f"{after}.npz")
    env = make(num_envs, training=True, bank=path, later_starts=[1.0, 1.0], direction="right_to_left")
    env.reset()
    env.step(torch.zeros(num_envs, env.num_actions))
    return env


def test_only_training_starts_in_later_stages_and_less_so_with_time() -> None:
    measured = make(64, later_starts=[1.0, 0.5], later_episodes=4)
    trained = make(64, training=True, later_starts=[1.0, 0.5], later_episodes=4)
    for env in (measured, trained):
        env.reset()
    assert not measured.world.phase.any()
    assert (measured.world.initial_object[:, 0, 2] < 0.16).all()
    assert 0.4 < trained.world.phase.double().mean() < 1.0  # picked up by the first hand is phase 0 too
    for _ in range(4):
        trained.reset_envs(torch.arange(64))
    on_table = (trained.world.initial_object[:, 0, 2] < 0.16).double().mean()
    assert 0.3 < on_table < 0.7


def test_each_phase_has_its_goal(tmp_path: Path) -> None:
    env = started(tmp_path, "picked_up")
    assert torch.allclose(env.world.goal[:, 1], torch.zeros(4, dtype=torch.float64))
    assert not env.world.phase.any()
    pose = env.world.state.object_pose[:, 0, :3].clone()
    env.world.goals[:, 0] = pose  # the object, held and lifted, is where it should be
    seen = env.step(torch.zeros(4, env.num_actions)).obs["obs"]
    assert env.world.phase.all()
    assert (env.world.goal[:, 1] > 0.2).all()
    assert torch.allclose(seen[:, env.obs_layout["goal"]], env.world.goal.float())


@pytest.mark.parametrize(
    ("after", "held_by_second_alone"), [("at_middle", False), ("received", False), ("passed", True)]
)
def test_success_asks_for_the_second_hand_alone(tmp_path: Path, after: str, held_by_second_alone: bool) -> None:
    env = started(tmp_path, after)
    env.world.goals[:, 1] = env.world.state.object_pose[:, 0, :3]
    env.world.changed()
    assert (env.task.success(env.world) == held_by_second_alone).all()


def test_the_final_goal_pays_nothing_before_the_second_hand_touches(tmp_path: Path) -> None:
    for after, pays in (("at_middle", False), ("received", True)):
        env = started(tmp_path, after)
        env.world.goals[:, 1] = env.world.state.object_pose[:, 0, :3]
        env.world.changed()
        weight, term = env.task.rewards["goal_second"]
        assert ((weight * term(env.world) > 0) == pays).all()


def test_both_directions_look_alike_to_the_policy() -> None:
    there, back = (make(3, direction=direction) for direction in ("right_to_left", "left_to_right"))
    seen, image = there.reset(), back.reset()
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        for group, tolerance in (("obs", 2e-3), ("states", 5e-2)):
            assert torch.allclose(seen[group], image[group], atol=tolerance), group
        action = torch.rand(3, there.num_actions, generator=generator) - 0.5
        seen, image = there.step(action).obs, back.step(action).obs
    assert (there.world.initial_object[:, 0, 1] < -0.2).all()
    assert (back.world.initial_object[:, 0, 1] > 0.2).all()
    assert (back.world.goals[:, 1, 1] < -0.2).all()


@pytest.mark.parametrize("after", ["picked_up", "at_middle", "received", "passed"])
def test_a_bank_s_hands_keep_what_they_hold(tmp_path: Path, after: str) -> None:
    env = started(tmp_path, after, 24)
    for _ in range(15):
        env.step(torch.zeros(24, env.num_actions))
    kept = env.task.stages(env.world)[after] & (env.world.step == 16)
    assert kept.double().mean() >= 0.9


def test_start_and_goal_are_at_the_edge_of_the_other_arm_s_reach() -> None:
    """However they turn, the second palm stays off the object's start and the first one off the final goal."""
    import mink

    from dexsim.backends.mujoco.model import build_spec
    from dexsim.scene import Scene

    robot, task = load("gr1t2"), make(1).task
    assert isinstance(task, BimanualHandover)
    bank = load_bank("bimanual_handover", robot, "bimanual_handover")
    nearest = bank.object_pose[bank.stage == 0, 0, :2].numpy()[:, 1].max()
    model = build_spec(Scene(robot)).compile()

    def miss(side: str, place: Any) -> float:
        configuration = mink.Configuration(model, q=robot.expand_coupled(np.zeros(26)))
        frame = mink.FrameTask(f"palm_{side}", "site", position_cost=1.0, orientation_cost=0.0)
        frame.set_target(mink.SE3.from_translation(np.array(place)))
        for _ in range(200):
            velocity = mink.solve_ik(
                configuration, [frame], 0.1, "daqp", damping=1e-3, limits=[mink.ConfigurationLimit(model)]
            )
            configuration.integrate_inplace(velocity, 0.1)
        return float(np.linalg.norm(frame.compute_error(configuration)[:3]))

    assert miss("right", (0.32, nearest, 0.1)) < 0.01
    # A palm's grasp frame is 4 cm in front of it.
    assert min(miss("left", (0.32, nearest, height)) for height in (0.06, 0.15, 0.25)) > 0.03
    assert min(miss("right", (0.33, task.settings.goal_y[0], height)) for height in (0.15, 0.3, 0.4)) > 0.03


def test_scripted_play_gives_states_of_every_stage(tmp_path: Path) -> None:
    robot, path = load("gr1t2"), tmp_path / "bank.npz"
    ends = write_bank(robot, path, starts=10, plays=5, seed=0)
    assert "passed" in ends
    bank = load_bank(str(path), robot, "bimanual_handover")
    after = [STAGES.index(name) + 1 for name in ("picked_up", "at_middle", "received", "passed")]
    assert set(bank.stage.tolist()) == {0, *after}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"direction": "up"}, "task.direction = 'up'"),
        ({"later_starts": [0.5, 2.0]}, "task.later_starts"),
        ({"goal_y": [0.9, 1.0]}, "task.goal_y"),
        ({"weights": {"hand": 1.0}}, "no reward term named 'hand'"),
        ({"bank": "box_lift"}, "was made for task 'box_lift', not 'bimanual_handover'"),
    ],
)
def test_what_cannot_be_is_one_line(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(1, training=True, **given)


def test_gymnasium_accepts_the_environment() -> None:
    env = gymnasium.make("dexsim/BimanualHandover-v0")
    assert env.action_space.shape == (26,)
    check_env(env.unwrapped, skip_render_check=True)
