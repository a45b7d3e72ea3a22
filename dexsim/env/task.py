"""What an environment needs to know of a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dexsim.backends.base import InitialState
from dexsim.control.observations import ObservationTerm
from dexsim.env.draws import EpisodeDraws
from dexsim.env.randomization import RandomizationSettings
from dexsim.env.world import World
from dexsim.robots import RobotSpec
from dexsim.scene import Scene

__all__ = ["InitialState", "Start", "Task", "Term", "weighted_sum"]

Term = Callable[[World], Tensor]


@dataclass
class Start:
    """How some environments' episodes start: n environments.

    Attributes:
        state: joints and objects.
        goals: (n, P, 3) one for each phase, m.
        mirrored: (n,) bool for a two-sided task.
        phase: (n,) int64, None for the first.
        later: (n,) bool, which start in a later stage of the task; None for none.
    """

    state: InitialState
    goals: Tensor
    mirrored: Tensor | None = None
    phase: Tensor | None = None
    later: Tensor | None = None


class Task(ABC):
    """What a policy learns. All functions are batched; N environments, n of them that start anew.

    A task is made as `Task(settings, robot, device)`; tensors that it keeps are on that device.

    Attributes:
        name: its name.
        Settings: dataclass of its config section `task`.
        episode_s: length of an episode in s.
        hold_s: how long success must have held when the episode ends, in s.
        actor: what the actor sees.
        critic: what the critic sees.
        rewards: name -> (weight, term); each is logged.
        stage_names: the keys of `stages`, in order; none where there are none.
        symmetric: whether its mirror image in the x-z plane is the same task.
        two_sided: whether episodes come in two mirror images, one with each hand in the main part: the policy sees and
            acts in the mirror where `Start.mirrored` says so, and so always plays the same part.
        joints: names of the joints that the policy moves, None for all; for a two-sided task as the policy sees them.
        phases: how many there are, each with a goal of its own.
        capabilities: what the backend must be able to do.
    """

    name: str
    Settings: type[Any]
    episode_s: float
    hold_s: float
    actor: tuple[ObservationTerm, ...]
    critic: tuple[ObservationTerm, ...]
    rewards: Mapping[str, tuple[float, Term]]
    stage_names: tuple[str, ...] = ()
    symmetric: bool = False
    two_sided: bool = False
    joints: tuple[str, ...] | None = None
    phases: int = 1
    capabilities: frozenset[str] = frozenset({"parameters"})

    @classmethod
    def with_content(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """The config section `task` with the content of files that it names: what a checkpoint keeps.

        A task whose settings may name files returns what its `Settings` take in their place.
        """
        return dict(section)

    def check(self, randomization: RandomizationSettings) -> None:  # noqa: B027 - most tasks take everything
        """Refuse what varies by more than the task can start with.

        Raises:
            UserError: with the key of `randomization` and what is allowed.
        """

    @abstractmethod
    def scene(self, robot: RobotSpec, timestep: float) -> Scene:
        """The scene at nominal."""

    @abstractmethod
    def start(self, draws: EpisodeDraws, parameters: Mapping[str, Tensor], jitter: RandomizationSettings) -> Start:
        """Draw initial states and goals; `parameters` are the drawn ones (n, k), `jitter` says how poses vary."""

    @abstractmethod
    def success(self, world: World) -> Tensor:
        """(N,) whether the goal is met now."""

    def failure(self, world: World) -> Tensor:
        """(N,) whether the episode is lost and ends; never, if a task does not say so."""
        return torch.zeros_like(world.mirrored)

    def next_phase(self, world: World) -> Tensor:
        """(N,) int64 the phase that each episode is in from now on; asked after each step where there are several."""
        return world.phase

    def stages(self, world: World) -> dict[str, Tensor]:
        """Name -> (N,) whether a stage is reached now; reported as 'ever reached in the episode'."""
        return {}

    def metrics(self, world: World) -> dict[str, Tensor]:
        """Name -> (N,) figures of how an episode ended, for evaluation."""
        return {}

    def marker_positions(self, world: World) -> Tensor:
        """Contact markers in the world, (N, n, 3) m: for drawing."""
        return world.goal[:, None][:, :0]

    def describe(self) -> dict[str, Any]:
        """What whoever runs the policy on a robot must know of the task, as plain data for the manifest."""
        return {"episode_s": self.episode_s, "success": {"hold_s": self.hold_s}}


def weighted_sum(rewards: Mapping[str, tuple[float, Term]], world: World) -> tuple[Tensor, dict[str, Tensor]]:
    """Total reward (N,) and its weighted terms by name."""
    terms: dict[str, Tensor] = {name: weight * term(world) for name, (weight, term) in rewards.items()}
    return torch.stack(list(terms.values())).sum(dim=0), terms
