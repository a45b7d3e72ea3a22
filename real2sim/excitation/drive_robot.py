"""Drives a robot through targets and logs what it does; lets go as soon as it does not follow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dexsim.errors import UserError, require
from dexsim.report.progress import ProgressLine, minutes
from dexsim.robots import RobotSpec
from dexsim.robots.interface import JointReading, RobotInterface
from real2sim.excitation.targets import Targets
from real2sim.logs.joint_log import JointLog, find_valid

_log = logging.getLogger(__name__)

# From arriving at the first target to the start of the log, s.
SETTLE_S = 1.0
# Of clocks, s.
ROUNDING_S = 1e-6


@dataclass(frozen=True)
class DriveSettings:
    """How a robot is driven.

    Attributes:
        measure_hz: measurements a second.
        approach_speed: of the fastest joint on the way to the first target, rad/s.
        arm_error: between command and position of an arm's joint at which the robot is stopped, rad.
        hand_error: the same of a hand's.
        error_s: how long it must last, s.
    """

    measure_hz: float
    approach_speed: float
    arm_error: float
    hand_error: float
    error_s: float

    def __post_init__(self) -> None:
        """Refuse what cannot be, or would not protect a robot."""
        require(10 <= self.measure_hz <= 1000, "measure_hz", self.measure_hz, "10 to 1000")
        require(0 < self.approach_speed <= 1, "approach_speed", self.approach_speed, "above 0, up to 1 rad/s")
        for name in ("arm_error", "hand_error"):
            require(0 < getattr(self, name) <= 2, name, getattr(self, name), "above 0, up to 2 rad")
        require(0 <= self.error_s <= 2, "error_s", self.error_s, "0 to 2 s")


def drive(
    interface: RobotInterface,
    robot: RobotSpec,
    targets: Targets,
    settings: DriveSettings,
    keep: Callable[[JointLog], None],
) -> JointLog:
    """Drive a robot to the first target, slowly, then through all of them.

    Args:
        interface: an open robot.
        robot: what it is.
        targets: of all its joints.
        settings: how.
        keep: takes the log in any case, also where it ends early: after a trip, Ctrl-C or a failure.

    Returns:
        The log.

    Raises:
        UserError: for a robot with other joints, and where a joint did not follow; the robot then holds where it was.
    """
    if tuple(interface.joints) != robot.commands:
        raise UserError(f"the robot has the joints {', '.join(interface.joints)}: must be {', '.join(robot.commands)}")
    recorder, ride = _Recorder(robot), _Ride(interface, robot, settings)
    try:
        _approach(ride, targets)
        _stream(ride, targets, recorder)
    except BaseException:
        # Whatever it was, the robot must not go on towards a target that it did not come to.
        ride.hold()
        raise
    finally:
        log = recorder.log()
        if log is not None:
            keep(log)
    assert log is not None  # a stream has more than one row
    return log


class _Ride:
    """One robot under way: its last reading, and whether it follows."""

    def __init__(self, interface: RobotInterface, robot: RobotSpec, settings: DriveSettings) -> None:
        self.settings = settings
        self._interface, self._robot = interface, robot
        self._bounds = np.where(robot.is_hand, settings.hand_error, settings.arm_error)
        self.reading = interface.read()
        self.command = self.position
        self._followed = np.full(len(robot.commands), self.reading.time)

    @property
    def position(self) -> np.ndarray:
        """Measured last, within the limits."""
        return np.clip(self.reading.position, *self._robot.command_limits.T)

    def send(self, command: np.ndarray) -> None:
        """Command the robot."""
        self._interface.command(command)
        self.command = command

    def measure(self, time: float) -> JointReading:
        """Wait, read, and stop at a joint that does not follow."""
        self._interface.wait_until(time)
        self.reading = self._interface.read()
        error = np.abs(self.reading.position - self.command)
        # NaN is no position to follow anything with: it compares as not within bounds.
        self._followed = np.where(error <= self._bounds, self.reading.time, self._followed)
        lost = self.reading.time - self._followed > self.settings.error_s + ROUNDING_S
        if lost.any():
            joint = int(np.argmax(np.where(lost, error, -1.0)))
            raise UserError(
                f"stopped: {self._robot.commands[joint]} is {error[joint]:.2f} rad from its command of "
                f"{self.command[joint]:.2f} rad since {self._followed[joint]:.2f} s: allowed is "
                f"{self._bounds[joint]:g} rad for {self.settings.error_s:g} s; the robot holds where it is"
            )
        return self.reading

    def hold(self) -> None:
        """Command the pose measured last; joints without a measurement keep their command."""
        self.reading = self._interface.read()
        self.send(np.where(np.isfinite(self.position), self.position, self.command))


def _approach(ride: _Ride, targets: Targets) -> None:
    """Move to the first target, every joint in the same time, and let it settle."""
    start, goal = ride.position, targets.command[0]
    began = ride.reading.time
    # A cosine's largest speed is pi / 2 of its mean one.
    seconds = float(np.abs(goal - start).max()) * np.pi / 2 / ride.settings.approach_speed
    _log.info("moving to the first target: %.1f s", seconds)
    steps = max(1, int(np.ceil(seconds * ride.settings.measure_hz)))
    for step in range(1, steps + 1):
        share = (1 - np.cos(np.pi * step / steps)) / 2
        ride.send(start + share * (goal - start))
        ride.measure(began + step / ride.settings.measure_hz)
    for tick in range(1, round(SETTLE_S * ride.settings.measure_hz) + 1):
        ride.measure(began + (steps + tick) / ride.settings.measure_hz)


def _stream(ride: _Ride, targets: Targets, recorder: _Recorder) -> None:
    """Send each target when it is due, and record every measurement."""
    began, hz = ride.reading.time, ride.settings.measure_hz
    ticks = round(targets.duration * hz)
    due = np.searchsorted(targets.time, np.arange(ticks) / hz + ROUNDING_S, side="right") - 1
    progress, sent = ProgressLine(), -1
    recorder.sent(began, targets.command[0])
    try:
        for tick, target in enumerate(due.tolist()):
            now = began + tick / hz
            recorder.measured(ride.measure(now) if tick else ride.reading)
            if target != sent:
                ride.send(targets.command[target])
                recorder.sent(now, targets.command[target])
                sent = target
            left = minutes(targets.duration - tick / hz)
            progress.show(f"target {target + 1} of {len(targets.time)}, {left} left")
    finally:
        progress.close()


class _Recorder:
    """What was sent and measured, as it comes."""

    def __init__(self, robot: RobotSpec) -> None:
        self._robot = robot
        self._sent: list[tuple[float, np.ndarray]] = []
        self._readings: list[JointReading] = []

    def sent(self, time: float, command: np.ndarray) -> None:
        """Take a command."""
        self._sent.append((time, command))

    def measured(self, reading: JointReading) -> None:
        """Take a measurement; one that was there before, or is not whole, is no new row."""
        fresh = not self._readings or reading.time > self._readings[-1].time
        values = (reading.position, reading.velocity, reading.effort)
        if fresh and all(np.isfinite(value).all() for value in values):
            self._readings.append(reading)

    def log(self) -> JointLog | None:
        """The rows so far; None where they are fewer than two."""
        if len(self._readings) < 2:
            return None
        time = np.array([reading.time for reading in self._readings])
        sent = np.array([at for at, _ in self._sent])
        held = np.maximum(np.searchsorted(sent, time + ROUNDING_S, side="right") - 1, 0)
        command = np.stack([value for _, value in self._sent])[held]
        position, velocity, effort = (
            np.stack([getattr(reading, kind) for reading in self._readings])
            for kind in ("position", "velocity", "effort")
        )
        time = time - time[0]
        robot = self._robot
        return JointLog(
            time, command, position, velocity, effort, robot.commands, robot.name, robot.hand, find_valid(time)
        )  # fmt: skip
