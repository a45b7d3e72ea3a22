"""Small box-lift environments for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import tasks
from dexsim import settings
from dexsim.env.env import Env, StepResult

PAPER: dict[str, Any] = settings.shipped("randomization", "paper")


def make(
    num_envs: int = 4,
    seed: int = 0,
    randomization: Mapping[str, Any] | None = None,
    threads: int = 1,
    control: Mapping[str, Any] | None = None,
    robot: str = "gr1t2",
    dump_dir: Path | None = None,
    **task: Any,
) -> Env:
    """Box lift with a single simulation thread; `task` overrides its settings."""
    return tasks.make_env(
        {"name": "box_lift", **task},
        {"name": robot},
        {"threads": threads},
        randomization,
        control,
        num_envs,
        seed,
        dump_dir,
    )


def random_actions(steps: int, num_envs: int = 4, seed: int = 0) -> torch.Tensor:
    """Uniform in [-1, 1], (steps, num_envs, 26)."""
    return 2 * torch.rand(steps, num_envs, 26, generator=torch.Generator().manual_seed(seed)) - 1


def roll(env: Env, actions: torch.Tensor) -> StepResult:
    """Apply actions (steps, N, 26); return the last step's result."""
    results = [env.step(action) for action in actions]
    return results[-1]


def freeze(env: Env, monkeypatch: Any) -> None:
    """Let time stand still in the simulator: what is left is the environment's own work."""
    monkeypatch.setattr(env.backend, "step", lambda substeps: torch.zeros(env.num_envs, dtype=torch.bool))
