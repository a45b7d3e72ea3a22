"""Bimanual handover: one hand takes an object at its side of the table and hands it to the other (arXiv 2502.20396).

Phase 0 belongs to the first hand, which carries the object to an intermediate goal between the hands; phase 1 to the
second hand, which takes it to the final goal (section B: the stage variable). The object lies, and its final goal is,
at the edge of the other arm's reach. Left-to-right is the mirror image of right-to-left, so the policy always sees the
right hand begin (`Task.two_sided`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dexsim.env.draws import EpisodeDraws
from dexsim.env.randomization import RandomizationSettings
from dexsim.env.task import Start, Term
from dexsim.env.world import World, fact
from dexsim.errors import require
from dexsim.robots import RobotSpec
from dexsim.scene import Scene
from tasks import objects, rewards
from tasks.banks import initial_bank
from tasks.base import TabletopSettings, TabletopTask, require_positive, require_range
from tasks.hand_terms import HandTerms, grasping_scene
from tasks.starts import check_fit, draw_goal

# Direction -> how often the left hand begins.
LEFT_FIRST = {"both": 0.5, "right_to_left": 0.0, "left_to_right": 1.0}
# Full extents that the bank's hands stay clear of, Table 4's scale included; height that two hands need; m.
LARGEST_BLOCK, SHORTEST = (0.0588, 0.0588, 0.315), 0.24
# Distance at which the goal terms become 0, m.
REACH = 0.5
# The object is lost this far below the table's top, tilted further than this, or back on the table in phase 1; m, deg.
LOST_BELOW, LOST_TILT_DEG, ON_TABLE = 0.05, 60.0, 0.02
# With elbows bent so far the hands wait above the object (init=default); rad.
REST_ELBOW = -2.3
# A finger of the first hand that is this far off has retreated, m; what the final goal counts while both hold it.
RETREAT, TOGETHER = 0.1, 0.3
FIRST, SECOND = 0, 1  # the hands, and the phases that belong to them


@dataclass(frozen=True, kw_only=True)
class BimanualHandoverSettings(TabletopSettings):
    """Config section `task` of the handover. Places are those of right-to-left.

    Attributes:
        objects: names of objects, groups or mesh files, or objects themselves (`tasks.objects.expand`); each episode
            has one of them.
        direction: "right_to_left", "left_to_right" or "both".
        middle: the intermediate goal: x, y and height above the object's resting height, m.
        goal_x: of the final goal, forward, [low, high] in m.
        goal_y: sideways, [low, high] in m.
        goal_height: above the object's resting height, [low, high] in m.
        grasp_heights: of the markers of the first and of the second hand above the object's middle, as fractions of
            half its height.
        alpha: sharpness of the second hand's contact reward, 1/m.
        beta: of the first hand's.
        middle_distance: this near the intermediate goal, the second hand's phase begins, m.
    """

    objects: tuple[str | dict[str, Any], ...]
    direction: str
    middle: tuple[float, float, float]
    goal_x: tuple[float, float]
    goal_y: tuple[float, float]
    goal_height: tuple[float, float]
    grasp_heights: tuple[float, float]
    alpha: float
    beta: float
    middle_distance: float
    bank: str | dict[str, Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        for item in objects.expand(self.objects):
            check_fit(f"size of the object {item.name!r}", item.size, LARGEST_BLOCK, self.init, self.bank)
            name = f"height of the object {item.name!r}"
            require(item.size[2] >= SHORTEST, name, round(item.size[2], 4), f"at least {SHORTEST:g} m, for two hands")
        require(self.direction in LEFT_FIRST, "direction", self.direction, f"one of {', '.join(LEFT_FIRST)}")
        for name, lowest, highest in (("goal_x", 0.1, 0.8), ("goal_y", -0.6, 0.6), ("goal_height", 0.06, 0.5)):
            require_range(self, name, lowest, highest)
        require_positive(self, "alpha", "beta", "middle_distance")
        in_reach = 0.1 <= self.middle[0] <= 0.8 and abs(self.middle[1]) <= 0.6
        allowed = "x 0.1 to 0.8 m, y -0.6 to 0.6 m, height above pick_up_height and up to 0.5 m"
        require(in_reach and self.pick_up_height < self.middle[2] <= 0.5, "middle", list(self.middle), allowed)
        inside = all(-1 <= height <= 1 for height in self.grasp_heights)
        require(inside, "grasp_heights", list(self.grasp_heights), "two fractions from -1 to 1")


class BimanualHandover(TabletopTask):
    """The object within 5 cm of its final goal, in the second hand alone, for the last second.

    Args:
        settings: the config section.
        robot: whose bank of initial states is loaded.
        device: where the tensors are.
    """

    name = "bimanual_handover"
    Settings = BimanualHandoverSettings
    largest = LARGEST_BLOCK
    stage_names = ("touched", "picked_up", "at_middle", "received", "passed", "at_goal")
    two_sided = True
    phases = 2

    def __init__(
        self, settings: BimanualHandoverSettings, robot: RobotSpec, device: torch.device | str | None = None
    ) -> None:
        self.settings = settings
        things = objects.expand(settings.objects)
        self._hands = HandTerms(robot, things, settings.grasp_heights, device)
        self._lost_cosine = math.cos(math.radians(LOST_TILT_DEG))
        bank = initial_bank(settings.init, settings.bank, robot, self.name, REST_ELBOW)
        super().__init__(settings, robot, bank, things, device)
        # Index of a stage in a bank: how many stages are behind.
        self._phase = (bank.stage > self.stage_names.index("at_middle")).long().to(device=device)
        self._middle = torch.tensor(settings.middle, dtype=torch.float64, device=device)

    def check(self, randomization: RandomizationSettings) -> None:
        """Refuse also objects that would be scaled too short for two hands."""
        super().check(randomization)
        low, high = randomization.object_scale or (1.0, 1.0)
        for thing in (thing for thing in self.things if thing.shape != "mesh"):
            least = SHORTEST / thing.size[2]
            allowed = f"at least {least:.3g} for {thing.name!r}, for two hands"
            require(low >= least - 1e-6, "randomization.object_scale", [low, high], allowed)

    def scene(self, robot: RobotSpec, timestep: float) -> Scene:
        """Table and object."""
        return grasping_scene(robot, self.table, self.things, timestep)

    def start(self, draws: EpisodeDraws, parameters: Mapping[str, Tensor], jitter: RandomizationSettings) -> Start:
        """A random state of the bank, of a later stage in some episodes; an intermediate and a final goal."""
        s, size = self.settings, parameters["object_size"]
        mirrored = draws.uniform("side", 1)[:, 0] < LEFT_FIRST[s.direction]
        chosen, rest = self.starts.choose(draws, size), self.resting(size)
        middle = self._middle.repeat(len(chosen), 1)
        middle[:, 2] += rest
        goals = torch.stack([middle, draw_goal(draws, rest, s.goal_x, s.goal_y, s.goal_height)], dim=1)
        state = self.starts.state(chosen, rest, draws, jitter, mirrored)
        goals = self.starts.mirror_goals(goals, mirrored)
        return Start(state, goals, mirrored, self._phase[chosen], self.starts.later[chosen])

    def next_phase(self, world: World) -> Tensor:
        """The second hand's phase begins when the first hand holds the object at the intermediate goal."""
        near = self.distance(world) < self.settings.middle_distance
        arrived = near & self._touching_first(world) & self.picked_up(world)
        return world.phase.masked_fill(arrived, SECOND)

    @fact("phase")
    def success(self, world: World) -> Tensor:
        """Within reach of the final goal, in the second hand alone."""
        return self._passed(world) & self.near_goal(world)

    @fact("phase")
    def failure(self, world: World) -> Tensor:
        """The object fell: off the table, over, or back onto it after the first hand's phase."""
        dropped = self._in_second(world) & (self.lifted(world) < ON_TABLE)
        below = world.object_position[:, 2] < self.table.position[2] - LOST_BELOW
        return below | (self.upright(world) < self._lost_cosine) | dropped

    def stages(self, world: World) -> dict[str, Tensor]:
        """First hand on it; lifted by it; at the middle; second hand on it too; in that alone; at the final goal."""
        first = self._touching_first(world)
        return {
            "touched": first,
            "picked_up": first & self.picked_up(world),
            "at_middle": self._in_second(world),
            "received": self._received(world),
            "passed": self._passed(world),
            "at_goal": self.success(world),
        }

    def marker_positions(self, world: World) -> Tensor:
        """Where the first hand's fingers should close and, from the second phase on, the second hand's: (N, 3, 3) m."""
        first, second = (self._hands.markers(world, hand) for hand in (FIRST, SECOND))
        return torch.where(self._in_second(world)[:, None, None], second, first)

    def metrics(self, world: World) -> dict[str, Tensor]:
        """Distance to the final goal in m, tilt in deg, whether the left hand began."""
        final = rewards.distance(world.object_position, world.goals[:, SECOND])
        return {**super().metrics(world), "goal_distance_m": final, "left_hand_first": world.mirrored.double()}

    def describe(self) -> dict[str, Any]:
        """As of every task at the table, and both goals: when the second counts, and whose hand the object is in."""
        s, shared = self.settings, super().describe()
        shared["success"]["requires"] = "the second hand alone touches the object"
        middle = self.describe_goal(*([value, value] for value in s.middle))
        arrived = {
            "distance_m": s.middle_distance,
            "lifted_m": s.pick_up_height,
            "in_training": "and the first hand touches the object",
        }
        final = self.describe_goal(s.goal_x, s.goal_y, s.goal_height)
        return {**shared, "goals": [{**middle, "until": arrived}, final]}

    def terms(self) -> dict[str, Term]:
        """Section B: (1 - a) * (contact + goal of the first hand) + a * (of the second), with bonuses.

        The recipe pays a bonus at the end of each stage, a larger one for later ones. Here each is paid step by step
        for as long as the stage holds, so that they add up: at the middle, let go of, at the final goal.

        The goal of the second phase counts while the second hand is on the object, and less while the first one is
        too: else both carry it there.
        """
        s, hands = self.settings, self._hands
        return {
            "contact_first": lambda w: ~self._in_second(w) * hands.contact(w, FIRST, s.beta),
            "goal_first": lambda w: ~self._in_second(w) * self._goal(w),
            "contact_second": lambda w: self._in_second(w) * hands.contact(w, SECOND, s.alpha),
            "goal_second": lambda w: self._received(w) * self._alone(w) * self._goal(w),
            "at_middle": self._in_second,
            "retreat": lambda w: self._received(w) * hands.retreat(w, FIRST, RETREAT),
            "released": self._passed,
            **super().terms(),
        }

    # -- what terms are made of ----------------------------------------------------------------------------------------

    @fact("phase")
    def _in_second(self, world: World) -> Tensor:
        return world.phase == SECOND

    @fact()
    def _touching_first(self, world: World) -> Tensor:
        return self._hands.touching(world, FIRST)

    @fact("phase")
    def _received(self, world: World) -> Tensor:
        """The second hand is on it, in its phase."""
        return self._hands.touching(world, SECOND) & self._in_second(world)

    def _alone(self, world: World) -> Tensor:
        """How much of the goal counts: all of it, or `TOGETHER` while the first hand is on the object."""
        return torch.where(self._touching_first(world), TOGETHER, 1.0)

    @fact("phase")
    def _passed(self, world: World) -> Tensor:
        """The second hand holds it alone."""
        return self._received(world) & ~self._touching_first(world) & (self.lifted(world) > ON_TABLE)

    @fact("phase")
    def _goal(self, world: World) -> Tensor:
        return rewards.closeness(self.distance(world), REACH)
