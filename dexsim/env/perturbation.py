"""Disturbances that an evaluation puts on the object: knock, push, pull and drag (arXiv 2502.20396, robustness).

Each episode is disturbed once, from a moment drawn for it on; what it is depends on seed, environment and episode only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dexsim.env.draws import EpisodeDraws
from dexsim.errors import require


class Kind(NamedTuple):
    """How long a disturbance lasts in s, and where to: x and y of a unit vector, None for a drawn horizontal one."""

    duration: float
    direction: tuple[float, float] | None
    down: float


KINDS: dict[str, Kind] = {
    "knock": Kind(0.1, None, 0.0),
    "push": Kind(1.0, (-1.0, 0.0), 0.0),  # towards the robot
    "pull": Kind(1.0, (1.0, 0.0), 0.0),  # away from it
    "drag": Kind(2.0, None, 0.5),  # sideways and down
}


@dataclass(frozen=True)
class PerturbationSettings:
    """A disturbance.

    Attributes:
        kind: one of `KINDS`, or "none".
        magnitude: N.
        start: when it may begin, as a share of the episode, [earliest, latest].
    """

    kind: str = "none"
    magnitude: float = 0.0
    start: tuple[float, float] = (0.3, 0.6)

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        require(self.kind in KINDS or self.kind == "none", "kind", self.kind, f"none, {', '.join(KINDS)}")
        require(0 <= self.magnitude <= 1000, "magnitude", self.magnitude, "0 to 1000 N")
        low, high = self.start
        require(
            0 <= low <= high <= 1, "start", list(self.start), "[earliest, latest] with 0 <= earliest <= latest <= 1"
        )


class Perturbation:
    """The force on the first object of each of N environments.

    Args:
        settings: what disturbs.
        num_envs: N.
        episode_s: length of an episode in s.
        dt: policy period in s.
        device: where the tensors are.
    """

    def __init__(
        self,
        settings: PerturbationSettings,
        num_envs: int,
        episode_s: float,
        dt: float,
        device: torch.device | str | None = None,
    ) -> None:
        self._settings, self._episode_s, self._dt = settings, episode_s, dt
        self.active = settings.kind != "none" and settings.magnitude > 0
        self._kind = KINDS.get(settings.kind, Kind(0.0, None, 0.0))
        self._begin = torch.zeros(num_envs, dtype=torch.long, device=device)
        self._force = torch.zeros(num_envs, 3, device=device)

    def draw(self, env_ids: Tensor, draws: EpisodeDraws) -> None:
        """Draw when and where to, for the next episode of some environments."""
        kind, magnitude = self._kind, self._settings.magnitude
        begin = draws.uniform("perturbation_start", 1, *self._settings.start)[:, 0] * self._episode_s
        self._begin[env_ids] = (begin / self._dt).round().long()
        angle = draws.uniform("perturbation_angle", 1, 0.0, 2 * torch.pi)[:, 0]
        horizontal = torch.stack([angle.cos(), angle.sin()], dim=1)
        if kind.direction is not None:
            horizontal = horizontal.new_tensor(kind.direction).expand(len(draws), 2)
        force = torch.cat([horizontal, torch.full_like(horizontal[:, :1], -kind.down)], dim=1)
        self._force[env_ids] = (magnitude * force / torch.linalg.vector_norm(force, dim=1, keepdim=True)).float()

    def get_state(self) -> dict[str, Tensor]:
        """What going on exactly from here needs."""
        return {"begin": self._begin.clone(), "force": self._force.clone()}

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `get_state()`."""
        self._begin.copy_(state["begin"])
        self._force.copy_(state["force"])

    def force(self, step: Tensor) -> Tensor:
        """Force (N, 3) in N, world frame, during policy step `step` (N,) of the episodes."""
        steps = max(1, round(self._kind.duration / self._dt))
        acting = (step >= self._begin) & (step < self._begin + steps)
        # Whole policy steps, with the impulse of the disturbance's own duration.
        share = self._kind.duration / (steps * self._dt)
        return self._force * share * acting[:, None]
