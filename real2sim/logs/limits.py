"""What no joint of a robot does: angles beyond its limits, in rad or in degrees or with another sign, and its torque.

Every refusal is a `UserError` that names the file and the joint.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from dexsim.errors import UserError
from dexsim.robots import RobotSpec
from real2sim.logs.joint_log import JointLog

_log = logging.getLogger(__name__)

# So far beyond its limits no joint reads in rad; what fits that closely after conversion were degrees.
MAX_EXCESS, MAX_EXCESS_CONVERTED = 3.0, 0.5
LARGE_EXCESS = 0.1  # worth a warning: a simulated joint stops at its limit
CLEAR_RANGE = 0.3  # what moves by more and stays within its limits in rad is not in degrees
# A joint that passes a limit by more than that, and would not with the other sign, turns the other way there. Limits
# that are tighter than the robot's do not tell that of joints whose range is as wide to both sides.
SIGN_EXCESS = 0.15
# No arm's joint is so far beyond its limits, whatever a description has them at: the widest real excess is 0.6 rad.
MOST_OF_AN_ARM = 1.0
BENT = 1.0  # rad, by which two arms are bent the opposite way for most of a log where one of them has the wrong sign
# A drive's peak is up to some five times what a data sheet states, and what a description states may be a guess.
# Efforts in another unit are a hundred times N m or more.
BEYOND_ANY_DRIVE = 20.0
# Units of effort that are taken for N m, and the least and the largest share of a drive's torque that a motion needs.
SMALL_UNITS, LIKELY_SHARE = {"N cm": 100.0, "mN m or mA": 1000.0}, (0.02, 1.5)


def check_ranges(log: JointLog, robot: RobotSpec, file: str, converted: bool) -> None:
    """Refuses commands and positions that no joint reaches.

    Args:
        log: In rad, or in what was taken for rad.
        robot: Whose limits count.
        file: For the message.
        converted: Whether the values were given in degrees.
    """
    limits = np.array([robot.joint(name).limits for name in log.joints])
    for kind, values in (("command", log.command), ("position", log.position)):
        excess = _excess(values, limits)
        row, joint = np.unravel_index(np.argmax(excess), excess.shape)
        if excess[row, joint] > MAX_EXCESS:
            value = np.rad2deg(values[row, joint]) if converted else values[row, joint]
            where = f"{file}: row {row}: {kind} of {log.joints[joint]} = {value:.4g}"
            low, high = limits[joint]
            where = f"{where} is far beyond its limits {low:g} .. {high:g} rad"
            if converted or not _in_degrees(values, limits)[joint]:
                raise UserError(f"{where}, in rad and in degrees")
            if all(
                _in_degrees(each, limits).sum() > _in_rad(each, limits).sum() for each in (log.command, log.position)
            ):
                raise UserError(f"{where}, and within them in degrees; pass units=deg")
            raise UserError(f"{where}, and within them in degrees, while others are in rad; convert its column")
    _warn_beyond(_excess(log.position, limits).max(axis=0), log.joints, file)
    if converted:
        _check_converted(log, file)


def _in_degrees(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(J,) which joints' values (T, J) are far beyond their limits (J, 2) in rad, and within them in degrees."""
    in_rad, in_degrees = (_excess(each, limits).max(axis=0) for each in (values, np.deg2rad(values)))
    return (in_rad > MAX_EXCESS) & (in_degrees <= MAX_EXCESS_CONVERTED)


