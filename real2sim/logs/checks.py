"""What is refused in the rows of a log: times that go back, values that are none, another hand, too little.

Every refusal is a `UserError` that names the file and, where there is one, the row (counted from 0) and the joint.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from dexsim.errors import UserError
from dexsim.robots import RobotSpec
from real2sim.logs.command_clock import MISSING
from real2sim.logs.joint_log import JointLog
from real2sim.logs.readers.recording import shown
from real2sim.logs.readers.times import likely_unit

_log = logging.getLogger(__name__)

HANDS = ("fourier", "inspire")
MIN_DURATION_S = 5.0
MAX_STEP_S = 0.5  # rows further apart tell nothing about a joint; more likely the unit is another one


def check_time(time: np.ndarray, file: str) -> None:
    """Refuses (T,) times in s that are too few, not finite, not increasing, too short or too far apart."""
    if len(time) == 0:
        raise UserError(f"{file}: has no rows")
    wrong = np.flatnonzero(~np.isfinite(time))
    if len(wrong):
        raise UserError(f"{file}: row {wrong[0]}: time_s = {time[wrong[0]]} is not a time")
    wrong = np.flatnonzero(np.diff(time) <= 0)
    if len(wrong):
        row = wrong[0] + 1
        how = "repeats" if time[row] == time[row - 1] else "goes back from"
        raise UserError(f"{file}: row {row}: time_s = {time[row]:.15g} {how} {time[row - 1]:.15g} in the row before")
    _check_duration(time[-1] - time[0], file)
    step = float(np.median(np.diff(time)))
    if step > MAX_STEP_S:
        unit = likely_unit(step)
        hint = f"; if they are {unit}, call it time_{unit}" if unit else ""
        raise UserError(
            f"{file}: time_s has steps of {step:g} s: must be at most {MAX_STEP_S:g} s; its unit is s{hint}"
        )


def check_known(log: JointLog, file: str) -> None:
    """Refuses a log that is too short without its gaps."""
    _check_duration(float(np.diff(log.time)[log.valid[1:] & log.valid[:-1]].sum()), file, " of known commands")


def _check_duration(seconds: float, file: str, of: str = "") -> None:
    if seconds < MIN_DURATION_S:
        raise UserError(f"{file}: lasts {seconds:.2f} s{of}: must be at least {MIN_DURATION_S:g} s")


def check_finite(kind: str, values: np.ndarray, joints: Sequence[str], file: str) -> None:
    """Refuses NaN and infinity in (T, J) values of a kind, "position"."""
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, joint = wrong[0]
        raise UserError(
            f"{file}: row {row}: {kind} of {joints[joint]} is {values[row, joint]} ({len(wrong)} such in all)"
        )


def warn_odd(log: JointLog, file: str) -> None:
    """Reports rows that are missing, and joints whose encoder or effort does not answer, which may be dead."""
    steps = np.diff(log.time)
    if (steps > MISSING * np.median(steps)).any():
        _log.warning("%s: rows are %.3g s apart, but up to %.3g s", file, np.median(steps), steps.max())
    if log.effort is not None and not log.effort_told.all():
        names = [name for name, told in zip(log.joints, log.effort_told, strict=True) if not told]
        _log.warning("%s: effort is left out where it is always the same: %s", file, ", ".join(names))
    dead = [name for name, told, moved in zip(log.joints, log.commanded, log.moved, strict=True) if told and not moved]
    if dead:
        _log.warning("%s: commanded, but never moved: %s", file, ", ".join(dead))


def check_hand(text: str, robot: RobotSpec, file: str) -> None:
    """Refuses words that plainly name another hand than the robot's."""
    named = [hand for hand in HANDS if hand in text.lower()]
    if len(named) == 1 and named[0] != robot.hand:
        raise UserError(
            f"{file}: hand = {shown(text)}, but robot {robot.name!r} has the {robot.hand} hand; "
            f"pass a robot with the {named[0]} hand"
        )
