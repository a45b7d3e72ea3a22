"""A policy rebuilt from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dexsim import settings
from dexsim.rl.agent import Budget, PpoAgent
from dexsim.rl.observer import TrainingObserver
from dexsim.rl.player import Policy
from dexsim.rl.ppo import rl_games_params
from dexsim.rl.vecenv import env_info
from tests.fakes import PointEnv, ppo

SETTINGS = ppo(actor={"units": [32, 16]}, critic={"units": [24]}, horizon=8)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    env = PointEnv(32)
    identity = {"config": {"rl": settings.to_dict(SETTINGS)}, "spec_table": env.spec_table(), "version": "1.2.3"}
    agent = PpoAgent(env, SETTINGS, Budget(frames=2048), TrainingObserver(path), path, identity)
    agent.learn()
    agent.algo_observer.close()
    return path


def rl_games_player(file: Path) -> Any:
    from rl_games.torch_runner import Runner

    params = rl_games_params(SETTINGS, 32, seed=0)
    params["config"].update(env_info=env_info(6, 9, 3), vec_env=None)
    runner = Runner()
    runner.load({"params": params})
    player = runner.create_player()
    player.restore(str(file))
    player.has_batch_dimension = True
    return player


def test_policy_equals_the_player_of_rl_games(run_dir: Path) -> None:
    obs = 3 * torch.randn(100, 6)
    expected = rl_games_player(run_dir / "checkpoints" / "last.pt").get_action(obs, True)
    policy = Policy.load(run_dir)
    assert (policy.num_obs, policy.num_actions) == (6, 3)
    assert torch.equal(policy(obs), expected)
    assert expected.abs().max() <= 1.0
