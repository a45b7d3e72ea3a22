"""Box lift: markers, reward, success, start, refusals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tasks
from dexsim.backends import InitialState
from dexsim.env.env import Env
from dexsim.errors import UserError
from dexsim.paths import assets_dir
from dexsim.robots import load
from dexsim.rotations import quat_from_rpy, quat_from_yaw
from tasks import markers, rewards
from tasks.base import LOST_SIDEWAYS
from tasks.box_lift import BoxLift
from tests.simulated import PAPER, freeze, make, random_actions, roll

YAW, SIZE, CENTRE = 0.6, (0.171, 0.2508, 0.16), (0.41, -0.02, 0.3)
# Placement -> markers of the left hand (+y side of the box), in half extents; the right hand's are mirrored (Figure 5).
FIGURE_5 = {
    "side_centres": [(0, 1, 0)],
    "top_and_bottom_centres": [(0, 0, 1), (0, 0, -1)],
    "bottom_edges": [(0, 1, -1)],
}
FINGERS = ("thumb", "index", "middle", "ring")


def in_world(point: Sequence[float]) -> np.ndarray:
    """A point given in half extents of the yawed box, in the world."""
    x, y, z = (p * s / 2 for p, s in zip(point, SIZE, strict=True))
    turned = (math.cos(YAW) * x - math.sin(YAW) * y, math.sin(YAW) * x + math.cos(YAW) * y, z)
    return np.array(CENTRE) + turned


def put(env: Env, position: Sequence[float], quat: Sequence[float] = (1.0, 0.0, 0.0, 0.0), env_id: int = 0) -> None:
    """Put a box somewhere without the environment's knowledge."""
    state = env.backend.state
    pose = torch.tensor([[[*position, *quat]]], dtype=torch.float64)
    joints = state.joint_position[env_id : env_id + 1].clone()
    env.backend.reset(torch.tensor([env_id]), InitialState(joints, joints[:, env.world.tensors.command_index], pose))
    env.world.changed()


def box_lift(env: Env) -> BoxLift:
    assert isinstance(env.task, BoxLift)
    return env.task


# -- markers and reward ------------------------------------------------------------------------------------------------


def test_the_placements_are_those_of_figure_5() -> None:
    assert set(markers.PLACEMENTS) == set(FIGURE_5)


@pytest.mark.parametrize("placement", FIGURE_5)
def test_markers_lie_on_a_yawed_scaled_box(placement: str) -> None:
    pose = torch.cat([torch.tensor(CENTRE).double(), quat_from_yaw(torch.tensor(YAW).double())])[None]
    size = torch.tensor([SIZE]).double()
    for hand, mirror in zip(markers.box_markers(placement), (1, -1), strict=True):
        placed = markers.place(hand, size, pose)
        expected = [in_world((x, mirror * y, z)) for x, y, z in FIGURE_5[placement]]
        assert torch.allclose(placed[0], torch.tensor(np.array(expected)), atol=1e-6)


def naive_contact(tips: list[np.ndarray], points: list[np.ndarray], sharpness: float) -> float:
    """Section B, loop by loop."""
    total = 0.0
    for tip in tips:
        nearest = min(math.dist(tip, point) for point in points)
        total += 1 / (1 + sharpness * nearest)
    return total


def test_contact_reward_is_the_paper_s_formula() -> None:
    random = torch.Generator().manual_seed(0)
    tips = torch.randn(5, 4, 3, generator=random).double()
    points = torch.randn(5, 2, 3, generator=random).double()
    ours = rewards.contact(tips, points, 20.0)
    for i in range(5):
        assert float(ours[i]) == pytest.approx(naive_contact(list(tips[i].numpy()), list(points[i].numpy()), 20.0))


