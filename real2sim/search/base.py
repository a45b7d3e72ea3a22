"""What all searches have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dexsim.backends.base import TIMESTEPS
from dexsim.errors import require
from real2sim.search.problem import Problem
from real2sim.search.state import same_kind


@dataclass(frozen=True)
class SearchSettings:
    """One stage of a search.

    Attributes:
        method: "random" (Algorithm 1 of arXiv 2502.20396), "cma" (CMA-ES, block by block), "gauss_newton", or
            "exchange" (lag for damping and armature, joint by joint, then Gauss-Newton; after one of the others).
        steps: batches of candidates for random, generations for cma, at most that many iterations for the others.
        candidates: parameter sets simulated side by side; left out for gauss_newton, which takes as many as its
            derivatives need, as exchange does for its iterations.
        window_s: length of the stretch of the log that is simulated, s; null for all of it.
        timestep: physics step, s; null for the backend's.
        sigma: cma: first standard deviation, as a share of the bounds.
        tolerance: gauss_newton and exchange: stops when a step improves twice the log likelihood by less, a joint and
            independent row.
    """

    method: Literal["random", "cma", "gauss_newton", "exchange"]
    steps: int
    candidates: int = 0
    window_s: float | None = None
    timestep: float | None = None
    sigma: float = 0.1
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        require(self.steps >= 1, "steps", self.steps, "at least 1")
        least = {"cma": 6, "gauss_newton": 0}.get(self.method, 4)
        require(self.candidates >= least, "candidates", self.candidates, f"at least {least} for {self.method}")
        require(self.window_s is None or self.window_s >= 2, "window_s", self.window_s, "at least 2, or null")
        if self.timestep is not None:
            within = TIMESTEPS[0] <= self.timestep <= TIMESTEPS[1]
            require(within, "timestep", self.timestep, "0.0005 to 0.02 s, or null")
        require(0 < self.sigma <= 1, "sigma", self.sigma, "above 0, up to 1")
        require(self.tolerance >= 0, "tolerance", self.tolerance, "0 or more")


class Search(ABC):
    """A search under way. It holds no simulator, so that it can be stored between two steps and go on.

    Args:
        settings: its stage.
        x: (P,) where it begins.

    Attributes:
        x: (P,) the best so far.
        mse: mean squared error over all joints in the stretch that is searched, of the best when last simulated, rad^2.
        count: steps taken.
        done: whether it has ended.
    """

    def __init__(self, settings: SearchSettings, x: np.ndarray) -> None:
        self.settings, self.x, self.mse = settings, x.copy(), float("inf")
        self.count, self.done = 0, False

    @abstractmethod
    def step(self, problem: Problem) -> None:
        """Take one step on the problem, or a part of it that is always the same."""

    def get_state(self) -> dict[str, Any]:
        """All that a search of the same stage and space needs to go on; see `real2sim.search.state`."""
        return {"x": self.x, "mse": self.mse, "count": self.count, "done": self.done}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there; raises ValueError, KeyError or TypeError for what another search has stored."""
        self.x = same_kind(state["x"], self.x)
        self.mse, self.count, self.done = float(state["mse"]), int(state["count"]), bool(state["done"])
        if not 0 <= self.count <= self.settings.steps:
            raise ValueError("no step of this search")
