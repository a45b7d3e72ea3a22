"""What tasks at the table share: one object, starts from a bank, a goal that must be held, ways to lose."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dexsim.control.observations import GOAL, JOINT_POSITION, OBJECT_POSITION
from dexsim.env.privileged import CRITIC
from dexsim.env.randomization import RandomizationSettings
from dexsim.env.task import Task, Term
from dexsim.env.world import World, fact
from dexsim.errors import require
from dexsim.robots import RobotSpec
from dexsim.rotations import tilt_cosine
from dexsim.scene import ObjectSpec, Table
from tasks import objects, rewards
from tasks.banks import Bank, with_content
from tasks.starts import StartStates, starts_from_shipped

logger = logging.getLogger(__name__)

# Farther from its start than this, or below its resting height by this much, an object is lost; m.
LOST_SIDEWAYS, LOST_BELOW = 0.35, 0.05
# How far Table 4 shifts and turns an object at the start, which the shipped banks were made for; m and rad.
KNOWN_SHIFT, KNOWN_TURN = 0.02, 0.75


@dataclass(frozen=True, kw_only=True)
class TabletopSettings:
    """What the config sections `task` share; their values are in `cfg/task`.

    Attributes:
        weights: weight of each reward term.
        success_distance: m.
        pick_up_height: lifted this far counts as picked up, m.
        episode_s: length of an episode in s.
        hold_s: success must have held this long at the end, in s.
        later_starts: see `tasks.starts.StartStates`. Only training heeds it: all else starts at the beginning.
        later_episodes: see there.
        init: "bank", or "default" for hands at rest instead of the bank's, and no later stages (Table 2).
        bank: bank of initial states: a file, or a name in `assets/banks`, of which each robot has its own; None for the
            task's own choice. A checkpoint has the content of the file in its place (`tasks.banks.with_content`).
    """

    weights: dict[str, float]
    success_distance: float
    pick_up_height: float
    episode_s: float
    hold_s: float
    later_starts: tuple[float, float]
    later_episodes: int
    init: str
    bank: str | dict[str, Any] | None

    def __post_init__(self) -> None:
        require_positive(self, "success_distance", "pick_up_height", "episode_s")
        require(any(self.weights.values()), "weights", self.weights, "at least one that is not 0")
        require(0 < self.hold_s <= self.episode_s, "hold_s", self.hold_s, f"in (0, episode_s = {self.episode_s:g}]")
        inside = all(0 <= share <= 1 for share in self.later_starts)
        require(inside, "later_starts", list(self.later_starts), "two shares from 0 to 1")
        require(self.later_episodes >= 1, "later_episodes", self.later_episodes, "at least 1")


def require_positive(settings: Any, *names: str) -> None:
    """Refuse fields of a settings dataclass that are not positive."""
    for name in names:
        require(getattr(settings, name) > 0, name, getattr(settings, name), "positive")


def require_range(settings: Any, name: str, lowest: float, highest: float) -> None:
    """Refuse a field [low, high] in m that is none or reaches outside."""
    low, high = getattr(settings, name)
    allowed = f"[low, high] with {lowest:g} <= low <= high <= {highest:g} m"
    require(lowest <= low <= high <= highest, name, [low, high], allowed)


class TabletopTask(Task):
    """A `Task` with one object on the table; what is said of "the object" is said of the scene's first.

    The groups of observations are the paper's (section C): the actor sees the object's position, the joints and, where
    it varies, the goal; the critic also what only a simulator knows.

    Args:
        settings: the config section.
        robot: whose bank of initial states is loaded.
        bank: what episodes start from.
        things: what the object may be.
        device: where the tensors are.

    Attributes:
        largest: full extents that the hands of the shipped banks stay clear of, m; None where that is not known.
    """

    largest: tuple[float, float, float] | None = None
    capabilities = frozenset({"parameters", "wrench", "contacts"})
    actor = (OBJECT_POSITION, JOINT_POSITION, GOAL)
    critic = (OBJECT_POSITION, JOINT_POSITION, GOAL, *CRITIC)

    def __init__(
        self,
        settings: TabletopSettings,
        robot: RobotSpec,
        bank: Bank,
        things: Sequence[ObjectSpec],
        device: torch.device | str | None,
    ) -> None:
        self.robot, self.things, self.device, self.table = robot, tuple(things), device, Table()
        self.episode_s, self.hold_s = settings.episode_s, settings.hold_s
        self._own_starts = not starts_from_shipped(settings.init, settings.bank)
        self._success_distance, self._pick_up_height = settings.success_distance, settings.pick_up_height
        self.starts = StartStates(bank, robot, settings.later_starts, settings.later_episodes, self.two_sided, device)
        self.rewards: Mapping[str, tuple[float, Term]] = rewards.weighted(self.terms(), settings.weights)

    @classmethod
    def with_content(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """The config section with the content of a bank and of objects that are files."""
        section = dict(section)
        if section.get("bank") is not None:
            section["bank"] = with_content(section["bank"])
        if "objects" in section:
            section["objects"] = objects.with_content(section["objects"])
        return section

    def check(self, randomization: RandomizationSettings) -> None:
        """Refuse objects that would be scaled into the hands of a shipped bank; warn where they are moved into them."""
        if self._own_starts or self.largest is None:
            return
        low, high = randomization.object_scale or (1.0, 1.0)
        for thing in (thing for thing in self.things if thing.shape != "mesh"):  # meshes are not scaled
            most = min(limit / extent for limit, extent in zip(self.largest, thing.size, strict=True))
            allowed = f"at most {most:.3g} for {thing.name!r}, whose start the shipped bank was made for"
            require(high <= most + 1e-6, "randomization.object_scale", [low, high], allowed)
        for name, known in (("initial_position", KNOWN_SHIFT), ("initial_yaw", KNOWN_TURN)):
            value = getattr(randomization, name)
            if value > known:
                logger.warning(
                    "randomization.%s = %g: hands of the shipped banks stay clear of the object up to %g; beyond, some "
                    "episodes start with hands in it", name, value, known,
                )  # fmt: skip

    def terms(self) -> dict[str, Term]:
        """The reward terms that `weights` may name."""
        return {"success": self.success, "lost": self.failure, "action": rewards.effort}

    def describe(self) -> dict[str, Any]:
        """The objects, how an episode starts, how long it lasts and when it counts as a success.

        Of a two-sided task all places and joints are those of the right hand's episodes.
        """
        start, rest = self.starts.describe(self.robot), self._resting_heights()
        for corner, height in zip(start["object_range"], rest, strict=True):
            corner[2] = height
        start["object_position"][2] = rest[0]
        things = [{"name": t.name, "shape": t.shape, "size_m": [round(e, 4) for e in t.size]} for t in self.things]
        return {
            "objects": things,
            "start": start,
            **({"side": "as the right hand acts or begins; for the left see mirror"} if self.two_sided else {}),
            "episode_s": self.episode_s,
            "success": {"distance_m": self._success_distance, "hold_s": self.hold_s},
        }

    def describe_goal(self, x: Sequence[float], y: Sequence[float], height: Sequence[float]) -> dict[str, Any]:
        """Where a goal may be, [low, high] in m in the robot's frame; `height` is above where the objects rest."""
        z = [round(above + rest, 4) for above, rest in zip(height, self._resting_heights(), strict=True)]
        return {"x": list(x), "y": list(y), "z": z}

    def _resting_heights(self) -> tuple[float, float]:
        """Lowest and highest centre of the objects at rest, m."""
        heights = [round(self.table.position[2] + item.size[2] / 2, 4) for item in self.things]
        return min(heights), max(heights)

    # -- facts ---------------------------------------------------------------------------------------------------------

    @fact("episode")
    def rest(self, world: World) -> Tensor:
        """Height (N,) of the object's centre when it rests, m."""
        return self.resting(world.object_size())

    def resting(self, object_size: Tensor) -> Tensor:
        """Height (n,) at which the centre of an object of full extents (n, 3 or more) rests, m."""
        return self.table.position[2] + object_size[:, 2] / 2

    @fact()
    def lifted(self, world: World) -> Tensor:
        """How far above its resting height the object's centre is, (N,) m."""
        return world.object_position[:, 2] - self.rest(world)

    @fact()
    def upright(self, world: World) -> Tensor:
        """Cosine of the object's tilt, (N,)."""
        return tilt_cosine(world.object_orientation)

    @fact("phase")
    def distance(self, world: World) -> Tensor:
        """Distance (N,) of the object from where it should go now, m."""
        return rewards.distance(world.object_position, world.goal)

    @fact("phase")
    def near_goal(self, world: World) -> Tensor:
        """(N,) whether the object is within reach of its goal."""
        return self.distance(world) < self._success_distance

    @fact()
    def picked_up(self, world: World) -> Tensor:
        """(N,) whether the object is lifted far enough to count as picked up."""
        return self.lifted(world) > self._pick_up_height

    @fact()
    def failure(self, world: World) -> Tensor:
        """The object left the table or was thrown."""
        moved = world.object_position[:, :2] - world.initial_object[:, 0, :2]
        sideways = torch.linalg.vector_norm(moved, dim=1)
        return (sideways > LOST_SIDEWAYS) | (self.lifted(world) < -LOST_BELOW)

    def metrics(self, world: World) -> dict[str, Tensor]:
        """Distance to the goal in m, tilt in deg."""
        tilt = self.upright(world).clamp(-1.0, 1.0).acos().rad2deg()
        return {"goal_distance_m": self.distance(world), "tilt_deg": tilt}
