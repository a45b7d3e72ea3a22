"""PPO settings: presets and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from dexsim import settings
from dexsim.errors import UserError
from dexsim.rl.ppo import PpoSettings, rl_games_params
from tests.fakes import ppo


def test_the_networks_are_those_of_the_paper() -> None:
    preset = settings.load(PpoSettings, "rl/paper")
    assert preset.actor.units == preset.critic.units == (512, 512, 512)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"discount_s": 0.0}, r"rl\.discount_s = 0\.0: must be positive"),
        ({"actor": {"learning_rate": 0}}, r"rl\.actor\.learning_rate = 0\.0: must be in"),
        ({"critic": {"units": []}}, r"rl\.critic\.units = \(\): must be"),
        ({"critic": {"mini_epochs": 0}}, r"rl\.critic\.mini_epochs = 0"),
        ({"activation": "elo"}, r"rl\.activation = 'elo'; allowed: .*did you mean 'elu'"),
        ({"discount": 0.9}, r"unknown key 'rl\.discount'.*did you mean 'discount_s'"),
        ({"horizon": "long"}, r"rl\.horizon = 'long': expected int"),
    ],
)
def test_a_wrong_value_is_named(section: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ppo(**section)


def test_minibatches_must_divide_the_rollout() -> None:
    with pytest.raises(UserError, match=r"rl\.actor\.minibatches=4 .* 3 \* 15 = 45"):
        rl_games_params(ppo(horizon=15), num_envs=3, seed=0)
