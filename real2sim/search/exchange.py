"""Exchanges a joint's command lag for its drive's damping and inertia, to leave minima that are only local.

Which time constants of a joint's response are the lag's and which are the drive's is told by little
(`real2sim.search.ambiguity`), so that one search ends with a slow lag and a quick drive where another ends the other
way around, with worse fits between them.

For every joint, shorter and longer lags that keep the response to slow motion are tried, with the stiffness that there
was and with drives scaled to the effort that was logged. The best of each side is a start that Gauss-Newton goes on
from, all joints at once and what they share at rest. A joint takes what fits it better then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from real2sim.search.ambiguity import EXCHANGED, drives, exchanged
from real2sim.search.base import Search, SearchSettings
from real2sim.search.gauss_newton import GaussNewton
from real2sim.search.problem import Problem, Residuals
from real2sim.search.space import SearchSpace

# Lags that are tried, as factors of the present one: up to so many times shorter or longer, but not by less.
FARTHEST, NEAREST = 12.0, 1.25
# By how much twice the log likelihood of a joint must rise for it to be taken elsewhere.
MARGIN = 10.0


class ExchangeSearch(Search):
    """The search; its first step makes the starts, the others go on from them, and the last takes what is better."""

    def __init__(self, settings: SearchSettings, x: np.ndarray) -> None:
        super().__init__(settings, x)
        self._polished: list[GaussNewton] = []

    def step(self, problem: Problem) -> None:
        """See `Search`."""
        apart = problem.apart()
        if self.count == 0:
            self.mse = float(problem.residuals(self.x[None]).position_mse()[0])
            self._polished = [GaussNewton(self.settings, start) for start in self._starts(apart)]
        for search in self._polished:
            if not search.done:
                search.step(apart)
        self.count += 1
        self.done = self.count >= self.settings.steps or all(search.done for search in self._polished)
        if self.done:
            self._take(problem, apart)
            self._polished = []

    def get_state(self) -> dict[str, Any]:
        """See `Search`."""
        return {**super().get_state(), "polished": [search.get_state() for search in self._polished]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Search`."""
        super().set_state(state)
        self._polished = [GaussNewton(self.settings, self.x) for _ in state["polished"]]
        for search, stored in zip(self._polished, state["polished"], strict=True):
            search.set_state(stored)

    def _starts(self, apart: Problem) -> list[np.ndarray]:
        longer = np.geomspace(NEAREST, FARTHEST, self.settings.candidates // 2)
        trials, allowed = _other_lags(apart.space, self.x, np.concatenate([1 / longer, longer]))
        residuals = apart.residuals(trials)
        costs = apart.costs(residuals, trials, apart.space.blocks)
        if residuals.told[1].any():
            scaled, within = _scaled(apart, trials, residuals)
            trials = np.concatenate([trials, scaled])
            costs = np.concatenate([costs, apart.costs(apart.residuals(scaled), scaled, apart.space.blocks)])
            allowed = np.concatenate([allowed, allowed & within])
        is_longer = np.resize(np.repeat([False, True], len(longer)), len(trials))
        starts = []
        for side in (~is_longer, is_longer):
            start = self.x.copy()
            for block, cost in zip(apart.space.blocks, costs[side].T, strict=True):
                cost = np.where(allowed[side][:, block.joints].all(axis=1), cost, np.inf)
                if np.isfinite(cost).any():
                    start[block.members] = trials[side][int(np.argmin(cost)), block.members]
            starts.append(start)
        return starts

    def _take(self, problem: Problem, apart: Problem) -> None:
        x = np.stack([self.x, *(search.x for search in self._polished)])
        proposal = self.x.copy()
        costs = apart.costs(apart.residuals(x), x, apart.space.blocks)
        for block, cost in zip(apart.space.blocks, costs.T, strict=True):
            best = int(np.argmin(cost))
            if cost[best] < cost[0] - MARGIN:
                proposal[block.members] = x[best, block.members]
        # What suits each joint was judged beside others that had moved too: all together, it has to be better again.
        x = np.stack([self.x, proposal])
        residuals = problem.residuals(x)
        costs = problem.costs(residuals, x, problem.space.blocks)
        errors = residuals.mse[0, 0].copy()
        for block, cost in zip(problem.space.blocks, costs.T, strict=True):
            best = int(np.argmin(cost))
            self.x[block.members] = x[best, block.members]
            errors[block.joints] = residuals.mse[best, 0, block.joints]
        self.mse = float(errors.mean())


def _other_lags(space: SearchSpace, x: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (K, P) with every joint's lag times a factor, and (K, J) where its bounds allow what that takes."""
    constants = space.constants(x)
    trials = np.repeat(x[None], len(factors), axis=0)
    allowed = np.zeros((len(trials), len(space.joints)), dtype=bool)
    for joint, own in _exchangeable(space).items():
        member = space.parameters[own[0]].members[0]
        lag, damping, armature, stiffness = (float(constants[name][member]) for name in EXCHANGED)
        lags = lag * factors
        others = exchanged(lag, lags, damping, armature, stiffness)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.log(np.stack([lags, *others, np.full_like(lags, stiffness)], axis=1))
        allowed[:, joint] = _set_within(space, trials, own, values)
    return trials, allowed


def _scaled(apart: Problem, trials: np.ndarray, residuals: Residuals) -> tuple[np.ndarray, np.ndarray]:
    """Trials (K, P) with each joint's drive scaled to the size of the logged effort, and (K, J) where bounds allow."""
    assert apart.log.effort is not None
    measured = apart.log.effort[apart.rows].T.astype(np.float32)
    simulated = residuals.error[:, 1] + measured
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.einsum("kjt,jt->kj", simulated, measured) / np.einsum("kjt,kjt->kj", simulated, simulated)
    scaled, allowed = trials.copy(), np.zeros(factor.shape, dtype=bool)
    for joint, own in _exchangeable(apart.space).items():
        drive = own[1:]
        if not residuals.told[1, joint]:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            values = trials[:, drive] + np.log(factor[:, joint])[:, None]
        allowed[:, joint] = _set_within(apart.space, scaled, drive, values)
    return scaled, allowed


def _set_within(space: SearchSpace, trials: np.ndarray, members: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Set parameters of trials (K, P) to values (K, n) where bounds allow them; return (K,) where that is."""
    allowed = np.all((values >= space.low[members]) & (values <= space.high[members]), axis=1)  # not where one is nan
    trials[np.ix_(allowed, members)] = values[allowed]
    return allowed


def _exchangeable(space: SearchSpace) -> dict[int, np.ndarray]:
    """Joints that have all of `EXCHANGED` for themselves -> which parameters those are."""
    return {
        joint: np.array([own[name] for name in EXCHANGED])
        for joint, own in drives(space).items()
        if all(name in own for name in EXCHANGED)
    }
