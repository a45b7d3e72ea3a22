"""Whether joints answer what they were told: clocks, signs and units that differ, columns that are mixed up.

Every refusal is a `UserError` that names the file and the joint.
"""

from __future__ import annotations

import logging

import numpy as np

from dexsim.errors import UserError
from real2sim.logs.joint_log import JointLog

_log = logging.getLogger(__name__)

COARSE_RATE_HZ, FINE_RATE_HZ = 20.0, 100.0
CHANGE_S = 0.2  # changes over that long are compared: longer than a command is held, or its steps would set the lag
SEARCH_S, SEARCH_SHARE = 10.0, 0.25  # lags up to that, and that share of the log, are searched
# A robot's lag lies in between, whatever noise does to it. Of the lags of a periodic motion, which differ by its
# period, the one nearest to the usual one is meant.
MIN_LAG_S, USUAL_LAG_S, LONG_LAG_S, MAX_LAG_S = -0.03, 0.1, 0.35, 1.0
PEAK_SHARE = 0.9  # a lag explains the log as well as the best one if its similarity reaches this share
MIN_SIMILARITY = 0.5  # below, mostly noise or other joints are compared
# A position is another joint's if it follows its own command less well, and the other one's better, than this.
OWN_CORRELATION, OTHER_CORRELATION, MIN_DIFFERENCE = 0.8, 0.9, 0.15
MIN_LABEL_RANGE = 0.05  # rad; smaller motions follow the arm's sag as much as their command
LABEL_LAG_S = 0.5
AGAINST = -0.5  # a joint with such a correlation with its command moves against it
SCALE_ERROR = 0.3  # of the logarithm, by which a ratio may be off that is taken for degrees beside rad
# How many times the velocity may be what the position changes by, and how closely it must follow it to be compared.
MOST_VELOCITY, VELOCITY_RANGE = 2.0, 0.1
VELOCITY_UNITS = {"deg/s": np.rad2deg(1.0), "revolutions a minute": 30 / np.pi, "mrad/s": 1000.0}
MAX_SAMPLED_STEP_S = 5.0  # longer gaps are shortened to it: a clock that was set must not cost memory


def check_lag(log: JointLog, file: str, clock_offset: float = 0.0) -> None:
    """Refuses clocks that differ: responses before their commands, or later than any robot's.

    Args:
        log: The log.
        file: For the message.
        clock_offset: What was already added to the commands' clock, s.
    """
    lag, similarity = _align(log)
    if similarity < MIN_SIMILARITY:
        if log.moved.any():
            _log.warning(
                "%s: positions hardly follow the commands (similarity %.2f); clocks unchecked", file, similarity
            )
        return
    if not MIN_LAG_S <= lag <= MAX_LAG_S:
        how = f"lead their commands by {-lag:.2f} s" if lag < 0 else f"lag their commands by {lag:.2f} s"
        raise UserError(
            f"{file}: positions {how}: the clocks differ; where it is not known better, pass "
            f"clock_offset={clock_offset + lag - USUAL_LAG_S:.2f}"
        )
    if lag > LONG_LAG_S:
        _log.warning(
            "%s: positions lag their commands by %.2f s, which is long; where the clocks differ, pass clock_offset",
            file,
            lag,
        )


def apparent_lag(log: JointLog) -> float:
    """Returns by how much positions lag behind commands, s; NaN where no joint moved.

    It is the lag at which changes of all positions together are most like those of their commands.
    """
    return _align(log)[0]


