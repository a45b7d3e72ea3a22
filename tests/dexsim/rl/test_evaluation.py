"""Episodes are counted without favouring short ones."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from dexsim.errors import UserError
from dexsim.rl.evaluation import run_episodes
from tests.fakes import PointEnv


def to_goal(obs: torch.Tensor) -> torch.Tensor:
    """Fly to the goal, but from some starts never arrive: some episodes are short, others run into the time limit."""
    step = (obs[:, 3:] - obs[:, :3]).mul(10).clamp(-1, 1)
    return torch.where(obs[:, 3:4] > 0, step, torch.zeros(()))


@pytest.mark.parametrize(("num_envs", "episodes"), [(8, 40), (7, 31), (5, 3)])
def test_each_environment_gives_its_first_episodes(num_envs: int, episodes: int) -> None:
    rows = run_episodes(PointEnv(num_envs), to_goal, episodes)
    assert len(rows) == episodes
    counts = Counter(row["env"] for row in rows)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all([r["episode"] for r in rows if r["env"] == env] == list(range(n)) for env, n in counts.items())


def test_short_episodes_are_not_favoured() -> None:
    rows = run_episodes(PointEnv(20), to_goal, 2000)
    lengths = {success: [row["length"] for row in rows if row["success"] == success] for success in (False, True)}
    assert sum(lengths[True]) / len(lengths[True]) < 15 < sum(lengths[False]) / len(lengths[False])
    assert 0.46 < len(lengths[True]) / len(rows) < 0.54


def test_a_row_tells_all() -> None:
    row = run_episodes(PointEnv(1), to_goal, 1)[0]
    assert row.keys() == {
        *("env", "episode", "terminated", "return", "length", "success", "picked_up", "stage_near"),
    }


def test_no_episodes_are_refused() -> None:
    with pytest.raises(UserError, match="episodes = 0"):
        run_episodes(PointEnv(1), to_goal, 0)
