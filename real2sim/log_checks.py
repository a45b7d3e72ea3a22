"""What is refused in a log: times that go back, values that are none, degrees, mixed-up joints, clocks that differ.

Every refusal is a `UserError` that names the file and, where there is one, the row (counted from 0) and the joint.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from dexsim.errors import UserError
from dexsim.robots import RobotSpec
from real2sim.joint_log import JointLog

_log = logging.getLogger(__name__)

MIN_DURATION_S = 5.0
# So far beyond its limits no joint reads in rad; what fits that closely after conversion were degrees.
MAX_EXCESS, MAX_EXCESS_CONVERTED = 3.0, 0.5
LARGE_EXCESS = 0.1  # worth a warning: a simulated joint stops at its limit
MAX_LAG_S = 0.5
LAG_RATE_HZ, LABEL_RATE_HZ = 100.0, 20.0
CHANGE_S = 0.2  # changes over that long are compared: longer than a command is held, or its steps would set the lag
MIN_LAG_S, USUAL_LAG_S = -0.01, 0.05  # a response before its command; what remains once the clocks agree
# A position is another joint's if it follows its own command less well, and the other one's better, than this.
OWN_CORRELATION, OTHER_CORRELATION = 0.6, 0.9
MIN_LABEL_RANGE = 0.05  # rad; smaller motions follow the arm's sag as much as their command


def check_time(time: np.ndarray, file: str) -> None:
    """Refuses (T,) times in s that are too few, not finite, not increasing or too short."""
    if len(time) == 0:
        raise UserError(f"{file}: has no rows")
    wrong = np.flatnonzero(~np.isfinite(time))
    if len(wrong):
        raise UserError(f"{file}: row {wrong[0]}: time_s = {time[wrong[0]]} is not a time")
    wrong = np.flatnonzero(np.diff(time) <= 0)
    if len(wrong):
        row = wrong[0] + 1
        how = "repeats" if time[row] == time[row - 1] else "goes back from"
        raise UserError(f"{file}: row {row}: time_s = {time[row]:g} {how} {time[row - 1]:g} in the row before")
    if time[-1] - time[0] < MIN_DURATION_S:
        raise UserError(f"{file}: lasts {time[-1] - time[0]:.2f} s: must be at least {MIN_DURATION_S:g} s")


def check_finite(kind: str, values: np.ndarray, joints: Sequence[str], file: str) -> None:
    """Refuses NaN and infinity in (T, J) values of a kind, "position"."""
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, joint = wrong[0]
        raise UserError(
            f"{file}: row {row}: {kind} of {joints[joint]} is {values[row, joint]} ({len(wrong)} such in all)"
        )


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
            fits = _excess(np.deg2rad(values[:, joint]), limits[joint]).max() <= MAX_EXCESS_CONVERTED
            if fits and not converted:
                raise UserError(
                    f"{where} is far beyond its limits {low:g} .. {high:g} rad, and within them in degrees; "
                    "pass units=deg"
                )
            raise UserError(f"{where} is far beyond its limits {low:g} .. {high:g} rad, in rad and in degrees")
    _warn_beyond(_excess(log.position, limits).max(axis=0), log.joints, file)
    if converted and max(np.abs(log.position).max(), np.abs(log.command).max()) < np.deg2rad(np.pi):
        _log.warning("%s: all values are below pi degrees; they may be in rad", file)


def warn_unmoved(log: JointLog, file: str) -> None:
    """Reports the joints whose encoder does not answer their command, which may be dead."""
    dead = [name for name, told, moved in zip(log.joints, log.commanded, log.moved, strict=True) if told and not moved]
    if dead:
        _log.warning("%s: commanded, but never moved: %s", file, ", ".join(dead))


def check_labels(log: JointLog, file: str) -> None:
    """Refuses a joint whose position follows another joint's command, and hardly its own.

    Joints that were told the same, or the opposite, cannot be told apart.
    """
    moved = np.flatnonzero(log.moved & (np.ptp(log.position, axis=0) >= MIN_LABEL_RANGE))
    if len(moved) < 2:
        return
    correlation, alike = _correlations(log, moved)
    own = np.diag(correlation).copy()
    correlation[np.abs(alike) > OTHER_CORRELATION] = -1.0  # itself, too
    for i in np.flatnonzero((own < OWN_CORRELATION) & (correlation.max(axis=1) > OTHER_CORRELATION)):
        other = int(correlation[i].argmax())
        raise UserError(
            f"{file}: position of {log.joints[moved[i]]} follows the command of {log.joints[moved[other]]} "
            f"(correlation {correlation[i, other]:.2f}) and not its own ({own[i]:.2f}): the columns are mixed up"
        )


def check_lag(log: JointLog, file: str, clock_offset: float = 0.0) -> None:
    """Refuses responses that come before their commands; `clock_offset` is what was added to the commands' clock, s."""
    lag = apparent_lag(log)
    if lag < MIN_LAG_S:
        suggested = clock_offset + lag - USUAL_LAG_S
        raise UserError(
            f"{file}: positions lead their commands by {-lag:.2f} s: the clocks differ; "
            f"pass clock_offset={suggested:.2f}"
        )


