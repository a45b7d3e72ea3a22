"""Episodes of a policy, counted without favouring short ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from dexsim.env.contract import LearnerEnv, Tensors
from dexsim.errors import require
from dexsim.report.progress import ProgressLine, minutes

Episode = dict[str, Any]

# Figure of a finished episode -> where the environment's info has it.
EPISODE = {"return": "episode_return", "length": "episode_length", "success": "success", "picked_up": "picked_up"}


class Recorder(Protocol):
    """Measures what an environment does not report by itself."""

    def look(self) -> None:
        """Take in the state between two steps."""
        ...

    def figures(self, ended: Tensor) -> Tensors:
        """Name -> (N,) of the episodes so far; those that `ended` (N,) are forgotten."""
        ...


def run_episodes(
    env: LearnerEnv, policy: Callable[[Tensor], Tensor], episodes: int, recorder: Recorder | None = None
) -> list[Episode]:
    """Run exactly so many episodes, the same number in each environment (give or take one).

    Counting the first to finish would favour short ones; here each environment gives its first ones, long or short.

    Args:
        env: Freshly made or seeded.
        policy: Observations (N, num_obs) -> actions (N, num_actions).
        episodes: How many, over all environments.
        recorder: Whose figures become metrics too.

    Returns:
        An entry an episode, in the order of environments: `env`, `episode`, `return`, `length` (policy steps),
        `success`, `picked_up`, `terminated`, `stage_<name>`, `metric_<name>` and the episode's parameters.
    """
    require(episodes >= 1, "episodes", episodes, "at least 1")
    count = torch.zeros(env.num_envs, dtype=torch.long, device=env.device)
    quota = torch.full_like(count, episodes // env.num_envs)
    quota[: episodes % env.num_envs] += 1
    rows: list[Episode] = []
    progress = _Progress(episodes)
    with torch.inference_mode():
        obs = env.reset()
        while len(rows) < episodes:
            if recorder is not None:
                recorder.look()
            result = env.step(policy(obs["obs"]))
            obs = result.obs
            ended = result.terminated | result.truncated
            counted = (ended & (count < quota)).nonzero()[:, 0]
            columns = {"terminated": result.terminated, **dict(_columns(result.info))}
            if recorder is not None and bool(ended.any()):
                columns |= {f"metric_{name}": value for name, value in recorder.figures(ended).items()}
            for index in counted.tolist():
                values = {name: _plain(value[index]) for name, value in columns.items()}
                rows.append({"env": index, "episode": int(count[index]), **values})
            count[counted] += 1
            progress.show(rows)
    progress.close()
    return sorted(rows, key=lambda row: (row["env"], row["episode"]))


def _columns(info: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    yield from ((name, info[key]) for name, key in EPISODE.items() if key in info)
    yield from ((f"stage_{name}", value) for name, value in info.get("stages", {}).items() if name not in EPISODE)
    yield from ((f"metric_{name}", value) for name, value in info.get("metrics", {}).items())
    yield from info.get("episode_parameters", {}).items()


def _plain(value: Tensor) -> Any:
    return value.item() if value.numel() == 1 else value.tolist()


class _Progress:
    """Episodes done, their rate, the time left and the success so far."""

    def __init__(self, episodes: int) -> None:
        self._episodes = episodes
        self._start = time.perf_counter()
        self._line = ProgressLine()
        self.close = self._line.close

    def show(self, rows: list[Episode]) -> None:
        if not rows:
            return
        rate = len(rows) / (time.perf_counter() - self._start)
        left = minutes((self._episodes - len(rows)) / rate)
        success = sum(row.get("success", False) for row in rows) / len(rows)
        done = f"{len(rows)} of {self._episodes} episodes"
        self._line.show(f"{done}  {rate:.1f} episodes/s  {left} left  success so far {success:.2f}")
