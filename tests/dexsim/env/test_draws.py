"""Random numbers that belong to an episode."""

from __future__ import annotations

import math

import pytest
import torch

from dexsim.env.draws import Columns, EpisodeDraws


def draws(seed: int = 0, envs: int = 1000, episode: int = 0) -> EpisodeDraws:
    return EpisodeDraws(seed, torch.arange(envs), torch.full((envs,), episode))


def test_numbers_never_change() -> None:
    """A change here is another world for every seed: evaluation sets would differ between versions."""
    values = EpisodeDraws(7, torch.tensor([0, 3]), torch.tensor([0, 12])).uniform("object_mass", 2)
    assert values.dtype == torch.float64
    assert values.tolist() == [[0.6672996942990147, 0.030050075494583384], [0.2589652535353444, 0.2446969064477581]]


def test_draws_are_uniform() -> None:
    values = draws(envs=20000).uniform("x", 3, -2.0, 6.0)
    assert values.shape == (20000, 3)
    assert float(values.min()) >= -2.0
    assert float(values.max()) < 6.0
    assert torch.allclose(values.mean(dim=0), torch.full((3,), 2.0).double(), atol=4 * 8 / math.sqrt(12 * 20000))
    counts = torch.histc(values.float(), bins=20, min=-2.0, max=6.0)
    expected = 3000.0
    assert float(((counts - expected) ** 2 / expected).sum()) < 50  # chi squared, 19 degrees of freedom


@pytest.mark.parametrize("change", ["seed", "environment", "episode", "name", "column"])
def test_whatever_differs_makes_independent_numbers(change: str) -> None:
    count = 10000
    base = draws(envs=count).uniform("x", 2)
    other = {
        "seed": lambda: draws(seed=1, envs=count).uniform("x", 1),
        "environment": lambda: base.roll(1, dims=0),
        "episode": lambda: draws(envs=count, episode=1).uniform("x", 1),
        "name": lambda: draws(envs=count).uniform("y", 1),
        "column": lambda: base[:, 1:],
    }[change]()
    pair = torch.stack([base[:, 0], other[:, 0]])
    assert abs(float(torch.corrcoef(pair)[0, 1])) < 4 / math.sqrt(count)
    assert not torch.equal(pair[0], pair[1])


def test_an_episode_s_numbers_depend_on_no_other_environment() -> None:
    everyone = draws(envs=8).uniform("x", 4)
    some = EpisodeDraws(0, torch.tensor([5, 2]), torch.tensor([0, 0]))
    assert torch.equal(some.uniform("x", 4), everyone[[5, 2]])
    assert torch.equal(some.uniform("x", 2), everyone[[5, 2], :2])
    assert len(some) == 2


def test_draws_that_share_columns_may_take_turns() -> None:
    columns = Columns()
    first, second = (EpisodeDraws(0, torch.arange(4), torch.full((4,), e), columns) for e in (0, 1))
    alone = EpisodeDraws(0, torch.arange(4), torch.zeros(4, dtype=torch.int64))
    first.uniform("x", 1)
    second.uniform("y", 2)
    assert torch.equal(first.uniform("y", 2), alone.uniform("y", 2))
    assert torch.equal(first.uniform("x", 3, -1.0, 1.0), alone.uniform("x", 3, -1.0, 1.0))


def test_index_takes_every_value_alike() -> None:
    index = draws(envs=10000).index("bank", 7)
    assert index.dtype == torch.int64
    share = torch.bincount(index, minlength=7) / 10000
    assert len(share) == 7
    assert torch.allclose(share, torch.full((7,), 1 / 7), atol=0.015)


def test_large_seeds_and_episodes_are_fine() -> None:
    values = EpisodeDraws(2**63 - 1, torch.tensor([2**20]), torch.tensor([2**40])).uniform("x", 1)
    assert 0 <= float(values) < 1
