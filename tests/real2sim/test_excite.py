"""`dexsim excite` writes targets, drives robots through them, and stops those that do not follow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dexsim import cli
from dexsim.errors import UserError
from dexsim.robots import load
from dexsim.robots.interface import JointReading
from real2sim.excitation.drive_robot import DriveSettings, drive
from real2sim.excitation.signals import ExcitationSettings, base_pose
from real2sim.excitation.targets import Targets, load_targets
from real2sim.excite import LOG, PICTURE, TARGETS, check_approach
from real2sim.logs.files import load_log
from real2sim.logs.joint_log import JointLog
from tests.real2sim.logged import of_excite

ROBOT = load("gr1t2")
SHORT = ["excitation.duration_s=20"]
ELBOW = ROBOT.commands.index("left_elbow_pitch_joint")


class FakeRobot:
    """Follows perfectly, one reading late; from `fails_at` on one joint does not, or reading raises."""

    def __init__(self, start: np.ndarray, fails_at: float = np.inf, failure: object = None) -> None:
        self.joints = ROBOT.commands
        self.time, self.position, self.sent = 0.0, start.copy(), [start.copy()]
        self.fails_at, self.failure, self.closed = fails_at, failure, False

    def read(self) -> JointReading:
        zero = np.zeros(len(self.joints))
        return JointReading(self.time, self.position.copy(), zero, zero)

    def command(self, position: np.ndarray) -> None:
        self.sent.append(position.copy())

    def wait_until(self, time: float) -> None:
        self.time = max(self.time, time)
        before = self.position[ELBOW]
        self.position = self.sent[-1].copy()
        if self.time >= self.fails_at:
            if isinstance(self.failure, BaseException):
                failure, self.failure = self.failure, None
                raise failure
            self.position[ELBOW] = before if self.failure == "stuck" else np.nan

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeRobot:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def ramp(seconds: float = 6.0, rise: float = 1.2) -> Targets:
    """The elbow moves by `rise` over the time."""
    time = np.arange(0.0, seconds, 0.1)
    command = np.repeat(base_pose(ROBOT, of_excite(ExcitationSettings, "excitation"))[None], len(time), axis=0)
    command[:, ELBOW] += rise * (1 - np.cos(np.pi * time / time[-1])) / 2
    return Targets(time, command, ROBOT.name, ROBOT.hand)


def driven(robot: FakeRobot, targets: Targets, **settings: float) -> list[JointLog]:
    """The logs that were kept, whatever happens."""
    kept: list[JointLog] = []
    try:
        drive(robot, ROBOT, targets, of_excite(DriveSettings, "drive", **settings), kept.append)
    except UserError as error:
        assert "stopped: " in str(error)
    return kept


def test_the_log_holds_what_had_been_sent_by_then():
    targets = ramp()
    robot = FakeRobot(targets.command[0])
    (log,) = driven(robot, targets)
    assert len(log.time) == 300
    np.testing.assert_allclose(np.diff(log.time), 0.02, atol=1e-9)
    held = np.minimum((log.time * 10 + 1e-6).astype(int), len(targets.time) - 1)
    np.testing.assert_array_equal(log.command, targets.command[held])
    # It follows from one measurement to the next.
    np.testing.assert_array_equal(log.position[1:], log.command[:-1])
    assert log.joints == ROBOT.commands and log.valid.all()
    np.testing.assert_array_equal(robot.sent[-1], targets.command[-1])


def test_it_first_moves_slowly_to_the_first_target():
    targets, far = ramp(), np.clip(0.0, *ROBOT.command_limits.T)
    robot = FakeRobot(far)
    driven(robot, targets, approach_speed=0.2)
    sent = np.array(robot.sent)
    arrived = int(np.argmax(np.abs(sent - targets.command[0]).max(axis=1) < 1e-9))
    speed = np.abs(np.diff(sent[: arrived + 1], axis=0)).max() * 50
    assert 0.15 < speed <= 0.2 + 1e-6
    np.testing.assert_array_equal(sent[0], far)


@pytest.mark.parametrize("failure", ["stuck", "nan"])
def test_a_joint_that_does_not_follow_stops_the_robot_and_keeps_the_log(failure: str):
    targets = ramp(rise=1.5)
    robot, kept = FakeRobot(targets.command[0], 3.0, failure), []
    with pytest.raises(
        UserError, match=r"stopped: left_elbow_pitch_joint is .* rad from its command .* 0.4 rad for 0.3"
    ):
        drive(robot, ROBOT, targets, of_excite(DriveSettings, "drive"), kept.append)
    (log,) = kept
    assert 1.0 < log.duration < 5.0
    assert np.isfinite(log.position).all()
    hold = robot.sent[-1]
    assert np.isfinite(hold).all()
    if failure == "stuck":
        np.testing.assert_array_equal(hold, robot.position)  # where it is, not where it should have been
        assert abs(robot.sent[-2][ELBOW] - hold[ELBOW]) > 0.4


def test_a_short_error_does_not_stop_it():
    targets = ramp(rise=1.5)
    robot = FakeRobot(targets.command[0], 3.0, "stuck")
    (log,) = driven(robot, targets, arm_error=1.6)
    assert log.duration == pytest.approx(targets.duration, abs=0.03)


def test_ctrl_c_keeps_the_log_and_holds():
    targets = ramp()
    robot, kept = FakeRobot(targets.command[0], 4.0, KeyboardInterrupt()), []
    with pytest.raises(KeyboardInterrupt):
        drive(robot, ROBOT, targets, of_excite(DriveSettings, "drive"), kept.append)
    (log,) = kept
    assert 2.0 < log.duration < 4.0
    np.testing.assert_array_equal(robot.sent[-1], robot.position)


def test_another_robot_is_not_driven():
    robot = FakeRobot(ramp().command[0])
    robot.joints = tuple(reversed(ROBOT.commands))
    with pytest.raises(UserError, match="the robot has the joints"):
        drive(robot, ROBOT, ramp(), of_excite(DriveSettings, "drive"), print)
    assert len(robot.sent) == 1


def test_the_way_to_the_first_target_must_be_free():
    targets = ramp()
    check_approach(ROBOT, np.zeros(len(ROBOT.commands)), targets, 0.03)
    # Both ends are clear, but on the way between the hand goes through the body.
    behind = targets.command[0].copy()
    for name, angle in {"shoulder_pitch": 1.2, "shoulder_roll": 0.7, "shoulder_yaw": 2.8, "elbow_pitch": 2.2}.items():
        behind[ROBOT.commands.index(f"left_{name}_joint")] = angle
    with pytest.raises(UserError, match=r"the way to the first target brings .* within"):
        check_approach(ROBOT, behind, targets, 0.03)


def test_the_verb_writes_targets(tmp_path: Path):
    folder = cli.run("excite", [*SHORT, "excitation.parts=[left_hand]", f"runs_dir={tmp_path}"])
    targets = load_targets(folder / TARGETS, ROBOT)
    assert targets.duration == pytest.approx(20.0)
    assert (folder / PICTURE).stat().st_size > 10_000
    assert not (folder / LOG).exists()
    results = json.loads((folder / "result.json").read_text())
    assert results["clearance"]["value"] >= 0.03
    assert results["duration"]["value"] == pytest.approx(20.0)
    assert 0.3 < results["velocity_share"]["value"] <= 0.4 + 1e-9


def test_the_verb_drives_a_simulated_robot_and_writes_its_log(tmp_path: Path):
    options = ["interface=simulated", "interface_settings={seed: 3}", f"runs_dir={tmp_path}"]
    folder = cli.run("excite", [*SHORT, *options])
    log = load_log(folder / LOG, ROBOT)
    assert log.duration == pytest.approx(20.0, abs=0.03)
    assert log.command_hz == pytest.approx(10.0) and log.measurement_hz == pytest.approx(50.0)
    assert log.joints == ROBOT.commands and log.moved.all() and log.valid.all()
    assert log.velocity is not None and log.effort is not None
    targets = load_targets(folder / TARGETS, ROBOT)
    held = np.minimum((log.time * 10 + 1e-6).astype(int), len(targets.time) - 1)
    np.testing.assert_allclose(log.command, targets.command[held], atol=1e-6)
    error = json.loads((folder / "result.json").read_text())["tracking_rms_arms"]["value"]
    assert error == pytest.approx(np.sqrt(np.mean((log.position - log.command)[:, ~ROBOT.is_hand] ** 2)), rel=1e-4)
    # What was written can be driven again.
    again = cli.run("excite", [*options, f"targets={folder / TARGETS}", "name=again"])
    np.testing.assert_array_equal(load_log(again / LOG, ROBOT).position, log.position)


def test_a_trip_leaves_targets_and_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options = ["interface=simulated", "drive.arm_error=0.15", "drive.error_s=0.1", f"runs_dir={tmp_path}"]
    assert cli.main(["excite", *SHORT, *options]) == 2
    assert "stopped: " in capsys.readouterr().err
    (folder,) = (tmp_path / "excite" / "excite").iterdir()
    assert (folder / TARGETS).is_file() and (folder / LOG).is_file()
    assert "stopped: " in (folder / "log.txt").read_text()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("excitation.duration_s=300", "excitation.duration_s = 300"),
        ("excitation.parts=[left_leg]", "'left_leg'"),
        ("excitation.clearance_m=0.2", "must be at least clearance_m = 0.2 m"),
        ("drive.arm_error=0", "drive.arm_error = 0"),
        ("~drive.error_s", "drive.error_s is missing: expected float"),
        ("drive.measure_hz=1", "drive.measure_hz = 1"),
        ("interface=simulatd", "did you mean 'simulated'"),
        ("interface_settings={seed: 1}", "must be null without interface"),
        ("targets=missing.parquet", "no such file"),
        ("robot=gr2", "no 'robot' named 'gr2'"),
    ],
)
def test_bad_values_are_refused(override: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["excite", *SHORT, override, f"runs_dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not list(tmp_path.glob("excite/excite/*"))