@pytest.mark.parametrize("placement", FIGURE_5)
@pytest.mark.parametrize("robot", ["gr1t2", "gr1t2_inspire"])
def test_reward_terms_are_those_of_the_recipe(placement: str, robot: str) -> None:
    weights = {"contact_left": 0.3, "contact_right": 0.7, "goal": 2.0}
    randomization = {"object_scale": [0.95, 1.05], "initial_yaw": 0.75}
    env = make(3, robot=robot, randomization=randomization, placement=placement, weights=weights, alpha=10.0, beta=30.0)
    env.reset()
    result = roll(env, random_actions(5, 3))
    names = [tip.name for tip in env.robot.fingertips]
    state, size = env.backend.state, env.world.object_size()
    total = np.zeros(3)
    for i in range(3):
        centre, quat = state.object_pose[i, 0, :3].numpy(), state.object_pose[i, 0, 3:].numpy()
        for side, mirror, sharpness in (("left", 1, 10.0), ("right", -1, 30.0)):
            tips = [state.fingertip_position[i, names.index(f"{side}_{finger}")].numpy() for finger in FINGERS]
            points = [
                centre + rotation_matrix(quat) @ (np.array([x, mirror * y, z]) * size[i].numpy() / 2)
                for x, y, z in FIGURE_5[placement]
            ]
            value = weights[f"contact_{side}"] * naive_contact(tips, points, sharpness)
            assert float(result.info["reward_terms"][f"contact_{side}"][i]) == pytest.approx(value, abs=1e-6)
            total[i] += value
        goal = 2.0 * max(0.0, 1 - math.dist(centre, env.world.goal[i].numpy()) / LOST_SIDEWAYS)
        assert float(result.info["reward_terms"]["goal"][i]) == pytest.approx(goal, abs=1e-6)
        assert float(result.reward[i]) == pytest.approx(total[i] + goal, abs=1e-5)
    assert list(result.info["reward_terms"]) == list(weights)
    places = box_lift(env).marker_positions(env.world)
    assert places.shape == (3, 2 * len(FIGURE_5[placement]), 3)


def test_a_level_box_pays_by_how_far_it_is_lifted() -> None:
    env = make(1, weights={"level": 1.0})
    env.reset()
    rest = float(env.world.object_position[0, 2])

    def level(share: float, tilt_deg: float) -> float:
        half = math.radians(tilt_deg) / 2
        put(env, (0.4, 0.0, rest + 0.175 * share), (math.cos(half), 0.0, math.sin(half), 0.0))
        return float(env.task.rewards["level"][1](env.world)[0])

    assert level(1.0, 0.0) == pytest.approx(1.0, abs=1e-4)
    assert level(1.0, 10.0) == pytest.approx(0.5, abs=1e-4)
    assert level(0.5, 10.0) == pytest.approx(0.25, abs=1e-4)
    # On the table it pays nothing, and however the box tilts, lifting it costs nothing.
    assert level(0.0, 0.0) == level(0.0, 30.0) == pytest.approx(0.0, abs=1e-6)
    tilted = [level(1.0, angle) for angle in (0.0, 5.0, 10.0, 20.0, 30.0, 90.0)]
    assert tilted == sorted(tilted, reverse=True)
    assert tilted[-1] > 0.0


def rotation_matrix(quat: np.ndarray) -> np.ndarray:
    w, x, y, z = quat
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_nearer_is_better() -> None:
    env = make(2)
    env.reset()
    put(env, (*env.world.goal[0, :2].tolist(), float(env.world.goal[0, 2]) - 0.02), env_id=0)
    goal = env.task.rewards["goal"]
    value = goal[0] * goal[1](env.world)
    assert float(value[0]) > float(value[1])


# -- success, stages, failure ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "tilt_deg", "expected"),
    [
        ((0.0, 0.0, 0.0), 0.0, True),
        ((0.0, 0.0, 0.049), 0.0, True),
        ((0.0, 0.0, -0.051), 0.0, False),
        ((0.03, 0.03, 0.03), 0.0, False),  # 5.2 cm off in all
        ((0.0, 0.0, 0.0), 29.0, True),
        ((0.0, 0.0, 0.0), 31.0, False),
        ((0.0, 0.0, 0.0), 180.0, False),
    ],
)
def test_success_is_5_cm_and_30_degrees(offset: tuple[float, ...], tilt_deg: float, expected: bool) -> None:
    env = make(1)
    env.reset()
    for turn, yaw in ((1.0, 0.0), (0.0, 2.0)):
        angles = (math.radians(tilt_deg) * turn, math.radians(tilt_deg) * (1 - turn), yaw)
        put(env, (env.world.goal[0] + torch.tensor(offset)).tolist(), quat_from_rpy(angles).tolist())
        assert bool(env.task.success(env.world)) is expected