def apparent_lag(log: JointLog) -> float:
    """Returns by how much positions lag behind commands, s: the median over the joints that moved, NaN without any.

    A joint's lag is the one at which changes of its position are most like those of its command, within +-0.5 s.
    """
    if not log.moved.any():
        return float("nan")
    command, position, known = _sample(log, np.flatnonzero(log.moved), LAG_RATE_HZ)
    span = min(int(CHANGE_S * LAG_RATE_HZ), len(known) - 1)
    known = (known[span:] & known[:-span])[:, None]
    told, did = (known * (values[span:] - values[:-span]) for values in (command, position))
    lags = _lags(LAG_RATE_HZ, len(told))
    scores = np.array([_similarity(*_overlap(told, did, lag)) for lag in lags])
    return float(np.median(lags[scores.argmax(axis=0)]) / LAG_RATE_HZ)


def _similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of the angle between the columns of two (T, J) arrays, (J,); 0 where a column is zero."""
    aa, bb, ab = (np.einsum("tj,tj->j", x, y) for x, y in ((a, a), (b, b), (a, b)))
    norm = np.sqrt(aa * bb)
    return ab / np.where(norm > 0, norm, np.inf)


def _correlations(log: JointLog, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of position i with command j at the lag where it is largest, and of the commands, (J, J) each."""
    command, position, known = _sample(log, joints, LABEL_RATE_HZ)
    best = np.full((len(joints), len(joints)), -1.0)
    for lag in _lags(LABEL_RATE_HZ, len(command)):
        both = np.logical_and(*_overlap(known, known, lag))
        told, did = (_standard(values[both]) for values in _overlap(command, position, lag))
        best = np.maximum(best, did.T @ told)
    told = _standard(command[known])
    return best, told.T @ told


def _standard(values: np.ndarray) -> np.ndarray:
    """The columns of (T, J) values with mean 0 and norm 1; zero where a column is constant."""
    centred = values - values.mean(axis=0) if len(values) else values
    norm = np.linalg.norm(centred, axis=0)
    return centred / np.where(norm > 0, norm, np.inf)


def _sample(log: JointLog, joints: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Commands and positions (N, J) of some joints on an even grid of `rate` Hz, and whether they are known (N,)."""
    time = np.arange(int(log.duration * rate) + 1) / rate
    row = np.searchsorted(log.time, time, side="right") - 1
    position = np.stack([np.interp(time, log.time, log.position[:, joint]) for joint in joints], axis=1)
    after = np.minimum(row + 1, len(log.time) - 1)
    return log.command[row][:, joints], position, log.valid[row] & log.valid[after]


def _lags(rate: float, length: int) -> np.ndarray:
    """Lags in samples up to `MAX_LAG_S`, from the shortest to the longest, so that the shortest wins a tie."""
    most = min(int(MAX_LAG_S * rate), length - 1)
    lags = np.arange(-most, most + 1)
    return lags[np.argsort(np.abs(lags), kind="stable")]


def _overlap(first: np.ndarray, second: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """The samples of both that meet when `second` lags by so many."""
    n = len(first)
    return first[max(0, -lag) : n - max(0, lag)], second[max(0, lag) : n - max(0, -lag)]


def _excess(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """How far values (..., J) are beyond limits (J, 2) or (2,), at least 0."""
    return np.maximum(0.0, np.maximum(limits[..., 0] - values, values - limits[..., 1]))


def _warn_beyond(excess: np.ndarray, joints: Sequence[str], file: str) -> None:
    beyond = [f"{name} by {by:.2f}" for name, by in zip(joints, excess, strict=True) if by > LARGE_EXCESS]
    if beyond:
        _log.warning("%s: positions pass their limits in rad: %s", file, ", ".join(beyond))
