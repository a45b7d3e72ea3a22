"""CMA-ES, block by block: one for each block of the space, all on the same simulations."""

from __future__ import annotations

import numpy as np

from real2sim.problem import Problem
from real2sim.search.base import SearchSettings


class CmaSearch:
    """Each candidate of the batch holds one proposal of every block; they share no joint, so each is told its own cost.

    The best so far takes part in every generation as the last candidate: what one block finds is judged beside the
    others' best, and a search never ends worse than it began.
    """

    def __init__(self, settings: SearchSettings, problem: Problem, x: np.ndarray, seed: int) -> None:
        from cmaes import CMA

        self.settings, self.x, self.mse = settings, x.copy(), np.inf
        self.count, self.done = 0, False
        space = problem.space
        self._low, self._span = space.low, space.high - space.low
        self._blocks = space.blocks
        unit = np.clip((x - self._low) / self._span, 0.0, 1.0)
        self._engines = [
            CMA(
                mean=unit[block],
                sigma=settings.sigma,
                bounds=np.tile([0.0, 1.0], (len(block), 1)),
                population_size=settings.candidates - 1,
                seed=seed + b,
            )
            for b, block in enumerate(self._blocks)
        ]

    def step(self, problem: Problem) -> None:
        """See `Search`."""
        units = np.empty((self.settings.candidates, len(self.x)))
        for block, engine in zip(self._blocks, self._engines, strict=True):
            units[:-1, block] = [engine.ask() for _ in range(engine.population_size)]
        x = self._low + units * self._span
        x[-1] = self.x
        residuals = problem.residuals(x)
        costs = problem.costs(residuals, x)
        for b, (block, engine) in enumerate(zip(self._blocks, self._engines, strict=True)):
            worst = 1e12  # of a candidate that diverged
            engine.tell([(units[k, block], float(min(costs[k, b], worst))) for k in range(engine.population_size)])
            self.x[block] = x[int(np.argmin(costs[:, b])), block]
        self.mse = float(residuals.mse[:, 0].min(axis=0).mean())
        self.count += 1
        self.done = self.count >= self.settings.steps
