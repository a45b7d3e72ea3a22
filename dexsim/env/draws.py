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
    """Which numbers episodes draw: learned from the first reset, so that later ones make all of them at once.

    Args:
        device: where draws are made.
        num_envs: environments whose part of the hash is kept, for a seed.
    """

    def __init__(self, device: torch.device | str | None = None, num_envs: int = 0) -> None:
        self.device = device
        self._envs = torch.arange(num_envs, dtype=torch.int64, device=device)
        self._keys: tuple[int, Tensor] | None = None
        self._place: dict[tuple[str, float, float], int] = {}
        self._sizes: list[int] = []
        self._counters: list[int] = []
        self._low: list[float] = []
        self._span: list[float] = []
        self._tensors = self._make_tensors()

    def key(self, seed: int, env_ids: Tensor) -> Tensor:
        """(n,) the part of the hash that a seed and some environments have."""
        if len(self._envs) == 0:
            return _environment_key(seed, env_ids)
        if self._keys is None or self._keys[0] != seed:
            self._keys = seed, _environment_key(seed, self._envs)
        return self._keys[1][env_ids]

    def find(self, name: str, count: int, low: float, high: float) -> tuple[int, bool]:
        """Which part of `draw` has `count` numbers in [low, high) of a name, and whether it has just been added."""
        place = self._place.get((name, low, high))
        if place is not None and self._sizes[place] >= count:
            return place, False
        stream = zlib.crc32(name.encode()) << 20
        self._place[name, low, high] = len(self._sizes)
        self._sizes.append(count)
        self._counters += [_signed(_mix_word((stream + i) * _GOLDEN & _WORD)) for i in range(count)]
        self._low += [low] * count
        self._span += [high - low] * count
        self._tensors = self._make_tensors()
        return len(self._sizes) - 1, True

    def draw(self, key: Tensor) -> tuple[Tensor, ...]:
        """Every part (n, count) float64, of episodes with these keys (n, 1)."""
        counters, low, span = self._tensors
        unit = _shift(_mix(key ^ counters), 11).to(torch.float64).mul_(2.0**-53)
        return unit.mul_(span).add_(low).split(self._sizes, dim=1)

    def _make_tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        counters = torch.tensor(self._counters, dtype=torch.int64, device=self.device)
        low, span = (torch.tensor(v, dtype=torch.float64, device=self.device) for v in (self._low, self._span))
        return counters, low, span


def _environment_key(seed: int, env_ids: Tensor) -> Tensor:
    key = _signed(_mix_word(seed + _GOLDEN & _WORD))
    return _mix((env_ids + 1).mul_(_signed(_GOLDEN)) ^ key)


class EpisodeDraws:
    """Uniform draws of some environments' episodes.

    Args:
        seed: the run's seed.
        env_ids: (n,) int64 environments.
        episodes: (n,) int64 index of each one's episode.
        columns: shared by all draws of an environment, for speed; the numbers do not depend on it.
    """

    def __init__(self, seed: int, env_ids: Tensor, episodes: Tensor, columns: Columns | None = None) -> None:
        self.episodes = episodes
        self._columns = columns or Columns(env_ids.device)
        golden = _signed(_GOLDEN)
        self._key = _mix(self._columns.key(seed, env_ids) ^ (episodes + 1) * golden)[:, None]
        self._parts: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        """Number of environments."""
        return len(self._key)

    def uniform(self, name: str, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(n, count) float64 in [low, high); the same name gives the same numbers."""
        place, added = self._columns.find(name, count, low, high)
        if self._parts is None or added or place >= len(self._parts):  # others may have added to the columns
            self._parts = self._columns.draw(self._key)
        part = self._parts[place]
        return part if part.shape[1] == count else part[:, :count]

    def normal(self, name: str, count: int) -> Tensor:
        """(n, count) float64 of the standard normal distribution; the same name gives the same numbers."""
        least = 2.0**-54  # below the smallest number above 0 that `uniform` gives
        return torch.special.ndtri(self.uniform(name, count).clamp(min=least))

    def index(self, name: str, size: int) -> Tensor:
        """(n,) int64 in [0, size)."""
        return (self.uniform(name, 1)[:, 0] * size).long().clamp_(max=size - 1)
