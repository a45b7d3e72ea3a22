"""How many robot-seconds a second a replay simulates, beside the bare batch."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

from dexsim.errors import UserError
from real2sim.logs.joint_log import JointLog
from real2sim.search.problem import Problem
from real2sim.search.replay import Replay

STRETCH_S, REPEATS = 4.0, 5


@dataclass(frozen=True)
class Throughput:
    """Simulated robot-seconds a second.

    Attributes:
        replay: of a replay, all included.
        bare: of the bare engine, on a batch of the same model and targets, as many copies and threads.
    """

    replay: float
    bare: float


def measure(problem: Problem, copies: int, threads: int) -> Throughput | None:
    """Both in turns on the same few seconds; None where they have too few rows, or the backend no bare batch.

    Args:
        problem: its log is replayed.
        copies: how many robots at once.
        threads: of the backend.
    """
    try:
        part = problem.part(STRETCH_S)
    except UserError:
        return None
    replay = part.simulator(copies)
    if not hasattr(replay.backend, "batch"):
        return None
    values = part.space.values(part.space.start[None].repeat(copies, axis=0))
    replay.run(part.log, values)
    bare = _Bare(replay, part.log, threads)
    ours, theirs = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        replay.run(part.log, values)
        middle = time.perf_counter()
        bare.run()
        ours.append(middle - start)
        theirs.append(time.perf_counter() - middle)
    seconds = copies * part.log.duration
    return Throughput(seconds / statistics.median(ours), seconds / statistics.median(theirs))


class _Bare:
    """The engine's own batch of the nominal robot on the targets of a log, and nothing else."""

    def __init__(self, replay: Replay, log: JointLog, threads: int) -> None:
        from mujoco import mjtState
        from mujoco.batch import Batch

        backend: Any = replay.backend
        self._batch = Batch(backend.model, replay.copies, threads)
        self._rows = backend.batch.state.copy()
        self._targets, self._spec = replay.targets(log).expand(replay.copies, -1, -1).numpy(), mjtState.mjSTATE_CTRL

    def run(self) -> None:
        self._batch.state[:] = self._rows
        self._batch.rollout(self._targets.shape[1], self._targets, int(self._spec))
