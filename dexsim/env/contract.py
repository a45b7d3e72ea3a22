"""What a learner may rely on: N environments that are stepped together and reset themselves.

`dexsim.rl` and `dexsim.vector` import this, and no environment. Whoever has an object with these members can train on
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class StepResult(NamedTuple):
    """What a step returns; N environments.

    Attributes:
        obs: the groups of observations by name, (N, ...) float32: "obs" for the actor, "states" for the critic, others
            as the environment has them; a finished environment's are of its new episode.
        reward: (N,) float32.
        terminated: (N,) bool, the episode was lost; not to be bootstrapped.
        truncated: (N,) bool, time was up; to be bootstrapped.
        info: `reward_terms`, name -> (N,). Where an episode ended, also, each (N, ...) and valid there: its terminal
            observations ("final_obs", "final_states"), "success", "stages" and "metrics" (name -> (N,)), "picked_up"
            where the task has such a stage,
            "episode_return", "episode_length", "later_start" (whether it began in a later stage of the task),
            "episode_parameters" (name -> (N, k)).
    """

    obs: Tensors
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    info: dict[str, Any]


class LearnerEnv(Protocol):
    """N copies of a task.

    Attributes:
        num_envs: N.
        num_obs: width of the group "obs".
        num_states: width of the group "states".
        num_actions: width of an action.
        dt: policy period in s.
        max_episode_length: policy steps.
        nonfinite_count: how many environments have been ended since their simulation or action was not finite.
        device: where all tensors are.
    """

    num_envs: int
    num_obs: int
    num_states: int
    num_actions: int
    dt: float
    max_episode_length: int
    nonfinite_count: int
    device: torch.device

    def seed(self, seed: int) -> None:
        """Start all random numbers anew; takes effect on the next `reset`."""
        ...

    def reset(self) -> Tensors:
        """Start the first episode of this seed in every environment; return the observations."""
        ...

    def step(self, actions: Tensor) -> StepResult:
        """Apply actions (N, num_actions) in [-1, 1] for one policy period."""
        ...

    def mirrors(self) -> Mapping[str, Callable[[Tensor], Tensor]] | None:
        """Mirror images of "obs", "states" and "actions", or None where the task is not left-right symmetric."""
        ...

    def spec_table(self) -> dict[str, Any]:
        """Everything that a policy is matched against: joints, rates, units, observation layout; plain data."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `get_state()` of an environment built the same way."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...
