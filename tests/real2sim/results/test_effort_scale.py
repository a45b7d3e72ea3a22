"""Efforts in another unit than N m are noticed, by what arms carry; sound ones of other robots are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from real2sim.logs.joint_log import JointLog
from real2sim.recovery import simulate
from real2sim.results.effort_scale import doubt, effort_scales, link_torques
from real2sim.simulated_robot import SimulatedRobotSettings
from tests.real2sim.logged import ROBOT
from tests.real2sim.replayed import make_log

JOINTS = tuple(ROBOT.arm_joints("left"))


@pytest.fixture(scope="module", params=[(0, 1.0), (1, 2.0)], ids=["usual", "twice as far from nominal"])
def log(request: pytest.FixtureRequest) -> JointLog:
    seed, spread = request.param
    return simulate(ROBOT, make_log(ROBOT, 12.0, JOINTS), SimulatedRobotSettings(seed, spread))[0]


def scaled(log: JointLog, factor: float, joints: slice = slice(None)) -> JointLog:
    assert log.effort is not None
    effort = log.effort.copy()
    effort[:, joints] *= factor
    return replace(log, effort=effort)


def test_sound_efforts_are_what_the_arm_carries(log: JointLog) -> None:
    scales = effort_scales(log, ROBOT)
    assert len(scales) >= 2
    assert all(0.8 < scale < 1.25 for scale in scales.values())
    assert doubt(scales) == ""


@pytest.mark.parametrize("factor", [2.5, 0.4, -1.0, 1000.0])
def test_efforts_of_another_scale_are_doubted(log: JointLog, factor: float) -> None:
    text = doubt(effort_scales(scaled(log, factor), ROBOT))
    assert text.startswith("efforts and motion disagree in scale") and "left_shoulder_pitch_joint" in text
    assert "are they in N m" in text


def test_a_joint_in_another_unit_is_named(log: JointLog) -> None:
    text = doubt(effort_scales(scaled(log, 4.0, slice(0, 1)), ROBOT))
    assert "left_shoulder_pitch_joint" in text and "left_elbow_pitch_joint" not in text


def test_a_log_that_says_nothing_is_not_doubted(log: JointLog) -> None:
    assert effort_scales(replace(log, effort=None), ROBOT) == {}
    noise = 50 * np.random.default_rng(0).standard_normal(log.position.shape)
    assert effort_scales(replace(log, effort=noise), ROBOT) == {}
    assert doubt({}) == ""


def test_an_arm_carries_nothing_where_it_hangs_and_most_where_it_is_stretched_out() -> None:
    pose = np.zeros((2, len(JOINTS)))
    pose[1, JOINTS.index("left_shoulder_pitch_joint")] = -np.pi / 2
    still = np.zeros_like(pose)
    weight, inertia = link_torques(ROBOT, JOINTS, pose, still, still)
    assert abs(weight[0, 0]) < 1.0 < 5.0 < abs(weight[1, 0])
    np.testing.assert_array_equal(inertia, 0.0)
    faster, slower = (link_torques(ROBOT, JOINTS, pose, still, still + rate)[1] for rate in (2.0, 1.0))
    np.testing.assert_allclose(faster, 2 * slower, atol=1e-9)
    assert slower[0, 0] > 0.1