@pytest.mark.parametrize(("arrives", "success"), [(40, True), (41, False)])
def test_success_must_have_held_for_the_last_second(arrives: int, success: bool, monkeypatch: Any) -> None:
    """An episode has 50 steps of 0.1 s: the last second is steps 40 to 49, counted from 0."""
    env = make(1)
    freeze(env, monkeypatch)
    env.reset()
    for step in range(50):
        if step == 5:  # to have been there before is no success, but both stages
            put(env, env.world.goal[0].tolist())
        if step == 20:
            put(env, env.world.initial_object[0, 0, :3].tolist())
        if step == arrives:
            put(env, env.world.goal[0].tolist())
        result = env.step(torch.zeros(1, 26))
        assert bool(result.truncated) == (step == 49)
        if not bool(result.truncated):
            continue
        assert not bool(result.terminated)
        assert bool(result.info["success"]) is success
        assert bool(result.info["picked_up"])
        assert bool(result.info["stages"]["at_goal"])


def test_stages_are_of_their_own_episode(monkeypatch: Any) -> None:
    env = make(1, episode_s=1.0)
    freeze(env, monkeypatch)
    env.reset()
    for step in range(20):
        if step == 3:
            put(env, (env.world.initial_object[0, 0, :3] + torch.tensor([0.0, 0.0, 0.06])).tolist())
        result = env.step(torch.zeros(1, 26))
        if bool(result.truncated):
            assert bool(result.info["picked_up"]) == (step == 9)
            assert not bool(result.info["stages"]["at_goal"])
    assert not env.world.step.any()  # the second episode is over, too


def test_lifting_by_less_than_5_cm_is_not_picked_up() -> None:
    env = make(2)
    env.reset()
    start = env.world.initial_object[0, 0, :3]
    for env_id, height in ((0, 0.049), (1, 0.051)):
        put(env, (start + torch.tensor([0.0, 0.0, height])).tolist(), env_id=env_id)
    assert env.task.stages(env.world)["picked_up"].tolist() == [False, True]


def test_touched_needs_both_hands() -> None:
    env = make(2)
    env.reset()
    assert not env.task.stages(env.world)["touched"].any()
    right_thumb = [tip.name for tip in env.robot.fingertips].index("right_thumb")
    put(env, env.backend.state.fingertip_position[1, right_thumb].tolist(), env_id=1)
    assert env.backend.state.contact[1].any()
    assert not env.task.stages(env.world)["touched"].any()


@pytest.mark.parametrize(
    ("offset", "lost"), [((0.0, 0.34, 0.1), False), ((0.0, 0.36, 0.1), True), ((0.0, 0.0, -0.06), True)]
)
def test_a_box_that_left_is_lost(offset: tuple[float, ...], lost: bool) -> None:
    env = make(1)
    env.reset()
    put(env, (env.world.initial_object[0, 0, :3] + torch.tensor(offset)).tolist())
    assert bool(env.task.failure(env.world)) is lost


# -- start -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("robot", ["gr1t2", "gr1t2_inspire"])
def test_episodes_start_at_rest_with_nothing_touching_the_hands(robot: str) -> None:
    env = make(64, robot=robot, randomization=PAPER, goal_height=[0.15, 0.2])
    env.reset()
    assert not env.backend.state.contact.any()
    before = env.backend.state.object_pose.clone()
    env.backend.step(10)
    assert float((env.backend.state.object_pose - before)[:, 0, :3].norm(dim=1).max()) < 2e-3
    postures = {tuple(row) for row in env.backend.state.joint_position.round(decimals=2).tolist()}
    assert len(postures) > 30
    height = env.world.goal[:, 2] - env.world.initial_object[:, 0, 2]
    assert 0.15 <= float(height.min()) < 0.16
    assert 0.19 < float(height.max()) <= 0.2
    assert torch.allclose(env.world.goal[:, :2], torch.tensor([0.40, 0.0]).double())


