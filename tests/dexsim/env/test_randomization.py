"""What varies, and what cannot."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from dexsim import settings
from dexsim.env.draws import EpisodeDraws
from dexsim.env.randomization import RandomForce, RandomizationSettings, draw_parameters
from dexsim.errors import UserError
from dexsim.parameters import EPISODE, PARAMETERS, Choices, nominal
from dexsim.robots import load
from dexsim.robots.constants import check
from dexsim.scene import ObjectSpec, Scene
from tests.simulated import PAPER

SCENE = Scene(
    load("gr1t2"),
    objects=(
        ObjectSpec("box", "box", (0.1, 0.2, 0.3), 0.065),
        ObjectSpec("can", "cylinder", (0.06, 0.06, 0.1), 0.1, position=(0.6, 0.3, 0.05)),
    ),
)


def build(**values: Any) -> RandomizationSettings:
    return settings.load(RandomizationSettings, "randomization/none", values)


def first_episodes(count: int) -> EpisodeDraws:
    return EpisodeDraws(0, torch.arange(count), torch.zeros(count, dtype=torch.long))


def test_paper_is_table_4() -> None:
    assert settings.to_dict(build(**PAPER)) == settings.to_dict(build()) | {
        "object_mass": [0.03, 0.1],
        "object_friction": [0.5, 1.5],
        "object_scale": [0.95, 1.05],
        "hand_friction": [0.5, 1.5],
        "stiffness_scale": [0.8, 1.1],
        "damping_scale": [0.7, 1.2],
        "initial_position": 0.02,
        "initial_yaw": 0.75,
        "force_scale": 2.0,
        "force_probability": 0.2,
        "force_decay": 0.99,
        "object_position_noise": 0.02,
        "joint_noise": 0.4,
        "action_noise": 0.1,
        "frame_lag": 0.1,
        "action_lag": 0.1,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"object_mass": [0.1, 0.03]},
            r"object_mass = \[0.1, 0.03\]: must be \[low, high\] with 0.001 <= low <= high <= 50",
        ),
        ({"object_mass": [0.0, 0.1]}, r"object_mass = \[0.0, 0.1\]: must be "),
        ({"hand_friction": [-0.5, 1.0]}, r"hand_friction = \[-0.5, 1.0\]: must be \[low, high\] with 0 <= low"),
        ({"object_scale": [0.0, 1.0]}, r"object_scale = \[0.0, 1.0\]: must be \[low, high\] with 0.01 <= low"),
        ({"stiffness_scale": [0.8]}, r"stiffness_scale = \[0.8\]: expected "),
        ({"damping_scale": 1.0}, r"damping_scale = 1.0: expected "),
        ({"frame_lag": 1.5}, r"frame_lag = 1.5: must be 0 to 1"),
        ({"force_probability": -0.1}, r"force_probability = -0.1: must be 0 to 1"),
        ({"force_decay": 1.01}, r"force_decay = 1.01: must be 0 to 1"),
        ({"joint_noise": -0.4}, r"joint_noise = -0.4: must be 0 or more"),
        ({"initial_yaw": "far"}, r"initial_yaw = 'far': expected float"),
        ({"joint_nois": 0.4}, r"unknown key 'randomization.joint_nois' = 0.4; allowed: .*did you mean 'joint_noise'\?"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(values: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(**values)
    assert "\n" not in str(caught.value)
    assert "randomization." in str(caught.value)


def test_off_is_nominal() -> None:
    plain = build()
    assert all(not getattr(plain, field.name) for field in fields(plain) if field.name != "force_decay")
    values = draw_parameters(plain, nominal(SCENE), first_episodes(3), Choices(SCENE))
    assert not values


def test_each_object_draws_its_own_and_paper_values_are_within_bounds() -> None:
    draws = first_episodes(500)
    values = draw_parameters(build(**PAPER), nominal(SCENE), draws, Choices(SCENE))
    assert {name: value.shape[1] for name, value in values.items()} == {
        "joint_stiffness": 26, "joint_damping": 26, "hand_friction": 1, "object_mass": 2, "object_friction": 2,
        "object_size": 6,
    }  # fmt: skip
    assert set(values) < set(EPISODE)
    check(values, PARAMETERS)
    for name in ("object_mass", "object_friction"):
        assert abs(float(torch.corrcoef(values[name].T)[0, 1])) < 0.2, name
    scale = values["object_size"] / nominal(SCENE)["object_size"]
    assert 0.95 <= float(scale.min()) < 0.951
    assert 1.049 < float(scale.max()) <= 1.05


def test_scaled_out_of_bounds_is_refused() -> None:
    wide = build(stiffness_scale=[100.0, 100.0])
    with pytest.raises(UserError, match=r"joint_stiffness from .* to \d+; allowed: 0.01 to 2000 N m/rad"):
        check(
            draw_parameters(wide, nominal(SCENE), first_episodes(1), Choices(SCENE)),
            PARAMETERS,
        )


@pytest.mark.parametrize("dt", [0.1, 0.2])
def test_force_has_the_table_s_rate_and_decay_at_any_policy_rate(dt: float) -> None:
    force = RandomForce(build(force_scale=2.0, force_probability=0.2, force_decay=0.99), (1000, 1), dt)
    assert force.active
    random = torch.Generator().manual_seed(0)
    mass = torch.full((1000, 1), 0.05).double()
    fresh, last, sizes = [], force.wrench.clone(), []
    for _ in range(100):
        now = force.step(mass, random).clone()
        kept = torch.isclose(now[:, 0, :3], last[:, 0, :3] * 0.99 ** (dt / 0.1), rtol=1e-5).all(dim=1)
        fresh.append(~kept)
        sizes.append(now[~kept, 0, :3])
        last = now
    probability = 1 - 0.8 ** (dt / 0.1)
    assert float(torch.stack(fresh).double().mean()) == pytest.approx(probability, abs=0.01)
    assert float(torch.cat(sizes).std()) == pytest.approx(2.0 * 0.05, rel=0.02)
    assert not last[..., 3:].any()


def test_no_force_is_inactive() -> None:
    assert not RandomForce(build(force_scale=2.0), (1, 1), 0.1).active
    assert not RandomForce(build(force_probability=0.2), (1, 1), 0.1).active


def test_round_objects_stay_round() -> None:
    can, ball = (ObjectSpec(shape, shape, (0.06, 0.06, 0.06), 0.1) for shape in ("cylinder", "sphere"))
    scene = Scene(load("gr1t2"), objects=(can, ball))
    draws = first_episodes(50)
    size = draw_parameters(build(**PAPER), nominal(scene), draws, Choices(scene))["object_size"].view(50, 2, 3)
    assert torch.equal(size[:, 0, 0], size[:, 0, 1])
    assert not torch.equal(size[:, 0, 0], size[:, 0, 2])
    assert torch.equal(size[:, 1, 0], size[:, 1, 2])
    assert len(size[:, 1, 0].unique()) == 50
