"""Whether two logs hold the same rows, whatever files they came in.

What was measured once is never measured again to the last digit: the same motion commanded twice differs by the noise
of its sensors, which a copy has in common. So windows of one log are laid over the other where they fit best, and are
copies if no more is left than rounding, of positions or of efforts, which are noisier. Clocks, rates, rounding and the
order of columns do not matter, since rows are compared with what lies between those of the other log, on straight lines
or a curve; where times were written anew, they are compared by their number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.fft import next_fast_len
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

from real2sim.logs.joint_log import JointLog
from real2sim.logs.response import MAX_SAMPLED_STEP_S

WINDOW_S = 2.0
GRID_HZ = 50.0
MOTION = 0.05  # rad; a window in which every joint moves by less looks like many others
# Root mean square, rad, by which a copy may differ, and where efforts say nothing else; two measurements differ by more
# than twice that. No sensor repeats itself to the last digit of single precision.
ROUNDING, EXACT = 5e-5, 1e-6
# Efforts that differ by less than this share of their spread are a copy's, and by more than that two measurements'.
SAME_EFFORT, OTHER_EFFORT = 2e-3, 2e-2
CANDIDATES = 6
FOLLOWED = 4  # joints by which places are looked for, those that move most
MOST_WINDOWS = 300

Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Track:
    """What joints did.

    Attributes:
        time: (T,) s.
        position: (T, J) rad.
        effort: (T, J) N m, or None.
    """

    time: np.ndarray
    position: np.ndarray
    effort: np.ndarray | None

    def rows(self, start: float, end: float) -> _Track:
        """Those from a time up to another."""
        rows = slice(*np.searchsorted(self.time, (start, end)))
        return _Track(self.time[rows], self.position[rows], None if self.effort is None else self.effort[rows])

    def numbered(self, step: float) -> _Track:
        """The same rows, so many s apart."""
        return _Track(np.arange(len(self.time)) * step, self.position, self.effort)


def find_copy(log: JointLog, other: JointLog) -> tuple[float, float] | None:
    """Where two logs have rows in common: times in s in the first and in the other; None where they have none."""
    joints = [name for name in other.joints if name in log.joints]
    if not joints:
        return None
    own, theirs = (_track(each, joints) for each in (log, other))
    step = float(np.median(np.diff(other.time)))
    for first, second in ((own, theirs), (own.numbered(step), theirs.numbered(step))):
        found = _find(first, second)
        if found is not None:
            return found
        found = _find(second, first)  # the first may have a part of the other's rows
        if found is not None:
            return found[1], found[0]
    return None


def _track(log: JointLog, joints: list[str]) -> _Track:
    columns = [log.joints.index(name) for name in joints]
    time = np.append(0.0, np.cumsum(np.minimum(np.diff(log.time), MAX_SAMPLED_STEP_S)))
    return _Track(time, log.position[:, columns], None if log.effort is None else log.effort[:, columns])


def _find(own: _Track, theirs: _Track) -> tuple[float, float] | None:
    search, starts = _Search(own), np.arange(theirs.time[0], theirs.time[-1] - WINDOW_S / 2, WINDOW_S)
    for start in starts[:: -(-len(starts) // MOST_WINDOWS)]:
        window = theirs.rows(start, start + WINDOW_S)
        if len(window.time) >= 5 and np.ptp(window.position, axis=0).max() >= MOTION:
            place = search.find(window)
            if place is not None:
                return place, float(start)
    return None


class _Search:
    """Finds windows of other logs in a track."""

    def __init__(self, track: _Track) -> None:
        self._track, self._curves = track, _curves(track.time, track.position)
        self._efforts = [] if track.effort is None else _curves(track.time, track.effort)
        self._spread = 0.0 if track.effort is None else float(track.effort.std(axis=0).max())
        self._mean = track.position.mean(axis=0)
        self._followed = np.argsort(-track.position.std(axis=0))[:FOLLOWED]
        grid = self._sampled(self._curves[0], track.time)
        self._squares = np.append(0.0, np.cumsum((grid**2).sum(axis=1)))
        self._size = next_fast_len(2 * len(grid))
        self._spectrum = np.fft.rfft(grid, self._size, axis=0)

    def _sampled(self, curve: Curve, time: np.ndarray) -> np.ndarray:
        """Of the joints that are followed, on an even grid from the first to the last of some times."""
        grid = np.arange(time[0], time[-1] + 1e-9, 1 / GRID_HZ)
        return (curve(grid) - self._mean)[:, self._followed]

    def find(self, window: _Track) -> float | None:
        """Where in the track a window's rows are, s; None where they are not."""
        coarse = self._sampled(_straight(window.time, window.position), window.time)
        places = len(self._squares) - len(coarse)
        if places < 1:
            return None
        product = (self._spectrum * np.conj(np.fft.rfft(coarse, self._size, axis=0))).sum(axis=1)
        alike = np.fft.irfft(product, self._size)[:places]
        squares = self._squares[len(coarse) :] - self._squares[:places]
        apart = (squares - 2 * alike + (coarse**2).sum()) / coarse.size
        # On the nearest place of the grid, a copy is as far away as it moves in half a step, and a bit for its curve.
        speed = float(np.sqrt((np.diff(coarse, axis=0) ** 2).mean())) * GRID_HZ
        for place in np.argsort(apart)[:CANDIDATES]:
            if apart[place] > (1e-3 + speed / GRID_HZ) ** 2:
                break
            found = self._fitted(window, self._track.time[0] - window.time[0] + place / GRID_HZ)
            if found is not None:
                return found + float(window.time[0])
        return None

    def _fitted(self, window: _Track, near: float) -> float | None:
        """By how much a window's times must be shifted, near to so much, for its rows to be the track's."""
        for number, curve in enumerate(self._curves):
            shift, left = _nearest(curve, window, near)
            share = np.nan  # nothing is said by efforts that are not there
            if window.effort is not None and self._efforts and self._spread > 0:
                effort = self._efforts[number](window.time + shift) - window.effort
                share = float(np.sqrt((effort**2).mean())) / self._spread
            if left < EXACT or share < SAME_EFFORT or (left < ROUNDING and not share > OTHER_EFFORT):
                return shift
        return None


def _nearest(curve: Curve, window: _Track, near: float) -> tuple[float, float]:
    """The shift near to another where a window lies nearest to a curve, and what is left, rad root mean square."""

    def left(shift: float) -> float:
        return float(((curve(window.time + shift) - window.position) ** 2).mean())

    tried = near + np.linspace(-1.5, 1.5, 31) / GRID_HZ
    best = tried[int(np.argmin([left(shift) for shift in tried]))]
    step = tried[1] - tried[0]
    found = minimize_scalar(left, bounds=(best - step, best + step), method="bounded", options={"xatol": 1e-9})
    shift = float(min(best, float(found.x), key=left))
    return shift, float(np.sqrt(left(shift)))


def _curves(time: np.ndarray, values: np.ndarray) -> list[Curve]:
    """What may lie between rows (T, J) at times (T,): straight lines, or a smooth curve."""
    return [_straight(time, values), CubicSpline(time, values)]


def _straight(time: np.ndarray, values: np.ndarray) -> Curve:
    def at(when: np.ndarray) -> np.ndarray:
        before = np.clip(np.searchsorted(time, when, side="right") - 1, 0, len(time) - 2)
        share = np.clip((when - time[before]) / (time[before + 1] - time[before]), 0.0, 1.0)[:, None]
        return values[before] * (1 - share) + values[before + 1] * share

    return at
