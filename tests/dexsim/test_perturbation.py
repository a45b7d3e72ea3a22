"""Disturbing forces act when, where and as long as they should."""

from __future__ import annotations

import pytest
import torch

from dexsim.errors import UserError
from dexsim.perturbation import KINDS, Perturbation, PerturbationSettings
from dexsim.rng import EpisodeDraws

IDS = torch.arange(200)


def drawn(kind: str, magnitude: float = 3.0, dt: float = 0.1) -> Perturbation:
    perturbation = Perturbation(PerturbationSettings(kind, magnitude), len(IDS), episode_s=5.0, dt=dt)
    perturbation.draw(IDS, EpisodeDraws(0, IDS, torch.zeros_like(IDS)))
    return perturbation


@pytest.mark.parametrize("kind", KINDS)
def test_a_force_acts_once_for_its_duration(kind: str) -> None:
    perturbation = drawn(kind)
    forces = torch.stack([perturbation.force(torch.full_like(IDS, step)) for step in range(60)])
    size = torch.linalg.vector_norm(forces, dim=-1)
    acting = size > 0
    assert torch.allclose(size[acting], torch.tensor(3.0))
    assert (acting.sum(dim=0) == round(KINDS[kind].duration / 0.1)).all()
    begin = acting.int().argmax(dim=0)
    assert begin.min() >= 15
    assert begin.max() <= 30
    assert len(begin.unique()) > 10


def test_push_comes_towards_the_robot_and_pull_goes_away_and_knock_is_horizontal() -> None:
    step = torch.full_like(IDS, 30)
    assert torch.equal(drawn("push").force(drawn("push")._begin)[0], torch.tensor([-3.0, 0.0, 0.0]))
    assert torch.equal(drawn("pull").force(drawn("pull")._begin)[0], torch.tensor([3.0, 0.0, 0.0]))
    knock = drawn("knock").force(drawn("knock")._begin)
    assert (knock[:, 2] == 0).all()
    assert knock[:, :2].mean(dim=0).abs().max() < 0.5
    assert (drawn("drag").force(step)[:, 2] <= 0).all()


def test_a_force_shorter_than_a_policy_step_keeps_its_impulse() -> None:
    slow = drawn("knock", dt=0.2)
    assert torch.allclose(torch.linalg.vector_norm(slow.force(slow._begin), dim=1), torch.tensor(1.5))


@pytest.mark.parametrize(
    ("given", "message"),
    [({"kind": "shove"}, "kind = 'shove'"), ({"magnitude": -1.0}, "magnitude"), ({"start": (0.6, 0.2)}, "start")],
)
def test_what_cannot_be_is_refused(given: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PerturbationSettings(**given)
