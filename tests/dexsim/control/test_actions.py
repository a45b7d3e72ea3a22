"""From actions to joint targets, for both hands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dexsim import settings
from dexsim.control.actions import ActionMap, ControlSettings
from dexsim.errors import UserError
from dexsim.robots import ROBOTS, RobotSpec, load


def control(**changes: Any) -> ControlSettings:
    return settings.load(ControlSettings, "control/relative", changes)


ARM, HAND = "left_elbow_pitch_joint", "R_index_proximal_joint"


@pytest.fixture(params=ROBOTS)
def robot(request: pytest.FixtureRequest) -> RobotSpec:
    return load(request.param)


def limits(robot: RobotSpec) -> torch.Tensor:
    return torch.from_numpy(robot.command_limits).float()


def middle(robot: RobotSpec) -> torch.Tensor:
    return torch.tensor([robot.open_position, robot.closed_position]).mean(dim=0)[None]


def test_absolute_spans_each_joint_s_range(robot: RobotSpec) -> None:
    actions = ActionMap(robot, control(action_mode="absolute"))
    anywhere = torch.zeros(1, 26)
    low, centre, high = (actions(torch.full((1, 26), value), anywhere, anywhere)[0] for value in (-1.0, 0.0, 1.0))
    hand = torch.from_numpy(robot.is_hand)
    # An arm spans its limits; a hand goes from open to closed, whichever way its joints turn.
    assert torch.allclose(low[~hand], limits(robot)[~hand, 0])
    assert torch.allclose(high[~hand], limits(robot)[~hand, 1], atol=1e-6)
    assert not low[hand].any()
    far = limits(robot)[hand].gather(1, limits(robot)[hand].abs().argmax(dim=1, keepdim=True))[:, 0]
    assert torch.allclose(high[hand], far)
    assert torch.allclose(centre, (low + high) / 2, atol=1e-6)


def test_hands_are_0_open_to_1_closed(robot: RobotSpec) -> None:
    actions = ActionMap(robot, control())
    hand = torch.from_numpy(robot.is_hand)
    assert int(hand.sum()) == 12
    assert not actions.normalize(torch.tensor(robot.open_position))[hand].any()
    assert torch.equal(actions.normalize(torch.tensor(robot.closed_position))[hand], torch.ones(12))
    closing = actions(torch.ones(1, 26), torch.tensor([robot.open_position]), torch.tensor([robot.open_position]))
    assert (actions.normalize(closing)[0, hand] > 0).all()


@pytest.mark.parametrize("policy_hz", [5.0, 10.0])
def test_relative_moves_the_last_target_at_the_given_speed(robot: RobotSpec, policy_hz: float) -> None:
    actions = ActionMap(robot, control(policy_hz=policy_hz, arm_speed=0.5, hand_speed=1.5))
    start = middle(robot)
    arm, finger = robot.commands.index(ARM), robot.commands.index(HAND)
    for action in (-1.0, 0.0, 0.5, 1.0):
        moved = actions(torch.full((1, 26), action), start, start) - start
        assert float(moved[0, arm]) == pytest.approx(action * 0.5 / policy_hz, abs=1e-6)
        span = robot.closed_position[finger] - robot.open_position[finger]
        assert float(moved[0, finger]) == pytest.approx(action * 1.5 / policy_hz * span, abs=1e-6)


@pytest.mark.parametrize("mode", ["relative", "absolute"])
def test_targets_stay_within_limits_and_actions_are_clipped(robot: RobotSpec, mode: str) -> None:
    actions = ActionMap(robot, control(action_mode=mode))
    random = torch.Generator().manual_seed(0)
    target = middle(robot)
    low, high = limits(robot).T
    for _ in range(60):
        action = 5 * torch.randn(1, 26, generator=random).sign()
        clipped = actions(action.clamp(-1, 1), target, target)
        target = actions(action, target, target)
        assert torch.equal(target, clipped)
        assert (target >= low - 1e-5).all()
        assert (target <= high + 1e-5).all()
    for _ in range(300):  # at 0.3 rad/s the widest joint takes 20 s
        target = actions(torch.ones(1, 26), target, target)
    assert torch.allclose(actions.normalize(target), torch.ones(1, 26), atol=1e-5)


def test_an_arm_s_target_stays_near_where_it_is(robot: RobotSpec) -> None:
    actions = ActionMap(robot, control(arm_lead=0.15))
    measured = middle(robot)
    target = measured
    for _ in range(20):
        target = actions(torch.ones(1, 26), target, measured)
    hand = torch.from_numpy(robot.is_hand)
    assert torch.allclose((target - measured)[0, ~hand], torch.full((14,), 0.15), atol=1e-5)
    assert torch.allclose(actions.normalize(target)[0, hand], torch.ones(12))
    # Absolute targets are the policy's alone.
    absolute = ActionMap(robot, control(action_mode="absolute", arm_lead=0.15))
    assert torch.allclose(
        absolute.normalize(absolute(torch.ones(1, 26), target, measured)), torch.ones(1, 26), atol=1e-6
    )


def test_impossible_rates_are_refused() -> None:
    for name in ("policy_hz", "arm_speed", "hand_speed", "arm_lead"):
        with pytest.raises(UserError, match=rf"{name} = 0.0: must be positive"):
            replace(control(), **{name: 0.0})
    assert control(policy_hz=5.0).substeps(0.01) == 20
    with pytest.raises(UserError, match=r"control.policy_hz = 7: .* of 0.01 s, not 14.286"):
        control(policy_hz=7.0).substeps(0.01)
