"""A small environment that keeps the `LearnerEnv` contract, points that fly to their goals; configs for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dexsim import settings
from dexsim.control.symmetry import Mirror
from dexsim.env.contract import StepResult
from dexsim.rl.ppo import PpoSettings
from dexsim.runs import RunFolder

JOINTS = ("x", "y", "z")
RUN_FOLDER = ("name", "runs_dir", "objective")  # keys that the command line takes out of a verb's config


def ppo_section(actor: Any = None, critic: Any = None, **changes: Any) -> dict[str, Any]:
    """Config section `rl` as the paper has it, with keys of its own."""
    shipped = settings.shipped("rl", "paper")
    learners = {"actor": {**shipped["actor"], **(actor or {})}, "critic": {**shipped["critic"], **(critic or {})}}
    return {**shipped, **learners, **changes}


def ppo(**changes: Any) -> PpoSettings:
    """`ppo_section` as settings."""
    return settings.build(PpoSettings, ppo_section(**changes), "rl")


def verb_config(verb: str, **changes: Any) -> dict[str, Any]:
    """Config of a verb as it ships, without its groups, with keys of its own."""
    return {key: value for key, value in settings.shipped("", verb).items() if key not in RUN_FOLDER} | changes


def run_verb(verb: Any, root: Path, given: Sequence[str] = (), **config: Any) -> RunFolder:
    """Run the module of a verb with keys of its own, in a run folder below `root`; `given` are those a user gave."""
    config = verb_config(verb.__name__.rpartition(".")[2], **config)
    with RunFolder.create("verb", "test", config, root, [f"{key}=..." for key in given]) as run:
        verb.main(config, run)
    return run


class PointEnv:
    """N points in three dimensions, moved by their velocities (N, 3); success is 5 cm around the goal, failure 2 m off.

    It is a `dexsim.env.contract.LearnerEnv`.

    Args:
        num_envs: Points.
        seed: Of the goals and starts.
        joints: Names in the joint table, so that a checkpoint can be offered to "another robot".
    """

    num_actions = 3
    num_obs = 6
    num_states = 9
    max_episode_length = 40
    nonfinite_count = 0
    device = torch.device("cpu")
    dt = 0.1

    def __init__(self, num_envs: int, seed: int = 0, joints: Sequence[str] = JOINTS) -> None:
        self.num_envs = num_envs
        self.obs_layout = {"position": slice(0, 3), "goal": slice(3, 6)}
        self.state_layout = {**self.obs_layout, "velocity": slice(6, 9)}
        self._joints = tuple(joints)
        self._random = torch.Generator()
        self.position, self.goal, self.velocity = (torch.zeros(num_envs, 3) for _ in range(3))
        self.length = torch.zeros(num_envs, dtype=torch.long)
        self.episode_return = torch.zeros(num_envs)
        self.seed(seed)

    def seed(self, seed: int) -> None:
        self._random.manual_seed(seed)

    def reset(self) -> dict[str, torch.Tensor]:
        self._start(torch.ones(self.num_envs, dtype=torch.bool))
        return self._observation()

    def step(self, actions: torch.Tensor) -> StepResult:
        self.velocity = actions.clamp(-1, 1)
        self.position = self.position + 0.1 * self.velocity
        self.length = self.length + 1
        distance = (self.position - self.goal).norm(dim=1)
        success = distance < 0.05
        failure = distance > 2.0
        terms = {"distance": -distance, "success": 10.0 * success, "failure": -50.0 * failure}
        reward = sum(terms.values())
        assert isinstance(reward, torch.Tensor)
        self.episode_return = self.episode_return + reward
        terminated = success | failure
        truncated = self.length >= self.max_episode_length
        final = self._observation()
        info = {
            "final_obs": final["obs"],
            "final_states": final["states"],
            "success": success,
            "picked_up": distance < 0.3,
            "stages": {"near": distance < 0.3},
            "reward_terms": terms,
            "episode_return": self.episode_return,
            "episode_length": self.length,
        }
        self._start(terminated | truncated)
        return StepResult(self._observation(), reward, terminated, truncated, info)

    def get_state(self) -> dict[str, Any]:
        names = ("position", "goal", "velocity", "length", "episode_return")
        return {"random": self._random.get_state(), **{name: getattr(self, name).clone() for name in names}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        state = dict(state)
        self._random.set_state(state.pop("random"))
        for name, value in state.items():
            setattr(self, name, value.clone())

    def close(self) -> None:
        pass

    def recorder(self) -> None:
        return None

    def mirrors(self) -> dict[str, Mirror]:
        """The task is the same in a mirror: y and -y change places."""
        signs = {"obs": 2, "states": 3, "actions": 1}
        return {name: Mirror([(i, -1.0 if i % 3 == 1 else 1.0) for i in range(3 * n)]) for name, n in signs.items()}

    def spec_table(self) -> dict[str, Any]:
        return {
            "joints": [{"name": name, "lower": -2.0, "upper": 2.0, "unit": "m"} for name in self._joints],
            "rates": {"policy_hz": 10.0},
            "action_mode": "velocity",
            "observation": {name: [part.start, part.stop] for name, part in self.obs_layout.items()},
        }

    def _start(self, where: torch.Tensor) -> None:
        count = int(where.sum())
        self.position, self.goal, self.velocity = self.position.clone(), self.goal.clone(), self.velocity.clone()
        self.position[where] = 0.5 * torch.randn(count, 3, generator=self._random)
        self.goal[where] = 0.5 * torch.randn(count, 3, generator=self._random)
        self.velocity[where] = 0.0
        self.length = torch.where(where, 0, self.length)
        self.episode_return = torch.where(where, 0.0, self.episode_return)

    def _observation(self) -> dict[str, torch.Tensor]:
        obs = torch.cat([self.position, self.goal], dim=1)
        return {"obs": obs, "states": torch.cat([obs, self.velocity], dim=1)}
