"""A robot's constants that vary from episode to episode: what no fit of its drives knows for sure.

A policy that was trained on nominal drives fails on a robot whose drives are others, above all on one that carries more
of its own weight. Each constant is the robot's own value, or one drawn from a range in its place; then times exp(s z)
for positive constants, plus s z for the others, where z is N(0, 1) and s the spread. Where `robot.tuned` states a 95%
interval, its two halves take the place of the spread. What one controller decides (the delay, and the share of its
weight that it takes off) is one draw for each arm and each hand, as in `real2sim/simulated_robot.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dexsim.env.draws import EpisodeDraws
from dexsim.env.randomization import RandomizationSettings, Range
from dexsim.errors import UserError
from dexsim.robots.constants import CONSTANTS, LOG_NAMES, constants, drives_of, labels, owner_of
from dexsim.robots.spec import RobotSpec

# In the order in which they are drawn.
_VARIED = (
    "joint_stiffness", "joint_damping", "joint_armature", "joint_friction", "joint_lag", "joint_delay", "joint_bias",
    "link_mass", "link_gravity_compensation",
)  # fmt: skip
_SHARED = frozenset({"joint_delay", "link_gravity_compensation"})
# Those that the simulated drives must be built for.
_LATE = ("joint_friction", "joint_lag", "joint_delay")
# Half of a 95% interval, in standard deviations.
_HALF = 1.96


class DriveDraws:
    """Draws the constants of a robot that vary, all environments at once.

    Args:
        settings: what varies.
        robot: around which robot.
        device: where the tensors are.

    Raises:
        UserError: intervals are asked for of a robot that was never fitted.
    """

    def __init__(
        self, settings: RandomizationSettings, robot: RobotSpec, device: torch.device | str | None = None
    ) -> None:
        if settings.robot_intervals and not (robot.intervals or robot.has_drive_dynamics):
            raise UserError(
                f"randomization.robot_intervals = {settings.robot_intervals:g}: robot {robot.name!r} is as documented, "
                "and no fit says how its drives may differ; give robot.tuned=<file>, or randomization=drives"
            )
        drawn = [_Constant(name, settings, robot, device) for name in _VARIED]
        varies = {each.name for each in drawn if each.varies}
        # Drives with lag are integrated in a way whose armature goes with the damping: it is then written with it.
        if varies and (settings.damping_scale or "joint_damping" in varies):
            varies.add("joint_armature")
        self._constants = [each for each in drawn if each.name in varies]

    @property
    def names(self) -> tuple[str, ...]:
        """Constants that vary."""
        return tuple(each.name for each in self._constants)

    @property
    def late(self) -> bool:
        """Whether the scene must be built for drives with delay, lag and friction (`Scene.drive_dynamics`)."""
        return any(name in self.names for name in _LATE)

    def add_to(self, values: dict[str, Tensor], draws: EpisodeDraws) -> dict[str, Tensor]:
        """Parameters of n episodes, name -> (n, k), and beside them, or on top of them, what varies here."""
        return {**values, **{each.name: each.draw(values.get(each.name), draws) for each in self._constants}}


class _Constant:
    """One constant: k values, of G drives or each for itself.

    Attributes:
        name: its name.
        varies: whether it does at all.
    """

    def __init__(
        self, name: str, settings: RandomizationSettings, robot: RobotSpec, device: torch.device | str | None
    ) -> None:
        def tensor(values: Sequence[Any]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=device)

        known, own = labels(robot, name), constants(robot)[name].tolist()
        drives = [drives_of(owner_of(robot, name, label)) for label in known]
        self.name, self._log, self._bounds = name, name in LOG_NAMES, CONSTANTS[name].bounds
        self._own, self._count = tensor(own), len(known)
        self._column: Tensor | None = None
        if name in _SHARED:
            order = sorted(set(drives))
            self._count = len(order)
            self._column = torch.tensor([order.index(each) for each in drives], device=device)
        ranges = [_range(name, each, settings) for each in drives]
        self._in_range = torch.tensor([each is not None for each in ranges], device=device)
        self._low, self._high = tensor([each or (1.0, 1.0) for each in ranges]).T
        self._by_factor = name == "joint_friction"  # tenths of a N m matter to a finger, not to a shoulder
        spreads = _spreads(name, own, settings, robot)
        self._down, self._up = tensor(spreads).T
        # What is zero stays so by any factor.
        started = [not self._log or value > 0 or each is not None for value, each in zip(own, ranges, strict=True)]
        self._ranges = any(each is not None for each in ranges)
        self._spreads = any(any(pair) and start for pair, start in zip(spreads, started, strict=True))
        self.varies = self._ranges or self._spreads

    def draw(self, base: Tensor | None, draws: EpisodeDraws) -> Tensor:
        """(n, k) values; `base` (n, k) takes the place of the robot's own."""
        value = self._own.expand(len(draws), -1) if base is None else base
        if self._ranges:
            share = self._of_all(draws.uniform(f"{self.name}_range", self._count))
            within = (
                self._low * (self._high / self._low) ** share
                if self._by_factor
                else torch.lerp(self._low, self._high, share)
            )
            value = torch.where(self._in_range, within, value)
        if self._spreads:
            z = self._of_all(draws.normal(f"{self.name}_spread", self._count))
            moved = torch.where(z > 0, self._up, self._down) * z
            value = value * moved.exp() if self._log else value + moved
        return value.clamp(*self._bounds)

    def _of_all(self, drawn: Tensor) -> Tensor:
        """(n, k) what (n, G) draws are for each joint or link."""
        return drawn if self._column is None else drawn[:, self._column]


def _range(name: str, drives: str, settings: RandomizationSettings) -> Range | None:
    """What a value of some drives is drawn from in place of the robot's own."""
    if name == "joint_friction":
        return settings.hand_joint_friction if drives.endswith("hand") else settings.arm_joint_friction
    return getattr(settings, name, None)


def _spreads(
    name: str, own: Sequence[float], settings: RandomizationSettings, robot: RobotSpec
) -> list[tuple[float, float]]:
    """Standard deviations below and above each value, of positive constants of the logarithm."""
    spread: float = getattr(settings, f"{name}_spread")
    times = settings.robot_intervals / _HALF
    stated = {each.label: each for each in robot.intervals if each.name == name} if times else {}

    def halves(label: str, value: float) -> tuple[float, float]:
        if label not in stated:
            return spread, spread
        ends = (stated[label].low, value, stated[label].high)
        if name in LOG_NAMES:
            if min(ends) <= 0:
                return spread, spread
            ends = tuple(map(math.log, ends))
        low, middle, high = ends
        return times * max(0.0, middle - low), times * max(0.0, high - middle)

    return [halves(label, value) for label, value in zip(labels(robot, name), own, strict=True)]
