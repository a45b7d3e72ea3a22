"""Makes the search that a stage names."""

from __future__ import annotations

import numpy as np

from real2sim.search.base import Search, SearchSettings
from real2sim.search.cma import CmaSearch
from real2sim.search.exchange import ExchangeSearch
from real2sim.search.gauss_newton import GaussNewton, copies
from real2sim.search.random import RandomSearch
from real2sim.search.space import SearchSpace


def make_search(settings: SearchSettings, space: SearchSpace, x: np.ndarray, seed: int) -> Search:
    """Begin a search at x (P,)."""
    if settings.method == "random":
        return RandomSearch(settings, x, seed)
    if settings.method == "cma":
        return CmaSearch(settings, space, x, seed)
    if settings.method == "exchange":
        return ExchangeSearch(settings, x)
    return GaussNewton(settings, x)


def batch_size(settings: SearchSettings, space: SearchSpace) -> int:
    """Simulations of a step of a search; of its first for exchange about as many more."""
    if settings.method == "gauss_newton":
        return copies(space)
    return 2 * copies(space.apart()) if settings.method == "exchange" else settings.candidates