def test_a_goal_is_observed_only_where_it_varies() -> None:
    fixed, varied = make(1), make(1, goal_height=[0.15, 0.2])
    assert "goal" not in {**fixed.obs_layout, **fixed.state_layout}
    assert fixed.world.goal.shape == (1, 3)
    where = varied.obs_layout["goal"]
    assert torch.allclose(varied.reset()["obs"][:, where], varied.world.goal.float())
    assert torch.allclose(varied.reset()["states"][:, varied.state_layout["goal"]], varied.world.goal.float())
    assert varied.num_states == fixed.num_states + 3


# -- refusals ----------------------------------------------------------------------------------------------------------


def task(**values: Any) -> Any:
    return tasks.make_task({"name": "box_lift", **values}, load("gr1t2"))


def test_the_other_robot_s_bank_is_refused_by_the_joints_that_differ() -> None:
    other = assets_dir() / "banks" / "box_lift_gr1t2_inspire.npz"
    with pytest.raises(
        UserError, match=r"gr1t2_inspire.* does not fit: .*; limits.L_thumb_proximal_yaw_joint is \[.*\], but"
    ):
        task(bank=str(other))


def test_a_missing_bank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"task.bank = 'nowhere': no file .*; shipped banks: .*box_lift_gr1t2, box_lift_gr1t2_inspire"
    ):
        task(bank="nowhere")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK not a bank")
    with pytest.raises(UserError, match=r"broken.npz': not a bank of initial states"):
        task(bank=str(broken))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"placement": "side_center"},
            r"task.placement = 'side_center': no such placement; allowed: side_centres, .*did you mean",
        ),
        ({"goal_height": [0.2, 0.1]}, r"task.goal_height = \[0.2, 0.1\]: must be \[low, high\]"),
        ({"box_size": [0.1, 0.0, 0.1]}, r"task.box_size = \[0.1, 0.0, 0.1\]: must be positive"),
        ({"box_mass": 0.0}, r"task.box_mass = 0.0: must be positive"),
        ({"box_friction": 5.1}, r"task.box_friction = 5.1: must be 0 to 5"),
        ({"alpha": 0.0}, r"task.alpha = 0.0: must be positive"),
        ({"beta": -1.0}, r"task.beta = -1.0: must be positive"),
        ({"success_distance": 0.0}, r"task.success_distance = 0.0: must be positive"),
        ({"success_tilt_deg": 180.5}, r"task.success_tilt_deg = 180.5: must be in \(0, 180\]"),
        ({"pick_up_height": 0.0}, r"task.pick_up_height = 0.0: must be positive"),
        ({"episode_s": 0.0}, r"task.episode_s = 0.0: must be positive"),
        (
            {"box_size": [0.18, 0.25, 0.16]},
            r"task.box_size = \[0.18, 0.25, 0.16\]: must be at most \[0.18, 0.24, 0.16\], .* task.bank=<file>.npz",
        ),
        ({"hold_s": 6.0}, r"task.hold_s = 6.0: must be in \(0, episode_s = 5\]"),
        (
            {"weights": {"contct_left": 1.0}},
            r"task.weights: no reward term named 'contct_left'; allowed: .*did you mean",
        ),
        ({"weights": {}}, r"task.weights = {}: must be "),
        ({"box_sise": 1.0}, r"unknown key 'task.box_sise' = 1.0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(values: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        task(**values)
    assert "\n" not in str(caught.value)


def test_a_bank_s_file_is_for_any_box() -> None:
    bank = str(assets_dir() / "banks" / "box_lift_gr1t2.npz")
    task(bank=bank, box_size=[0.3, 0.4, 0.2])


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UserError, match=r"task.name = 'box_lft': no such task; allowed: .*did you mean 'box_lift'"):
        tasks.make_task({"name": "box_lft"}, load("gr1t2"))


def test_tensor_type_of_terms() -> None:
    env = make(2)
    env.reset()
    for name, (_, term) in env.task.rewards.items():
        value: Tensor = term(env.world)
        assert value.shape == (2,), name
