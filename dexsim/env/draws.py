"""Random numbers that belong to an episode: drawn from (seed, environment, episode, name) and from nothing else.

What one environment draws does not depend on when the others reset, so a partial reset changes no other environment
and an evaluation's set of episodes is fixed by its seed, whatever the policy does.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014): uint64 -> uint64, a bijection with full avalanche."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class EpisodeDraws:
    """Uniform draws of some environments' episodes.

    Args:
        seed: the run's seed.
        env_ids: (n,) environments.
        episodes: (n,) index of each one's episode.
    """

    def __init__(self, seed: int, env_ids: Tensor, episodes: Tensor) -> None:
        """See the class."""
        self.episodes = episodes
        with np.errstate(over="ignore"):
            key = _mix(np.full(len(env_ids), seed, dtype=np.uint64) + _GOLDEN)
            key = _mix(key ^ (env_ids.numpy().astype(np.uint64) + np.uint64(1)) * _GOLDEN)
            self._key = _mix(key ^ (episodes.numpy().astype(np.uint64) + np.uint64(1)) * _GOLDEN)

    def __len__(self) -> int:
        """Number of environments."""
        return len(self._key)

    def uniform(self, name: str, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(n, count) float64 in [low, high); the same name gives the same numbers."""
        with np.errstate(over="ignore"):
            stream = np.uint64(zlib.crc32(name.encode())) << np.uint64(20)
            counter = _mix((stream + np.arange(count, dtype=np.uint64)) * _GOLDEN)
            bits = _mix(self._key[:, None] ^ counter)
        unit = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return torch.from_numpy(low + (high - low) * unit)

    def index(self, name: str, size: int) -> Tensor:
        """(n,) int64 in [0, size)."""
        return (self.uniform(name, 1)[:, 0] * size).long().clamp(max=size - 1)
