"""Disturbing forces act when, where and as long as they should."""

from __future__ import annotations

import pytest
import torch

import tasks
from dexsim.env.draws import EpisodeDraws
from dexsim.env.perturbation import KINDS, Perturbation, PerturbationSettings
from dexsim.errors import UserError

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
    assert torch.equal(drawn("push").force(drawn("push")._begin)[0], torch.tensor([-3.0, 0.0, 0.0]))
    assert torch.equal(drawn("pull").force(drawn("pull")._begin)[0], torch.tensor([3.0, 0.0, 0.0]))
    knock = drawn("knock").force(drawn("knock")._begin)
    assert (knock[:, 2] == 0).all()
    assert knock[:, :2].mean(dim=0).abs().max() < 0.5
    drag = drawn("drag").force(drawn("drag")._begin)
    assert torch.allclose(drag[:, 2], torch.tensor(-0.5 / 1.25**0.5 * 3.0))


@pytest.mark.parametrize("dt", [0.2, 0.08])
def test_a_force_of_no_whole_number_of_policy_steps_keeps_its_impulse(dt: float) -> None:
    knock = drawn("knock", dt=dt)
    impulse = torch.stack([knock.force(torch.full_like(IDS, step)) for step in range(80)]).sum(dim=0) * dt
    assert torch.allclose(torch.linalg.vector_norm(impulse, dim=1), torch.tensor(0.3))


def test_a_pull_moves_the_object_away_from_the_robot_from_its_moment_on() -> None:
    pull = PerturbationSettings("pull", 4.0, (0.1, 0.1))
    section = {"name": "box_lift", "box_mass": 0.1, "init": "default"}
    pulled, left_alone = (
        tasks.make_env(section, {"name": "gr1t2"}, {"threads": 1}, num_envs=2, perturbation=each)
        for each in (pull, None)
    )
    for env in (pulled, left_alone):
        env.reset()
    speeds = []
    for _ in range(7):
        for env in (pulled, left_alone):
            env.step(torch.zeros(2, env.num_actions))
        speeds.append((pulled.world.state.object_velocity - left_alone.world.state.object_velocity)[:, 0, 0])
    before, after = torch.stack(speeds[:5]), torch.stack(speeds[5:])
    assert before.abs().max() < 1e-3
    # 4 N less the table's friction, mu m g = 1 N, on 0.1 kg: 3 m/s after 0.1 s.
    assert after[0].sub(3.0).abs().max() < 0.3
    # What a disturbed episode goes on to is part of the state.
    state, last = pulled.get_state(), pulled.step(torch.zeros(2, pulled.num_actions)).obs["states"]
    pulled.reset()
    pulled.set_state(state)
    assert torch.equal(pulled.step(torch.zeros(2, pulled.num_actions)).obs["states"], last)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"kind": "shove"}, "kind = 'shove'"), ({"magnitude": -1.0}, "magnitude"), ({"start": (0.6, 0.2)}, "start")],
)
def test_what_cannot_be_is_refused(given: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PerturbationSettings(**given)
