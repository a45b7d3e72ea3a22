"""CMA-ES, block by block: one for each block of parameters, all on the same simulations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from real2sim.search.base import Search, SearchSettings
from real2sim.search.problem import Problem
from real2sim.search.space import SearchSpace
from real2sim.search.state import same_kind

if TYPE_CHECKING:
    from cmaes import CMA

WORST = 1e12  # cost of a candidate that diverged
# What changes in an engine from one generation to the next; its matrix goes as the upper triangle.
_CHANGING = ("_mean", "_sigma", "_c_1d", "_p_sigma", "_pc", "_g", "_funhist_values")


def hash_seed(*numbers: int) -> int:
    """A seed of 32 bits for a generator of its own."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class CmaSearch(Search):
    """Each candidate of a batch holds one proposal of every block, and each block is told its own cost.

    Generations take turns (`SearchSpace.rounds`): in one every joint's own parameters change, in the next what joints
    share. The best so far takes part as the last candidate of each: what a block finds is judged beside it.
    """

    def __init__(self, settings: SearchSettings, space: SearchSpace, x: np.ndarray, seed: int) -> None:
        from cmaes import CMA  # slow to load

        super().__init__(settings, x)
        self.seed = seed
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
        for engine, block in zip(engines, blocks, strict=True):  # its generator is not stored
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

    def get_state(self) -> dict[str, Any]:
        """See `Search`."""
        engines = [[_get_state(engine) for engine in engines] for engines in self._engines]
        return {**super().get_state(), "engines": engines}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Search`."""
        super().set_state(state)
        for engines, stored in zip(self._engines, state["engines"], strict=True):
            for engine, values in zip(engines, stored, strict=True):
                _set_state(engine, values)


def _get_state(engine: CMA) -> dict[str, Any]:
    """What changes in an engine, between two generations: then it has no decomposition of its matrix."""
    state = engine.__getstate__()
    return {name: state[name] for name in _CHANGING}


def _set_state(engine: CMA, stored: Mapping[str, Any]) -> None:
    """Set what changes in an engine that has just been made."""
    made = engine.__getstate__()
    engine.__setstate__({**made, **{name: same_kind(stored[name], made[name]) for name in _CHANGING}})
