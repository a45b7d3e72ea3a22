"""A policy rebuilt from its checkpoint, and its export."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from dexsim import settings
from dexsim.rl import checkpoint, export
from dexsim.rl.agent import Budget, PpoAgent
from dexsim.rl.observer import TrainingObserver
from dexsim.rl.player import Policy
from dexsim.rl.ppo import LearnerSettings, PpoSettings, rl_games_params
from dexsim.rl.vecenv import env_info
from tests.fakes import PointEnv

SETTINGS = PpoSettings(actor=LearnerSettings(units=(32, 16)), critic=LearnerSettings(units=(24,)), horizon=8)


class Relative(nn.Module):
    """Targets move by up to a tenth, and stay near the joints."""

    num_joints = 3

    def forward(self, action: torch.Tensor, previous: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        return position + (previous + 0.1 * action - position).clamp(-0.5, 0.5)


class Absolute(nn.Module):
    """Actions are targets; the other inputs are without effect."""

    num_joints = 3

    def forward(self, action: torch.Tensor, previous: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        return 2.0 * action


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


@pytest.mark.parametrize("action_map", [Relative(), Absolute()])
def test_export(run_dir: Path, tmp_path: Path, action_map: Any) -> None:
    import onnxruntime

    manifest = export.export(checkpoint.load(run_dir), action_map, tmp_path / "policy.onnx")
    assert manifest["max_error"] <= 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "policy.onnx"))
    inputs = {"obs": torch.randn(7, 6), "previous_target": torch.randn(7, 3), "joint_position": torch.randn(7, 3)}
    assert [item.name for item in session.get_inputs()] == list(inputs)
    action, target = session.run(["action", "joint_target"], {name: value.numpy() for name, value in inputs.items()})
    obs, *joints = inputs.values()
    expected = Policy.load(run_dir)(obs)
    assert torch.allclose(torch.from_numpy(action), expected, atol=1e-5)
    assert torch.allclose(torch.from_numpy(target), action_map(expected, *joints), atol=1e-5)


def test_manifest(run_dir: Path, tmp_path: Path) -> None:
    export.export(checkpoint.load(run_dir), cast("Any", Relative()), tmp_path / "policy.onnx")
    manifest = json.loads((tmp_path / "policy.json").read_text())
    assert [joint["name"] for joint in manifest["joints"]] == ["x", "y", "z"]
    assert manifest["rates"] == {"policy_hz": 10.0}
    assert manifest["observation"] == {"position": [0, 3], "goal": [3, 6]}
    assert manifest["inputs"] == {"obs": ["batch", 6], "previous_target": ["batch", 3], "joint_position": ["batch", 3]}
    assert manifest["version"] == "1.2.3"
    assert manifest["model_sha256"] == hashlib.sha256((tmp_path / "policy.onnx").read_bytes()).hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.json", "policy.onnx"]


def test_an_export_that_differs_is_refused(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="differs from torch"):
        export.export(checkpoint.load(run_dir), cast("Any", Relative()), tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())