def check_labels(log: JointLog, file: str) -> None:
    """Refuses a joint whose position follows another joint's command, and neither of them its own.

    Joints that were told the same, or the opposite, cannot be told apart. A joint that was not told to move may be
    moved by its neighbours; that is excused where some joint follows the command, or one like it, as it should.
    """
    correlation, alike = _correlations(log)
    own, same = np.diag(correlation), np.abs(alike) > OTHER_CORRELATION
    stray = own < OWN_CORRELATION
    follows = (correlation > np.maximum(OTHER_CORRELATION, own[:, None] + MIN_DIFFERENCE)) & ~same
    follows[~log.commanded] &= ~(same & ~stray).any(axis=1)
    moves = stray & (np.ptp(log.position, axis=0) >= MIN_LABEL_RANGE)
    told = stray & (np.ptp(log.command, axis=0) >= MIN_LABEL_RANGE)
    mixed = np.where(follows & moves[:, None] & told, correlation, -1.0)
    i, j = np.unravel_index(np.argmax(mixed), mixed.shape)
    if mixed[i, j] > 0:
        raise UserError(
            f"{file}: position of {log.joints[i]} follows the command of {log.joints[j]} "
            f"(correlation {mixed[i, j]:.2f}) and not its own ({own[i]:.2f}): the columns are mixed up"
        )


def check_followers(log: JointLog, file: str) -> None:
    """Refuses joints that move against their command, or 57 times as far or little, where most follow theirs."""
    narrower, wider = np.sort([np.ptp(values, axis=0) for values in (log.command, log.position)], axis=0)
    moved = np.flatnonzero(log.moved & (wider >= MIN_LABEL_RANGE))
    if not len(moved):
        return
    follows, scale = _following(log, moved)
    if np.median(np.abs(follows)) < OWN_CORRELATION:
        return
    wrong = np.flatnonzero((follows < AGAINST) & (narrower[moved] >= MIN_LABEL_RANGE))
    if len(wrong):
        others = f", as do {len(wrong) - 1} others," if len(wrong) > 1 else ""
        raise UserError(
            f"{file}: position of {log.joints[moved[wrong[0]]]}{others} moves against its command (correlation "
            f"{follows[wrong[0]]:.2f}): the sign of one of them is wrong"
        )
    scale = np.where(follows > OTHER_CORRELATION, scale, 1.0)
    for degrees, other, times in (("position", "command", scale), ("command", "position", 1 / scale)):
        wrong = np.flatnonzero(np.abs(np.log(times / np.rad2deg(1.0))) < SCALE_ERROR)
        if len(wrong):
            raise UserError(
                f"{file}: {degrees} of {log.joints[moved[wrong[0]]]} moves {times[wrong[0]]:.0f} times as far as its "
                f"{other}: it is in degrees, and the other is not"
            )


def check_velocity(log: JointLog, file: str) -> None:
    """Refuses velocities that are not what the positions change by: of another unit, or with another sign."""
    if log.velocity is None:
        return
    step = float(np.median(np.diff(log.time)))
    span = min(max(1, round(CHANGE_S / step)), len(log.time) - 1)
    change = log.position[span:] - log.position[:-span]
    mean = (log.velocity[1:] + log.velocity[:-1]) / 2 * np.diff(log.time)[:, None]
    travelled = np.concatenate([np.zeros((1, len(log.joints))), np.cumsum(mean, axis=0)])
    travelled = travelled[span:] - travelled[:-span]
    known = log.time[span:] - log.time[:-span] <= 2 * span * step
    alike = _similarity(change[known], travelled[known])
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.linalg.norm(travelled[known], axis=0) / np.linalg.norm(change[known], axis=0)
    clear = (np.ptp(log.position, axis=0) >= VELOCITY_RANGE) & (np.abs(alike) > OWN_CORRELATION)
    wrong = clear & ((alike < 0) | (scale > MOST_VELOCITY) | (scale < 1 / MOST_VELOCITY))
    if wrong.any():
        joint = int(np.argmax(wrong))
        near = (unit for unit, size in VELOCITY_UNITS.items() if abs(np.log(scale[joint] / size)) < SCALE_ERROR)
        unit = next(near, None)
        what = f"{scale[joint]:.3g} times what its position changes by"
        hint = f"it looks like {unit}, " if unit and alike[joint] > 0 else ""
        sign = " the other way" if alike[joint] < 0 else ""
        raise UserError(f"{file}: velocity of {log.joints[joint]} is {what}{sign}: {hint}its unit is rad/s")


