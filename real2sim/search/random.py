"""Random search: Algorithm 1 of arXiv 2502.20396."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dexsim.errors import UserError
from real2sim.search.base import Search, SearchSettings
from real2sim.search.problem import Problem
from real2sim.search.state import same_kind


class RandomSearch(Search):
    """Samples sets of parameters evenly within their bounds and keeps the one with the least tracking error.

    Attributes:
        samples: (n, P) every set that was tried.
        errors: (n,) mean squared error of each, rad^2; inf where the simulation diverged.
    """

    def __init__(self, settings: SearchSettings, x: np.ndarray, seed: int) -> None:
        super().__init__(settings, x)
        self.samples, self.errors = np.empty((0, len(x))), np.empty(0)
        self._rng = np.random.default_rng(seed)

    def step(self, problem: Problem) -> None:
        """See `Search`."""
        samples = problem.space.random(self.settings.candidates, self._rng)
        errors = problem.residuals(samples).position_mse()
        self.samples, self.errors = np.concatenate([self.samples, samples]), np.concatenate([self.errors, errors])
        best = int(np.argmin(self.errors))
        if np.isfinite(self.errors[best]):
            self.x, self.mse = self.samples[best], float(self.errors[best])
        self.count += 1
        self.done = self.count >= self.settings.steps

    def get_state(self) -> dict[str, Any]:
        """See `Search`."""
        own = {"samples": self.samples, "errors": self.errors, "generator": self._rng.bit_generator.state}
        return {**super().get_state(), **own}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Search`."""
        super().set_state(state)
        tried = self.count * self.settings.candidates
        self.samples = same_kind(state["samples"], np.empty((tried, len(self.x))))
        self.errors = same_kind(state["errors"], np.empty(tried))
        self._rng.bit_generator.state = state["generator"]

    def ranked(self, share: float) -> np.ndarray:
        """The set (P,) at a share of the ranking by error: 0 best, 0.5 median, 1 the worst that did not fail."""
        return self.samples[self._rank(share)]

    def error(self, share: float) -> float:
        """The mean squared error of that set, rad^2."""
        return float(self.errors[self._rank(share)])

    def _rank(self, share: float) -> int:
        finite = np.flatnonzero(np.isfinite(self.errors))
        if len(finite) == 0:
            raise UserError(f"random search: none of {len(self.errors)} candidates stayed finite; use narrower bounds")
        order = finite[np.argsort(self.errors[finite])]
        return int(order[round(share * (len(order) - 1))])