def _in_rad(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(J,) which joints' values (T, J) plainly move, and stay within their limits (J, 2) in rad or nearly."""
    return (_excess(values, limits).max(axis=0) <= MAX_EXCESS_CONVERTED) & (np.ptp(values, axis=0) > CLEAR_RANGE)


def _check_converted(log: JointLog, file: str) -> None:
    """Refuses radians that were taken for degrees: nothing moves then."""
    for kind, values in (("command", log.command), ("position", log.position)):
        if np.abs(values).max() < np.deg2rad(np.pi):
            raise UserError(f"{file}: {kind} in degrees: all of them are below pi; they must be in rad")


def check_signs(log: JointLog, robot: RobotSpec, file: str) -> None:
    """Refuses joints that pass a limit and would not with the other sign, and those that are beyond what an arm can.

    A pair of arms that are bent the opposite way is reported.
    """
    limits = np.array([robot.joint(name).limits for name in log.joints])
    excess, negated = (_excess(values, limits) for values in (log.position, -log.position))
    gain = excess.max(axis=0) - negated.max(axis=0)
    joint = int(np.argmax(gain))
    expected = "expected are the signs of the robot's description, and zero where it has it (real2sim/README.md, Logs)"
    if gain[joint] > SIGN_EXCESS:
        where = _passing(log, excess, limits, joint, file)
        raise UserError(f"{where}, and with the other sign it would not; {expected}")
    of_arm = np.array([robot.joint(name).part == "arm" for name in log.joints])
    joint = int(np.argmax(excess.max(axis=0) * of_arm))
    if of_arm[joint] and excess[:, joint].max() > MOST_OF_AN_ARM:
        raise UserError(f"{_passing(log, excess, limits, joint, file)}, which no joint of an arm does; {expected}")
    _warn_bent(log, robot, of_arm, file)


def _passing(log: JointLog, excess: np.ndarray, limits: np.ndarray, joint: int, file: str) -> str:
    row = int(np.argmax(excess[:, joint]))
    value, (low, high) = log.position[row, joint], limits[joint]
    return (
        f"{file}: row {row}: position of {log.joints[joint]} = {value:.3f} passes its limits {low:g} .. {high:g} rad "
        f"by {excess[row, joint]:.2f} rad"
    )


def _warn_bent(log: JointLog, robot: RobotSpec, of_arm: np.ndarray, file: str) -> None:
    """Reports an arm that is bent far backwards while the other one is bent forwards, or the other way round."""
    if robot.mirror is None:
        return
    middle = dict(zip(log.joints, np.median(log.position, axis=0).tolist(), strict=True))
    for name in (name for name, is_arm in zip(log.joints, of_arm, strict=True) if is_arm):
        place = robot.commands.index(name)
        other, sign = robot.commands[robot.mirror.index[place]], robot.mirror.sign[place]
        # Joints that turn the same way on both sides turn about the robot's side: forwards or backwards.
        if sign > 0 and place < robot.mirror.index[place] and other in middle:
            least = min(abs(middle[name]), abs(middle[other]))
            if least > BENT and middle[name] * middle[other] < 0:
                _log.warning(
                    "%s: %s is at %.2f rad while its mirror image %s is at %.2f rad, medians; is a sign wrong?",
                    file, name, middle[name], other, middle[other],
                )  # fmt: skip


def check_effort(log: JointLog, robot: RobotSpec, file: str) -> None:
    """Refuses efforts that no drive can give."""
    if log.effort is None:
        return
    largest = np.array([robot.joint(name).effort for name in log.joints])
    share = np.abs(log.effort) / np.where(largest > 0, largest, np.inf)
    row, joint = np.unravel_index(np.argmax(share), share.shape)
    if share[row, joint] > BEYOND_ANY_DRIVE:
        low, high = LIKELY_SHARE
        units = [unit for unit, factor in SMALL_UNITS.items() if low <= share[row, joint] / factor <= high]
        hint = f"; is it in N m? It looks like {' or '.join(units)}" if units else "; is it in N m?"
        raise UserError(
            f"{file}: row {row}: effort of {log.joints[joint]} = {log.effort[row, joint]:.4g} is "
            f"{share[row, joint]:.3g} times what its drive can give ({largest[joint]:g} N m){hint}"
        )


def _excess(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """How far values (..., J) are beyond limits (J, 2) or (2,), at least 0."""
    return np.maximum(0.0, np.maximum(limits[..., 0] - values, values - limits[..., 1]))


def _warn_beyond(excess: np.ndarray, joints: Sequence[str], file: str) -> None:
    beyond = [f"{name} by {by:.2f}" for name, by in zip(joints, excess, strict=True) if by > LARGE_EXCESS]
    if beyond:
        _log.warning("%s: positions pass their limits in rad: %s", file, ", ".join(beyond))