def _following(log: JointLog, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of some joints with their commands at the log's lag, and how many times as far they move, (n,)."""
    (lag, similarity), (lag_of_any, any_sign) = _align(log), _align(log, any_sign=True)
    # Of a periodic motion half a period later is as like as its opposite.
    shift = round((lag if similarity > PEAK_SHARE * any_sign else lag_of_any) * FINE_RATE_HZ)
    command, position, known = _sample(log, joints, FINE_RATE_HZ)
    both = np.logical_and(*_overlap(known, known, shift))
    told, did = (values[both] for values in _overlap(command, position, shift))
    follows = np.einsum("tj,tj->j", _standard(told), _standard(did))
    return follows, did.std(axis=0) / np.maximum(told.std(axis=0), 1e-9)


def _align(log: JointLog, any_sign: bool = False) -> tuple[float, float]:
    """The apparent lag, s, and the mean similarity there, of either sign; NaN and 0 where no joint moved."""
    if not log.moved.any():
        return float("nan"), 0.0
    reach = round(min(SEARCH_S, SEARCH_SHARE * log.duration) * COARSE_RATE_HZ)
    lags = np.arange(-reach, reach + 1)
    coarse = lags[_peak(lags / COARSE_RATE_HZ, _profile(log, COARSE_RATE_HZ, lags, any_sign))] / COARSE_RATE_HZ
    lags = np.arange(-2, 2, COARSE_RATE_HZ / FINE_RATE_HZ) / COARSE_RATE_HZ + coarse
    lags = np.round(lags * FINE_RATE_HZ).astype(int)
    scores = _profile(log, FINE_RATE_HZ, lags, any_sign)
    return float(lags[scores.argmax()] / FINE_RATE_HZ), float(scores.max())


def _peak(lags: np.ndarray, scores: np.ndarray) -> int:
    """Where the scores have the peak that is as high as the highest, or nearly, and nearest to the usual lag."""
    around = np.pad(scores, 1, constant_values=-np.inf)
    high = (scores >= around[:-2]) & (scores >= around[2:]) & (scores >= PEAK_SHARE * scores.max())
    high[scores.argmax()] = True  # where all are negative
    return int(np.where(high, np.abs(lags - USUAL_LAG_S), np.inf).argmin())


def _profile(log: JointLog, rate: float, lags: np.ndarray, any_sign: bool) -> np.ndarray:
    """Similarity of changes of commands and positions, the mean over the joints that moved, at each lag in samples."""
    command, position, known = _sample(log, np.flatnonzero(log.moved), rate)
    span = min(int(CHANGE_S * rate), len(known) - 1)
    known = (known[span:] & known[:-span])[:, None]
    told, did = (known * (values[span:] - values[:-span]) for values in (command, position))
    alike = np.array([_similarity(*_overlap(told, did, int(lag))) for lag in lags])
    return (np.abs(alike) if any_sign else alike).mean(axis=1)


def _similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of the angle between the columns of two (T, J) arrays, (J,); 0 where a column is zero."""
    aa, bb, ab = (np.einsum("tj,tj->j", x, y) for x, y in ((a, a), (b, b), (a, b)))
    norm = np.sqrt(aa * bb)
    return ab / np.where(norm > 0, norm, np.inf)


def _correlations(log: JointLog) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of position i with command j at the lag where it is largest, and of the commands, (J, J) each."""
    command, position, known = _sample(log, np.arange(len(log.joints)), COARSE_RATE_HZ)
    best = np.full((len(log.joints), len(log.joints)), -1.0)
    for lag in range(int(LABEL_LAG_S * COARSE_RATE_HZ) + 1):
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
    measured = np.append(0.0, np.cumsum(np.minimum(np.diff(log.time), MAX_SAMPLED_STEP_S)))
    time = np.arange(int(measured[-1] * rate) + 1) / rate
    row = np.searchsorted(measured, time, side="right") - 1
    position = np.stack([np.interp(time, measured, log.position[:, joint]) for joint in joints], axis=1)
    after = np.minimum(row + 1, len(measured) - 1)
    return log.command[row][:, joints], position, log.valid[row] & log.valid[after]


def _overlap(first: np.ndarray, second: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """The samples of both that meet when `second` lags by so many."""
    n = len(first)
    return first[max(0, -lag) : n - max(0, lag)], second[max(0, lag) : n - max(0, -lag)]
