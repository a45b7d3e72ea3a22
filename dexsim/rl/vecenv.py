"""A `dexsim` environment as rl-games sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box

from dexsim.env.contract import LearnerEnv

Tensors = dict[str, torch.Tensor]


class VecEnv:
    """Hands rl-games the environment's tensors without a copy.

    Time-outs are bootstrapped and failures are not: `time_outs` marks the environments that were cut off while nothing
    had ended them. rl-games adds gamma * V to their last reward, with the value of the observation *before* that step,
    not of the terminal one; at the discounts used here the two differ by little.

    Args:
        env: Environment to wrap. It resets finished episodes by itself.
    """

    def __init__(self, env: LearnerEnv) -> None:
        self.env = env

    def reset(self) -> Tensors:
        """Start every environment anew; return `obs` (N, num_obs) and `states` (N, num_states)."""
        return self.env.reset()

    def step(self, actions: torch.Tensor) -> tuple[Tensors, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Apply actions (N, num_actions); return observations, rewards (N,), dones (N,) uint8 and infos."""
        result = self.env.step(actions)
        dones = (result.terminated | result.truncated).to(torch.uint8)
        infos = {**result.info, "time_outs": result.truncated & ~result.terminated}
        return result.obs, result.reward, dones, infos

    def get_env_info(self) -> dict[str, Any]:
        """Return the spaces that rl-games sizes its networks and buffers by."""
        return env_info(self.env.num_obs, self.env.num_states, self.env.num_actions)

    def set_train_info(self, frame: int, agent: object) -> None:
        """Ignore how far training is: no environment of ours depends on it."""

    def get_env_state(self) -> dict[str, Any]:
        """Return what the simulation continues from, for a checkpoint."""
        return self.env.get_state()

    def set_env_state(self, env_state: dict[str, Any] | None) -> None:
        """Continue from a state of `get_env_state`; from none the environments start when they are reset."""
        if env_state is not None:
            self.env.set_state(env_state)


def env_info(num_obs: int, num_states: int, num_actions: int) -> dict[str, Any]:
    """Return the spaces of an environment with so many observations, critic states and actions."""
    return {
        "observation_space": _box(np.inf, num_obs),
        "state_space": _box(np.inf, num_states),
        "action_space": _box(1.0, num_actions),
    }


def _box(bound: float, size: int) -> Box:
    return Box(-bound, bound, (size,), np.float32)
