"""How many robot-seconds a second a replay simulates, beside the bare batch."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

from real2sim.problem import Problem
from real2sim.replay import Replay

STRETCH_S, REPEATS = 4.0, 5


@dataclass(frozen=True)
class Throughput:
    """Simulated robot-seconds a second.

    Attributes:
        replay: of a replay, all included.
        bare: of the bare engine, on a batch of the same model, as many copies and threads.
    """

    replay: float
    bare: float


def measure(problem: Problem, copies: int, threads: int) -> Throughput | None:
    """Both in turns on the same few seconds; None where the backend has no bare batch (any but "mujoco").

    Args:
        problem: its log is replayed.
        copies: how many robots at once.
        threads: of the backend.
    """
    part = problem.part(STRETCH_S)
    replay = part.simulator(copies)
    if not hasattr(replay.backend, "batch"):
        return None
    bare, values = _bare(replay, copies, threads), part.space.values(part.space.start[None].repeat(copies, axis=0))
    substeps = round(part.log.duration / replay.timestep)
    ours, theirs = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        replay.run(part.log, values)
        middle = time.perf_counter()
        bare.step(nstep=substeps)
        ours.append(middle - start)
        theirs.append(time.perf_counter() - middle)
    seconds = copies * part.log.duration
    return Throughput(seconds / statistics.median(ours), seconds / statistics.median(theirs))


def _bare(replay: Replay, copies: int, threads: int) -> Any:
    from mujoco.batch import Batch

    backend: Any = replay.backend
    bare = Batch(backend.model, copies, threads)
    bare.state[:] = backend.batch.state
    return bare
