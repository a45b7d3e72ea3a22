"""Tests of `real2sim.logs.limits` and of velocities: signs, torques and units that no joint has."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from real2sim.logs.files import load_log, save_log
from real2sim.logs.joint_log import JointLog
from tests.real2sim.logged import ROBOT, make_log
from tests.real2sim.recorded import refusal

ARMS = make_log([*ROBOT.arm_joints("left"), *ROBOT.arm_joints("right")])
PITCH, ROLL, ELBOW = (
    ARMS.joints.index(f"left_{name}_joint") for name in ("shoulder_pitch", "shoulder_roll", "elbow_pitch")
)
OTHER_ROLL, OTHER_ELBOW = (ARMS.joints.index(f"right_{name}_joint") for name in ("shoulder_roll", "elbow_pitch"))
WRIST = ARMS.joints.index("left_wrist_pitch_joint")


def saved(folder: Path, log: JointLog) -> Path:
    save_log(folder / "log.parquet", log)
    return folder / "log.parquet"


def moved(log: JointLog, joint: int, scale: float, shift: float = 0.0) -> JointLog:
    """The log with command, position and velocity of a joint as another convention has them."""
    changed = {kind: getattr(log, kind).copy() for kind in ("command", "position", "velocity")}
    for kind, values in changed.items():
        values[:, joint] = scale * values[:, joint] + shift * (kind != "velocity")
    return replace(log, **changed)


# --- signs and limits


@pytest.mark.parametrize("joint", [PITCH, ROLL, OTHER_ROLL])
def test_a_joint_that_turns_the_other_way_is_named(tmp_path: Path, joint: int) -> None:
    """Command and position agree; the limits, which are not the same to both sides, do not."""
    reaching = moved(ARMS, joint, 0.3, max(ROBOT.joint(ARMS.joints[joint]).limits, key=abs) * 0.7)
    load_log(saved(tmp_path, reaching), ROBOT)
    line = refusal(saved(tmp_path, moved(reaching, joint, -1)))
    low, high = ROBOT.joint(ARMS.joints[joint]).limits
    assert f"position of {ARMS.joints[joint]} = " in line and f"passes its limits {low:g} .. {high:g} rad by " in line
    assert "with the other sign it would not; expected are the signs of the robot's description" in line


def test_limits_that_are_narrower_than_the_robots_are_no_matter_of_signs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As on NVIDIA's data, where wrists pass the limits of this description by 0.6 rad."""
    read = load_log(saved(tmp_path, moved(ARMS, WRIST, 1.0, 0.55)), ROBOT)
    assert read.moved[WRIST]
    assert f"positions pass their limits in rad: {ARMS.joints[WRIST]} by 0.4" in caplog.text


def test_no_joint_of_an_arm_is_a_radian_beyond_its_limits(tmp_path: Path) -> None:
    line = refusal(saved(tmp_path, moved(ARMS, ELBOW, 1.0, 1.8)))
    assert f"position of {ARMS.joints[ELBOW]} = " in line and "which no joint of an arm does; expected are the" in line


def test_arms_that_are_bent_the_opposite_way_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alike = moved(moved(ARMS, ELBOW, 0.3, -1.5), OTHER_ELBOW, 0.3, -1.5)
    load_log(saved(tmp_path, alike), ROBOT)
    assert "is a sign wrong?" not in caplog.text
    load_log(saved(tmp_path, moved(alike, ELBOW, -1)), ROBOT)
    assert f"{ARMS.joints[ELBOW]} is at 1.5" in caplog.text and "is a sign wrong?" in caplog.text


# --- efforts


@pytest.mark.parametrize("joint", [PITCH, ELBOW])
@pytest.mark.parametrize("factor", [1000.0, -1000.0])
def test_efforts_that_no_drive_gives_are_refused_with_the_likely_unit(
    tmp_path: Path, joint: int, factor: float
) -> None:
    assert ARMS.effort is not None
    effort = ARMS.effort / 20  # a quarter of what the drives can give, at most
    effort[:, joint] *= factor
    line = refusal(saved(tmp_path, replace(ARMS, effort=effort)))
    share = np.abs(effort[:, joint]).max() / ROBOT.joint(ARMS.joints[joint]).effort
    assert f"effort of {ARMS.joints[joint]} = " in line
    assert f"is {share:.3g} times what its drive can give ({ROBOT.joint(ARMS.joints[joint]).effort:g} N m)" in line
    assert "is it in N m? It looks like" in line


def test_one_row_of_nonsense_is_named(tmp_path: Path) -> None:
    assert ARMS.effort is not None
    effort = ARMS.effort.copy()
    effort[17, WRIST] = 1e9
    line = refusal(saved(tmp_path, replace(ARMS, effort=effort)))
    assert f"row 17: effort of {ARMS.joints[WRIST]} = 1e+09" in line and "looks like" not in line


# --- velocities


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (
            np.rad2deg(1.0),
            "velocity of left_shoulder_pitch_joint is 57.2 times what its position changes by: it looks like deg/s",
        ),
        (30 / np.pi, "it looks like revolutions a minute"),
        (1000.0, "it looks like mrad/s"),
        (5.0, "is 4.99 times what its position changes by: its unit is rad/s"),
        (-1.0, "is 0.998 times what its position changes by the other way"),
        (1 / 57.3, "is 0.0174 times what its position changes by"),
    ],
)
def test_velocities_are_what_positions_change_by(tmp_path: Path, factor: float, expected: str) -> None:
    assert ARMS.velocity is not None
    assert expected in refusal(saved(tmp_path, replace(ARMS, velocity=factor * ARMS.velocity)))


def test_velocities_in_rad_beside_degrees_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path, replace(ARMS, command=np.rad2deg(ARMS.command), position=np.rad2deg(ARMS.position)))
    assert "velocity of left_shoulder_pitch_joint is 0.0174 times" in refusal(path, units="deg")


@pytest.mark.parametrize("noise", [0.1, 1.0, 30.0])
def test_noisy_and_late_velocities_are_no_fault(tmp_path: Path, noise: float, caplog: pytest.LogCaptureFixture) -> None:
    assert ARMS.velocity is not None
    late = np.roll(ARMS.velocity, 2, axis=0)
    late += noise * np.random.default_rng(0).standard_normal(late.shape)
    load_log(saved(tmp_path, replace(ARMS, velocity=late)), ROBOT)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
