"""How well sets of constants reproduce a log, joint by joint, next to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from real2sim.logs.joint_log import JointLog
from real2sim.search.problem import Problem


@dataclass(frozen=True)
class Judged:
    """What n sets of constants do with a log.

    Attributes:
        log: the log.
        rows: (T,) bool, which of its rows count.
        names: of the sets.
        mse: (n, J) mean squared error of each joint's position, rad^2; inf where the simulation diverged.
        position: (n, T, J) rad, as the encoders would measure it.
    """

    log: JointLog
    rows: np.ndarray
    names: tuple[str, ...]
    mse: np.ndarray
    position: np.ndarray

    def of(self, name: str) -> np.ndarray:
        """(J,) errors of one set."""
        return self.mse[self.names.index(name)]

    def total(self, name: str) -> float:
        """Error of one set over all joints, rad^2."""
        return float(self.of(name).mean())


def judge(problem: Problem, log: JointLog, sets: Mapping[str, Mapping[str, np.ndarray]]) -> Judged:
    """Replay a log with sets of constants.

    Args:
        problem: whose space and simulators are used.
        log: the log.
        sets: name of a set -> constants (k,) by name, at least those in `SearchSpace.applied`.
    """
    other = problem.on(log)
    stacked = {name: np.stack([values[name] for values in sets.values()]) for name in problem.space.applied}
    replayed = other.simulator(len(sets)).run(log, stacked)
    mse = other.compare(replayed.at(other.rows)).mse[:, 0]
    return Judged(log, other.rows, tuple(sets), mse, replayed.position)
