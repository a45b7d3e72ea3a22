"""Random numbers that belong to an episode: drawn from (seed, environment, episode, name) and from nothing else.

What one environment draws does not depend on when the others reset, so a partial reset changes no other environment
and an evaluation's set of episodes is fixed by its seed, whatever the policy does.

The hash is SplitMix64's finalizer (Steele, Lea and Flood 2014) on 64-bit words. torch has no unsigned ones that
multiply, so they are kept in int64, whose products wrap in the same way; shifts to the right are masked.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_STEPS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # shift, then factor
_LAST_SHIFT = 31
_WORD = 2**64 - 1


def _signed(word: int) -> int:
    """The int64 with the bits of an unsigned word."""
    return word - 2**64 if word >= 2**63 else word


def _mix_word(x: int) -> int:
    """The hash of one word, a bijection with full avalanche."""
    for shift, factor in _STEPS:
        x = (x ^ (x >> shift)) * factor & _WORD
    return x ^ (x >> _LAST_SHIFT)


def _shift(x: Tensor, by: int) -> Tensor:
    """A shift to the right that fills with zeros."""
    return (x >> by).bitwise_and_(2 ** (64 - by) - 1)


def _mix(x: Tensor) -> Tensor:
    """`_mix_word` of int64 tensors."""
    for shift, factor in _STEPS:
        x = (x ^ _shift(x, shift)).mul_(_signed(factor))
    return x ^ _shift(x, _LAST_SHIFT)


class Columns:
    """Which numbers episodes draw: learned from the first reset, so that later ones hash all of them at once.

    Args:
        device: where draws are made.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = device
        self._counters: list[int] = []
        self._tensor = torch.zeros(0, dtype=torch.int64, device=device)
        self._place: dict[str, tuple[int, int]] = {}

    @property
    def counters(self) -> Tensor:
        """(C,) what each number's key is hashed with."""
        return self._tensor

    def find(self, name: str, count: int) -> tuple[int, bool]:
        """Where the first of `count` numbers of a name stands, and whether it has just been added."""
        start, known = self._place.get(name, (0, 0))
        if known >= count:
            return start, False
        stream = zlib.crc32(name.encode()) << 20
        self._place[name] = (len(self._counters), count)
        self._counters += [_signed(_mix_word((stream + i) * _GOLDEN & _WORD)) for i in range(count)]
        self._tensor = torch.tensor(self._counters, dtype=torch.int64, device=self.device)
        return self._place[name][0], True


class EpisodeDraws:
    """Uniform draws of some environments' episodes.

    Args:
        seed: the run's seed.
        env_ids: (n,) int64 environments.
        episodes: (n,) int64 index of each one's episode.
        columns: shared by all draws of an environment, for speed; the numbers do not depend on it.
    """

    def __init__(self, seed: int, env_ids: Tensor, episodes: Tensor, columns: Columns | None = None) -> None:
        self.episodes, self.device = episodes, env_ids.device
        self._columns = columns or Columns(env_ids.device)
        key = _signed(_mix_word(seed + _GOLDEN & _WORD))
        golden = _signed(_GOLDEN)
        self._key = _mix(_mix((env_ids + 1).mul_(golden) ^ key) ^ (episodes + 1) * golden)[:, None]
        self._unit: Tensor | None = None

    def __len__(self) -> int:
        """Number of environments."""
        return len(self._key)

    def uniform(self, name: str, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(n, count) float64 in [low, high); the same name gives the same numbers."""
        start, added = self._columns.find(name, count)
        if self._unit is None or added:
            bits = _mix(self._key ^ self._columns.counters)
            self._unit = _shift(bits, 11).to(torch.float64).mul_(2.0**-53)
        unit = self._unit[:, start : start + count]
        return unit if (low, high) == (0.0, 1.0) else low + (high - low) * unit

    def index(self, name: str, size: int) -> Tensor:
        """(n,) int64 in [0, size)."""
        return (self.uniform(name, 1)[:, 0] * size).long().clamp_(max=size - 1)
