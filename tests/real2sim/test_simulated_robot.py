"""The simulated robot: hidden constants by seed, encoders with play, bias and rounding, and noisy efforts."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest

from dexsim.errors import UserError
from dexsim.robots import constants, interface, load
from dexsim.robots.interface import open_robot
from real2sim.simulated_robot import SimulatedRobot, SimulatedRobotSettings, hidden_constants

ROBOT = load("gr1t2")
# Nothing but the simulation itself.
EXACT = SimulatedRobotSettings(spread=0.0, backlash=0.0, arm_resolution=0.0, hand_resolution=0.0, noise=0.0)
REST = np.clip(0.0, *ROBOT.command_limits.T)
ELBOW, INDEX = (ROBOT.commands.index(name) for name in ("left_elbow_pitch_joint", "L_index_proximal_joint"))


def pose(elbow: float = -0.6, index: float = -0.7) -> np.ndarray:
    command = REST.copy()
    command[ELBOW], command[INDEX] = elbow, index
    return command


def played(options: SimulatedRobotSettings, seconds: float = 1.0, hidden: dict[str, np.ndarray] | None = None):
    """Positions and efforts at 50 rows/s while elbow and index go to their pose."""
    robot = SimulatedRobot(ROBOT, options, hidden)
    robot.command(pose())
    rows = []
    for tick in range(1, round(seconds * 50) + 1):
        robot.wait_until(tick / 50)
        rows.append(robot.read())
    return np.array([row.position for row in rows]), np.array([row.effort for row in rows])


def test_the_same_seed_is_the_same_robot_with_the_same_noise():
    first, second = played(SimulatedRobotSettings(seed=4)), played(SimulatedRobotSettings(seed=4))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    other = played(SimulatedRobotSettings(seed=5))
    assert np.abs(first[0] - other[0])[:, ELBOW].max() > 5e-3


def test_another_seed_has_other_constants_around_the_same_medians():
    one, two = hidden_constants(ROBOT, 1), hidden_constants(ROBOT, 2)
    own = constants(ROBOT)
    assert set(one) == set(two)
    for name, values in one.items():
        assert values.shape == own[name].shape and (values != two[name]).any(), name
    many = np.array([hidden_constants(ROBOT, seed)["joint_stiffness"] for seed in range(200)])
    np.testing.assert_allclose(np.median(many / own["joint_stiffness"], axis=0), 1.0, atol=0.12)
    assert 0.25 < np.log(many / own["joint_stiffness"]).std() < 0.35


def test_without_spread_constants_are_the_medians():
    exact = hidden_constants(ROBOT, 7, spread=0.0)
    np.testing.assert_allclose(exact["joint_stiffness"], constants(ROBOT)["joint_stiffness"])
    assert not exact["joint_bias"].any()


def test_one_arm_has_one_delay():
    delay = hidden_constants(ROBOT, 3)["joint_delay"]
    left = [ROBOT.commands.index(name) for name in ROBOT.arm_joints("left")]
    right = [ROBOT.commands.index(name) for name in ROBOT.arm_joints("right")]
    assert len(set(delay[left].tolist())) == 1 and len(set(delay[right].tolist())) == 1
    assert delay[left[0]] != delay[right[0]]


def test_it_follows_commands_late_and_sags():
    position, effort = played(EXACT, 2.0)
    assert np.abs(position[0, ELBOW]) < 0.02  # delay and lag
    assert position[-1, ELBOW] == pytest.approx(-0.6, abs=0.1)
    assert position[-1, INDEX] == pytest.approx(-0.7, abs=0.1)
    assert np.abs(effort[:, ELBOW]).max() > 1.0


def test_encoders_read_their_bias():
    bias = np.zeros(len(ROBOT.commands))
    bias[ELBOW] = 0.05
    plain, _ = played(EXACT)
    shifted, _ = played(EXACT, hidden={"joint_bias": bias})
    np.testing.assert_allclose(shifted - plain, np.tile(bias, (len(plain), 1)), atol=1e-9)


def test_backlash_shifts_the_encoder_by_half_the_play_against_the_motion():
    plain, _ = played(EXACT)
    loose, _ = played(replace(EXACT, backlash=0.02))
    gap = (loose - plain)[:, ELBOW]
    assert np.abs(gap).max() <= 0.01 + 1e-9
    moving = np.diff(plain[:, ELBOW], prepend=0.0) < -1e-3
    moving[:5] = False
    assert moving.sum() > 5
    np.testing.assert_allclose(gap[moving], 0.01, atol=1e-6)


def test_encoders_round():
    options = replace(EXACT, arm_resolution=0.01, hand_resolution=0.02)
    position, _ = played(options)
    for joints, step in ((~ROBOT.is_hand, 0.01), (ROBOT.is_hand, 0.02)):
        np.testing.assert_allclose(position[:, joints] / step, np.round(position[:, joints] / step), atol=1e-6)


def test_efforts_are_as_noisy_as_told():
    quiet, loud = (played(replace(EXACT, effort_noise=share), 4.0)[1] for share in (0.0, 0.01))
    noise = (loud - quiet) / constants(ROBOT)["joint_effort"]
    assert 0.008 < noise.std() < 0.012
    assert np.mean(noise[1:] * noise[:-1]) / noise.var() == pytest.approx(0.5, abs=0.1)


def test_commands_beyond_limits_are_clipped():
    robot = SimulatedRobot(ROBOT, EXACT)
    robot.command(np.full(len(REST), -9.0))
    robot.wait_until(3.0)
    assert (robot.read().position > ROBOT.command_limits[:, 0] - 0.1).all()
    assert robot.time == pytest.approx(3.0)


def test_it_is_opened_by_name():
    with open_robot("simulated", ROBOT, seed=2, rate_hz=25.0) as robot:
        assert robot.joints == ROBOT.commands
        robot.wait_until(0.08)
        assert robot.read().time == pytest.approx(0.08)
    with pytest.raises(UserError, match=r"interface = 'simulatd'.*did you mean 'simulated'"):
        open_robot("simulatd", ROBOT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "seed = -1"),
        ({"noise": -0.1}, "noise = -0.1"),
        ({"timestep": 0.05}, "timestep = 0.05"),
        ({"rate_hz": 33.0}, "rate_hz = 33.0"),
        ({"backlsh": 0.1}, "did you mean 'backlash'"),
        ({"robot": "gr1t2"}, "unknown key 'robot' = 'gr1t2'"),
        ({"name": "x"}, "unknown key 'name' = 'x'"),
        ({"spread": 1e6}, "spread = 1000000.0: must be 0 to 10"),
        ({"effort_noise": 1e300}, "effort_noise = 1e[+]300: must be 0 to 1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        open_robot("simulated", ROBOT, **settings)


def test_settings_that_another_interface_does_not_take_are_refused(monkeypatch: pytest.MonkeyPatch):
    point = EntryPoint("mine", "operator:index", "dexsim.robot_interfaces")  # takes the robot, and nothing else
    monkeypatch.setattr(interface, "entry_points", lambda group: {"mine": point})
    with pytest.raises(UserError, match=r"interface_settings = {'speed': 2}: interface 'mine' does not take them"):
        open_robot("mine", ROBOT, speed=2)


def test_it_may_be_made_of_another_engine():
    """Positions agree to 5 mrad at any time, efforts at rest to 1% of the drive's largest one."""
    pytest.importorskip("sapien")
    exact = replace(EXACT, seed=3, spread=1.0, effort_noise=0.0)
    ours, theirs = (played(replace(exact, engine=engine)) for engine in ("mujoco", "physx"))
    assert np.ptp(ours[0], axis=0)[[ELBOW, INDEX]].min() > 0.3
    assert np.abs(ours[0] - theirs[0]).max() < 5e-3
    assert (np.abs(ours[1][-1] - theirs[1][-1]) / constants(ROBOT)["joint_effort"]).max() < 0.01
    with pytest.raises(UserError, match="engine = 'bullet': must be one of mujoco, physx"):
        replace(exact, engine="bullet")
