"""How well constants reproduce a log: residuals of many candidates at once, their cost, and its derivatives.

Each joint gives two channels, position and (where it was logged) effort, whose noise nobody knows. With Gaussian errors
of unknown variance the most likely constants minimize the sum over the channels of n log(mean squared error): every
channel is weighed by what it has left unexplained, and no unit or joint has to be weighed by hand. Priors add their
squared distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dexsim.backends import BackendSettings
from dexsim.errors import UserError
from real2sim.logs.joint_log import SETTLE_S, JointLog
from real2sim.search.replay import Replay, Replayed
from real2sim.search.space import Block, SearchSpace

# Rows that are left out at the start: nobody knows how a robot got where it stands.
WARM_UP = SETTLE_S
# More rows a second say no more about joints, and cost memory.
FINEST_HZ = 100.0
# Fewer rows than these say nothing.
FEWEST_ROWS = 25
# Neighbouring residuals resemble each other, most where the model's friction is not quite the robot's: those of 0.2 to
# 1.2 s say as much as one that stood alone. Against priors a log must not count for more than it says.
SAMPLE_S = 0.5
# Smallest mean squared errors that are told apart, rad^2 and (N m)^2: below them is rounding.
FLOOR = np.array([1e-12, 1e-12])


@dataclass(frozen=True)
class Residuals:
    """Simulated minus measured, of K candidates.

    Attributes:
        error: (K, 2, J, T) position in rad and effort in N m at the T rows that count; effort is 0 where none
            was logged.
        told: (2, J) bool, which channels were logged.
    """

    error: np.ndarray
    told: np.ndarray

    @property
    def mse(self) -> np.ndarray:
        """(K, 2, J) mean squared errors; inf for a candidate that diverged."""
        squared = np.einsum("kcjt,kcjt->kcj", self.error, self.error, dtype=np.float64) / self.error.shape[-1]
        return np.where(np.isfinite(squared), squared, np.inf)

    def position_mse(self) -> np.ndarray:
        """(K,) over all joints, rad^2: the tracking error of Algorithm 1."""
        return self.mse[:, 0].mean(axis=1)


class Problem:
    """A log to reproduce with the free parameters of a search space.

    Args:
        log: the log.
        space: the free parameters.
        backend: which simulator.

    Raises:
        UserError: for a log of which hardly a row counts.
    """

    def __init__(self, log: JointLog, space: SearchSpace, backend: BackendSettings) -> None:
        self.log, self.space, self._settings = log, space, backend
        self._replays: dict[tuple[int, float], Replay] = {}
        self._rows = log.valid & (log.time >= WARM_UP) & _thinned(log)
        if self._rows.sum() < FEWEST_ROWS:
            raise UserError(
                f"log {log.name!r}: {self._rows.sum()} rows count, those in gaps and in the first {WARM_UP:g} s of "
                f"{log.duration:.1f} s do not; must be at least {FEWEST_ROWS}"
            )

    def on(self, log: JointLog) -> Problem:
        """The same space on another log, on the same simulators."""
        return self._like(log, self.space, self._settings)

    def _like(self, log: JointLog, space: SearchSpace, settings: BackendSettings) -> Problem:
        other = Problem(log, space, settings)
        other._replays = self._replays
        return other

    def apart(self) -> Problem:
        """The same problem on the same simulators in `SearchSpace.apart`."""
        return self._like(self.log, self.space.apart(), self._settings)

    @property
    def settings(self) -> BackendSettings:
        """Of the simulator."""
        return self._settings

    @property
    def rows(self) -> np.ndarray:
        """(T,) bool, which rows of the log count."""
        return self._rows

    @property
    def rows_hz(self) -> float:
        """Rows that count a second, but for gaps."""
        return self.log.measurement_hz / _stride(self.log)

    @property
    def rows_per_sample(self) -> float:
        """How many rows that count say as much as one that stood alone."""
        return max(1.0, SAMPLE_S * self.rows_hz)

    @property
    def samples(self) -> float:
        """How many independent rows a channel has."""
        return float(self._rows.sum()) / self.rows_per_sample

    @property
    def robot_seconds(self) -> float:
        """Simulated so far, over all copies, s."""
        return sum(replay.robot_seconds for replay in self._replays.values())

    def part(self, seconds: float | None, timestep: float | None = None) -> Problem:
        """The same problem on its liveliest stretch of a length, in other physics steps; None for all, and its own."""
        part = self
        if seconds is not None and seconds < self.log.duration - 1.0:
            start = _liveliest(self.log, seconds)
            part = self.on(self.log.part(start, start + seconds))
        if timestep is not None:
            part = part._like(part.log, part.space, replace(self._settings, timestep=timestep))
        return part

    def residuals(self, x: np.ndarray) -> Residuals:
        """What vectors (K, P) of free parameters leave unexplained."""
        return self.compare(self.replay(self.space.values(x)))

    def replay(self, values: Mapping[str, np.ndarray]) -> Replayed:
        """What robots with constants (K, k) by name do at `rows`; all in `SearchSpace.applied` must be there."""
        return self.simulator(len(next(iter(values.values())))).run(self.log, values, self._rows)

    def simulator(self, copies: int) -> Replay:
        """So many simulated robots; they are built once."""
        key = copies, self._settings.timestep
        if key not in self._replays:
            self._replays[key] = Replay(self.space.robot, copies, self._settings)
        return self._replays[key]

    def compare(self, replayed: Replayed) -> Residuals:
        """Residuals of what K robots did at `rows`."""
        told = np.stack([np.ones(len(self.log.joints), dtype=bool), self.log.effort_told])
        shape = (len(replayed.position), 2, len(self.log.joints), int(self._rows.sum()))
        error = np.zeros(shape, dtype=np.float32)
        measured = ((replayed.position, self.log.position), (replayed.effort, self.log.effort))
        for channel, (simulated, real) in enumerate(measured):
            if real is not None:
                known = told[channel]
                rows = simulated[..., known] - real[self._rows][:, known].astype(np.float32)
                error[:, channel, known] = rows.transpose(0, 2, 1)
        return Residuals(error, told)

    def costs(self, residuals: Residuals, x: np.ndarray, blocks: Sequence[Block]) -> np.ndarray:
        """Twice the negative log likelihood of candidates x (K, P), (K, B) for each block."""
        mse = residuals.mse
        channels = self.samples * np.log(np.maximum(mse, FLOOR[:, None])) * residuals.told
        joints = channels.sum(axis=1)
        prior = ((x - self.space.start) / self.space.prior) ** 2
        costs = np.empty((len(x), len(blocks)))
        for b, block in enumerate(blocks):
            costs[:, b] = joints[:, block.joints].sum(axis=1) + prior[:, block.members].sum(axis=1)
        return np.where(np.isfinite(costs), costs, np.inf)


def _stride(log: JointLog) -> int:
    """Of how many rows one is taken."""
    return max(1, round(log.measurement_hz / FINEST_HZ))


def _thinned(log: JointLog) -> np.ndarray:
    """(T,) bool, rows that are left when there are no more a second than are of use."""
    return np.arange(len(log.time)) % _stride(log) == 0


def _liveliest(log: JointLog, seconds: float) -> float:
    """Where the stretch starts in which the joint that moves least, for its habits, moves most; gaps do not count."""
    known = (log.valid[1:] & log.valid[:-1])[:, None]
    moves = np.abs(np.diff(log.command, axis=0)) * known
    usual = np.maximum(moves.sum(axis=0) / max(1, known.sum()), 1e-12) * seconds * log.measurement_hz
    starts = np.arange(0.0, log.duration - seconds, 5.0)
    scores = []
    for start in starts:
        rows = (log.time[1:] >= start) & (log.time[1:] < start + seconds)
        # The share of known rows tells stretches apart in which some joint does not move.
        share = known[rows].sum() / (seconds * log.measurement_hz)
        scores.append((moves[rows].sum(axis=0) / usual)[log.moved].min(initial=1.0) + 1e-3 * share)
    return float(starts[int(np.argmax(scores))])
