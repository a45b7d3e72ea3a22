"""Bimanual handover: one hand takes an object at its side of the table and hands it to the other (arXiv 2502.20396).

Phase 0 belongs to the first hand, which carries the object to an intermediate goal between the hands; phase 1 to the
second hand, which takes it to the final goal (section B: the stage variable). The object lies, and its final goal is,
at the edge of the other arm's reach. Left-to-right is the mirror image of right-to-left, so the policy always sees the
right hand begin (`Task.two_sided`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dexsim.env.draws import EpisodeDraws
from dexsim.env.randomization import RandomizationSettings
from dexsim.env.task import Start, Term
from dexsim.env.world import World
from dexsim.errors import require
from dexsim.robots import RobotSpec
from dexsim.rotations import tilt_cosine
from dexsim.scene import Scene, Table
from tasks import objects, rewards
from tasks.banks import initial_bank
from tasks.hand_terms import OBJECT, HandTerms, contact_pairs
from tasks.starts import StartStates, TwoSidedBank, check_fit, check_starts, mirrored_goals

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
SECOND = 1  # the second hand's phase


@dataclass(frozen=True)
class BimanualHandoverSettings:
    """Config section `task` of the handover. Places are those of right-to-left.

    Attributes:
        objects: names of objects or of groups of `tasks.objects`; each episode has one of them.
        direction: "right_to_left", "left_to_right" or "both".
        middle: the intermediate goal: x, y and height above the object's resting height, m.
        goal_x: of the final goal, forward, [low, high] in m.
        goal_y: sideways, [low, high] in m.
        goal_height: above the object's resting height, [low, high] in m.
        grasp_heights: of the markers of the first and of the second hand above the object's middle, as fractions of
            half its height.
        alpha: sharpness of the second hand's contact reward, 1/m.
        beta: of the first hand's.
        weights: weight of each reward term.
        middle_distance: this near the intermediate goal, the second hand's phase begins, m.
        success_distance: m.
        pick_up_height: lifted this far counts as picked up, m.
        episode_s: length of an episode in s.
        hold_s: success must have held this long at the end, in s.
        later_starts: see `tasks.banks.StartStates`. Only training heeds it: everything else starts at the beginning.
        later_episodes: see there.
        init: "bank", or "default" for hands at rest instead of the bank's, and no later stages (Table 2).
        bank: bank of initial states: a file, or a name in `assets/banks`, of which each robot has its own.
    """

    objects: tuple[str, ...] = ("rod",)
    direction: str = "both"
    middle: tuple[float, float, float] = (0.33, 0.0, 0.12)
    goal_x: tuple[float, float] = (0.30, 0.36)
    goal_y: tuple[float, float] = (0.36, 0.42)
    goal_height: tuple[float, float] = (0.08, 0.16)
    grasp_heights: tuple[float, float] = (-0.55, 0.6)
    alpha: float = 20.0
    beta: float = 20.0
    weights: dict[str, float] = field(
        default_factory=lambda: {
            "contact_first": 0.5,
            "goal_first": 3.0,
            "contact_second": 0.8,
            "goal_second": 3.0,
            "at_middle": 4.0,
            "retreat": 2.0,
            "released": 3.0,
            "success": 3.0,
            "lost": -5.0,
            "action": -0.02,
        }
    )
    middle_distance: float = 0.06
    success_distance: float = 0.05
    pick_up_height: float = 0.05
    episode_s: float = 12.0
    hold_s: float = 1.0
    later_starts: tuple[float, float] = (0.0, 0.0)
    later_episodes: int = 20
    init: str = "bank"
    bank: str = "bimanual_handover"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for item in objects.expand(self.objects):
            check_fit(f"size of the object {item.name!r}", item.size, LARGEST_BLOCK, self.init, self.bank)
            name = f"height of the object {item.name!r}"
            require(item.size[2] >= SHORTEST, name, round(item.size[2], 4), f"at least {SHORTEST:g} m, for two hands")
        require(self.direction in LEFT_FIRST, "direction", self.direction, f"one of {', '.join(LEFT_FIRST)}")
        for name, lowest, highest in (("goal_x", 0.1, 0.8), ("goal_y", -0.6, 0.6), ("goal_height", 0.06, 0.5)):
            low, high = getattr(self, name)
            allowed = f"[low, high] with {lowest:g} <= low <= high <= {highest:g} m"
            require(lowest <= low <= high <= 0.5, name, [low, high], allowed)
        for name in ("alpha", "beta", "middle_distance", "success_distance", "pick_up_height", "episode_s"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        in_reach = 0.1 <= self.middle[0] <= 0.8 and abs(self.middle[1]) <= 0.6
        allowed = "x 0.1 to 0.8 m, y -0.6 to 0.6 m, height above pick_up_height and up to 0.5 m"
        require(in_reach and self.pick_up_height < self.middle[2] <= 0.5, "middle", list(self.middle), allowed)
        inside = all(-1 <= height <= 1 for height in self.grasp_heights)
        require(inside, "grasp_heights", list(self.grasp_heights), "two fractions from -1 to 1")
        check_starts(self.later_starts, self.later_episodes)
        require(any(self.weights.values()), "weights", self.weights, "at least one that is not 0")
        require(0 < self.hold_s <= self.episode_s, "hold_s", self.hold_s, f"in (0, episode_s = {self.episode_s:g}]")


class BimanualHandover:
    """`dexsim.env.world.Task`: the object within 5 cm of its final goal, in the second hand alone, for the last second.

    Args:
        settings: the config section.
        robot: whose bank of initial states is loaded.
    """

    name = "bimanual_handover"
    capabilities = frozenset({"parameters", "wrench", "contacts"})
    actor: tuple[str, ...] = ("object_position", "joint_position", "goal")
    critic: tuple[str, ...] = (
        "object_position", "joint_position", "goal", "joint_velocity", "fingertip_position", "object_orientation",
        "object_velocity", "randomization_scales",
    )  # fmt: skip
    stage_names: tuple[str, ...] = ("touched", "picked_up", "at_middle", "received", "passed", "at_goal")
    symmetric = False
    two_sided = True
    joints: tuple[str, ...] | None = None
    phases = 2

    def __init__(self, settings: BimanualHandoverSettings, robot: RobotSpec) -> None:
        self.settings, self.robot = settings, robot
        self.episode_s, self.hold_s = settings.episode_s, settings.hold_s
        self._objects = objects.expand(settings.objects)
        self._hand = HandTerms(robot, self._objects)
        self.rewards: Mapping[str, tuple[float, Term]] = self._rewards()
        bank = initial_bank(settings.init, settings.bank, robot, self.name, REST_ELBOW)
        self._starts = StartStates(bank, settings.later_starts, settings.later_episodes)
        self._sides = TwoSidedBank(bank, robot)
        # Index of a stage in a bank: how many stages are behind.
        self._phase = (bank.stage > self.stage_names.index("at_middle")).long()
        self._later = bank.stage > 0
        self._table = Table()
        self._upright = float(torch.cos(torch.deg2rad(torch.tensor(LOST_TILT_DEG))))

    def scene(self, robot: RobotSpec, timestep: float) -> Scene:
        """Table and object."""
        first, *others = self._objects
        thing = replace(first, name=OBJECT, alternatives=tuple(others))
        return Scene(robot, self._table, (thing,), tuple(contact_pairs(robot)), timestep)

    def start(self, draws: EpisodeDraws, parameters: Mapping[str, Tensor], jitter: RandomizationSettings) -> Start:
        """A random state of the bank, of a later stage in some episodes; an intermediate and a final goal."""
        s = self.settings
        mirrored = draws.uniform("side", 1)[:, 0] < LEFT_FIRST[s.direction]
        chosen = self._starts.choose(draws, parameters["object_size"])
        rest = self._table.position[2] + parameters["object_size"][:, 2] / 2
        middle = torch.tensor(s.middle, dtype=torch.float64).repeat(len(chosen), 1)
        ranges = (s.goal_x, s.goal_y, s.goal_height)
        goal = torch.cat([draws.uniform(f"goal_{i}", 1, *bounds) for i, bounds in enumerate(ranges)], dim=1)
        goals = torch.stack([middle, goal], dim=1)
        goals[..., 2] += rest[:, None]
        state = self._sides.state(chosen, mirrored, rest, draws, jitter)
        return Start(state, mirrored_goals(goals, mirrored), mirrored, self._phase[chosen], self._later[chosen])

    def next_phase(self, world: World) -> Tensor:
        """The second hand's phase begins when the first hand holds the object at the intermediate goal."""
        near = self._distance(world) < self.settings.middle_distance
        arrived = near & self._touching_first(world) & (self._lifted(world) > self.settings.pick_up_height)
        return torch.where(arrived, torch.full_like(world.phase, SECOND), world.phase)

    def success(self, world: World) -> Tensor:
        """Within reach of the final goal, in the second hand alone."""
        return self._passed(world) & (self._distance(world) < self.settings.success_distance)

    def failure(self, world: World) -> Tensor:
        """The object fell: off the table, over, or back onto it after the first hand's phase."""
        lifted, pose = self._lifted(world), world.state.object_pose[:, 0]
        dropped = (world.phase == SECOND) & (lifted < ON_TABLE)
        return (
            (pose[:, 2] < self._table.position[2] - LOST_BELOW) | (tilt_cosine(pose[:, 3:]) < self._upright) | dropped
        )

    def stages(self, world: World) -> dict[str, Tensor]:
        """First hand on it; lifted by it; at the middle; second hand on it too; in that alone; at the final goal."""
        first = self._touching_first(world)
        return {
            "touched": first,
            "picked_up": first & (self._lifted(world) > self.settings.pick_up_height),
            "at_middle": world.phase == SECOND,
            "received": self._received(world),
            "passed": self._passed(world),
            "at_goal": self.success(world),
        }

    def marker_positions(self, world: World) -> Tensor:
        """Where the first hand's fingers should close and, from the second phase on, the second hand's: (N, 3, 3) m."""
        first, second = (
            self._hand.markers(world, left, height)
            for left, height in zip((world.mirrored, ~world.mirrored), self.settings.grasp_heights, strict=True)
        )
        return torch.where((world.phase == SECOND)[:, None, None], second, first)

    def metrics(self, world: World) -> dict[str, Tensor]:
        """Distance to the final goal in m, tilt in deg, whether the left hand began."""
        place = world.state.object_pose[:, 0, :3]
        tilt = tilt_cosine(world.state.object_pose[:, 0, 3:]).clamp(-1.0, 1.0).acos().rad2deg()
        return {
            "goal_distance_m": rewards.distance(place, world.goals[:, SECOND]),
            "tilt_deg": tilt,
            "left_hand_first": world.mirrored.double(),
        }

    # -- what terms are made of ----------------------------------------------------------------------------------------

    def _touching_first(self, world: World) -> Tensor:
        return self._hand.touching(world, world.mirrored)

    def _touching_second(self, world: World) -> Tensor:
        return self._hand.touching(world, ~world.mirrored)

    def _received(self, world: World) -> Tensor:
        """The second hand is on it, in its phase."""
        return self._touching_second(world) & (world.phase == SECOND)

    def _alone(self, world: World) -> Tensor:
        """How much of the goal counts: all of it, or `TOGETHER` while the first hand is on the object."""
        return torch.where(self._touching_first(world), TOGETHER, 1.0)

    def _passed(self, world: World) -> Tensor:
        """The second hand holds it alone."""
        return self._received(world) & ~self._touching_first(world) & (self._lifted(world) > ON_TABLE)

    def _lifted(self, world: World) -> Tensor:
        """How far above its resting height the object's centre is, (N,) m."""
        rest = self._table.position[2] + world.object_size()[:, 2] / 2
        return world.state.object_pose[:, 0, 2] - rest

    def _distance(self, world: World) -> Tensor:
        return rewards.distance(world.state.object_pose[:, 0, :3], world.goal)

    def _goal(self, world: World) -> Tensor:
        return rewards.closeness(world.state.object_pose[:, 0, :3], world.goal, REACH)

    def _rewards(self) -> dict[str, tuple[float, Term]]:
        """Section B: (1 - a) * (contact + goal of the first hand) + a * (of the second), with bonuses.

        The recipe pays a bonus at the end of each stage, a larger one for later ones. Here each is paid step by step
        for as long as the stage holds, so that they add up: at the middle, let go of, at the final goal.

        The goal of the second phase counts while the second hand is on the object, and less while the first one is
        too: else both carry it there.
        """
        s = self.settings
        low, high = s.grasp_heights
        terms: dict[str, Term] = {
            "contact_first": lambda w: (w.phase != SECOND) * self._hand.contact(w, w.mirrored, s.beta, low),
            "goal_first": lambda w: (w.phase != SECOND) * self._goal(w),
            "contact_second": lambda w: (w.phase == SECOND) * self._hand.contact(w, ~w.mirrored, s.alpha, high),
            "goal_second": lambda w: self._received(w) * self._alone(w) * self._goal(w),
            "at_middle": lambda w: w.phase == SECOND,
            "retreat": lambda w: self._received(w) * self._hand.retreat(w, w.mirrored, RETREAT, low),
            "released": self._passed,
            "success": self.success,
            "lost": self.failure,
            "action": lambda w: w.action.square().mean(dim=1),
        }
        return rewards.weighted(terms, s.weights)
