"""What all searches have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from dexsim.backends.base import TIMESTEPS
from dexsim.errors import require
from real2sim.search.problem import Problem
from real2sim.search.space import SearchSpace


@dataclass(frozen=True)
class SearchSettings:
    """One stage of a search.

    Attributes:
        method: "random" (Algorithm 1 of arXiv 2502.20396), "cma" (CMA-ES, block by block), "gauss_newton", or
            "exchange" (lag for damping and armature, joint by joint, then Gauss-Newton; after one of the others).
        steps: batches of candidates for random, generations for cma, at most that many iterations for the others.
        candidates: parameter sets simulated side by side; gauss_newton takes as many as its derivatives need, and
            exchange for its iterations too.
        window_s: length of the stretch of the log that is simulated, s; null for all of it.
        timestep: physics step, s; null for the backend's.
        sigma: cma: first standard deviation, as a share of the bounds.
        tolerance: gauss_newton and exchange: stops when a step improves twice the log likelihood by less, a joint and
            independent row.
    """

    method: Literal["random", "cma", "gauss_newton", "exchange"]
    steps: int
    candidates: int = 32
    window_s: float | None = None
    timestep: float | None = None
    sigma: float = 0.1
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        require(self.steps >= 1, "steps", self.steps, "at least 1")
        least = 6 if self.method == "cma" else 4
        require(self.candidates >= least, "candidates", self.candidates, f"at least {least} for {self.method}")
        require(self.window_s is None or self.window_s >= 2, "window_s", self.window_s, "at least 2, or null")
        if self.timestep is not None:
            within = TIMESTEPS[0] <= self.timestep <= TIMESTEPS[1]
            require(within, "timestep", self.timestep, "0.0005 to 0.02 s, or null")
        require(0 < self.sigma <= 1, "sigma", self.sigma, "above 0, up to 1")
        require(self.tolerance >= 0, "tolerance", self.tolerance, "0 or more")


class Search(Protocol):
    """A search under way. It holds no simulator, so that it can be stored between two steps and go on.

    Attributes:
        x: (P,) the best so far.
        mse: mean squared error over all joints in the stretch that is searched, of the best when last simulated, rad^2.
        count: steps taken.
        done: whether it has ended.
    """

    x: np.ndarray
    mse: float
    count: int
    done: bool

    def step(self, problem: Problem) -> None:
        """Take one step on the problem, or a part of it that is always the same."""
        ...


def batch_size(settings: SearchSettings, space: SearchSpace) -> int:
    """Simulations of a step of a search; of its first for exchange about as many more."""
    from real2sim.search.gauss_newton import copies

    if settings.method == "gauss_newton":
        return copies(space)
    return 2 * copies(space.apart()) if settings.method == "exchange" else settings.candidates


def make_search(settings: SearchSettings, problem: Problem, x: np.ndarray, seed: int) -> Search:
    """Begin a search at x (P,)."""
    from real2sim.search.cma import CmaSearch
    from real2sim.search.exchange import ExchangeSearch
    from real2sim.search.gauss_newton import GaussNewton
    from real2sim.search.random import RandomSearch

    if settings.method == "random":
        return RandomSearch(settings, x, seed)
    if settings.method == "cma":
        return CmaSearch(settings, problem, x, seed)
    if settings.method == "exchange":
        return ExchangeSearch(settings, x)
    return GaussNewton(settings, x)
