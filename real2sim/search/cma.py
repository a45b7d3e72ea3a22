"""CMA-ES, block by block: one for each block of parameters, all on the same simulations."""

from __future__ import annotations

import numpy as np

from real2sim.search.base import SearchSettings
from real2sim.search.problem import Problem

WORST = 1e12  # cost of a candidate that diverged


def hash_seed(*numbers: int) -> int:
    """A seed of 32 bits for a generator of its own."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class CmaSearch:
    """Each candidate of a batch holds one proposal of every block, and each block is told its own cost.

    Generations take turns (`SearchSpace.rounds`): in one every joint's own parameters change, in the next what joints
    share. The best so far takes part as the last candidate of each: what a block finds is judged beside it.
    """

    def __init__(self, settings: SearchSettings, problem: Problem, x: np.ndarray, seed: int) -> None:
        from cmaes import CMA

        self.settings, self.seed, self.x, self.mse = settings, seed, x.copy(), np.inf
        self.count, self.done = 0, False
        space = problem.space
        self._low, self._span = space.low, space.high - space.low
        unit = np.clip((x - self._low) / self._span, 0.0, 1.0)
        self._engines = [
            [
                CMA(
                    mean=unit[block.members],
                    sigma=settings.sigma,
                    bounds=np.tile([0.0, 1.0], (len(block.members), 1)),
                    population_size=settings.candidates - 1,
                )
                for block in blocks
            ]
            for blocks in space.rounds
        ]

    def step(self, problem: Problem) -> None:
        """See `Search`."""
        turn = self.count % len(self._engines)
        blocks, engines = problem.space.rounds[turn], self._engines[turn]
        others = self.settings.candidates - 1
        x = np.repeat(self.x[None], self.settings.candidates, axis=0)
        for engine, block in zip(engines, blocks, strict=True):  # it does not keep its generator when it is stored
            engine.reseed_rng(hash_seed(self.seed, self.count, int(block.members[0])))
        units = [np.array([engine.ask() for _ in range(others)]) for engine in engines]
        for block, unit in zip(blocks, units, strict=True):
            x[:-1, block.members] = self._low[block.members] + unit * self._span[block.members]
        residuals = problem.residuals(x)
        costs = np.minimum(problem.costs(residuals, x, blocks), WORST)
        for block, engine, unit, cost in zip(blocks, engines, units, costs.T, strict=True):
            engine.tell([(unit[k], float(cost[k])) for k in range(others)])
            self.x[block.members] = x[int(np.argmin(cost)), block.members]
        self.mse = float(residuals.position_mse()[-1])
        self.count += 1
        self.done = self.count >= self.settings.steps
