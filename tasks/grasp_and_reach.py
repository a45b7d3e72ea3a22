"""Grasp-and-reach: one hand takes an object from the table and brings it to a goal in the air (arXiv 2502.20396).

The nearer hand acts and the other keeps still. An object on the left is a mirror image of one on the right, so the
policy always sees a right hand at work (`Task.two_sided`); `nearer_hand` is the script that chooses.
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
from tasks.recording.reach import LARGEST_OBJECT
from tasks.starts import StartStates, TwoSidedBank, check_fit, check_starts, mirrored_goals

SIDES = ("both", "left", "right")
# Farther from its start than this, or below its resting height by this much, the object is lost; m.
LOST_SIDEWAYS, LOST_BELOW = 0.35, 0.05


@dataclass(frozen=True)
class GraspAndReachSettings:
    """Config section `task` of grasp-and-reach.

    Attributes:
        objects: names of objects or of groups of `tasks.objects`; each episode has one of them.
        side: which hand's episodes: "left", "right" or "both".
        goal_x: where the goal is, forward, [low, high] in m.
        goal_y: sideways, as for the right hand, [low, high] in m.
        goal_height: above the object's resting height, [low, high] in m.
        beta: sharpness of the contact reward, 1/m.
        weights: weight of each reward term.
        success_distance: m.
        pick_up_height: lifted this far counts as picked up, m.
        episode_s: length of an episode in s.
        hold_s: success must have held this long at the end, in s.
        later_starts: see `tasks.banks.StartStates`. Only training heeds it.
        later_episodes: see there.
        init: "bank", or "default" for hands at rest instead of the bank's (Table 2).
        bank: bank of initial states: a file, or a name in `assets/banks`, of which each robot has its own.
    """

    objects: tuple[str, ...] = ("can",)
    side: str = "both"
    goal_x: tuple[float, float] = (0.32, 0.42)
    goal_y: tuple[float, float] = (-0.25, -0.10)
    goal_height: tuple[float, float] = (0.10, 0.20)
    beta: float = 20.0
    weights: dict[str, float] = field(
        default_factory=lambda: {"contact": 0.5, "goal": 3.0, "success": 1.0, "lost": -2.0, "action": -0.02}
    )
    success_distance: float = 0.05
    pick_up_height: float = 0.05
    episode_s: float = 6.0
    hold_s: float = 1.0
    later_starts: tuple[float, float] = (0.0, 0.0)
    later_episodes: int = 20
    init: str = "bank"
    bank: str = "grasp_and_reach"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        objects.expand(self.objects)
        check_starts(self.later_starts, self.later_episodes)
        for item in objects.expand(self.objects):
            check_fit(f"size of the object {item.name!r}", item.size, LARGEST_OBJECT, self.init, self.bank)
        require(self.side in SIDES, "side", self.side, f"one of {', '.join(SIDES)}")
        for name, lowest, highest in (("goal_x", 0.1, 0.8), ("goal_y", -0.6, 0.6), ("goal_height", 0.06, 0.5)):
            low, high = getattr(self, name)
            allowed = f"[low, high] with {lowest:g} <= low <= high <= {highest:g} m"
            require(lowest <= low <= high <= highest, name, [low, high], allowed)
        for name in ("beta", "success_distance", "pick_up_height", "episode_s"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        require(any(self.weights.values()), "weights", self.weights, "at least one that is not 0")
        require(0 < self.hold_s <= self.episode_s, "hold_s", self.hold_s, f"in (0, episode_s = {self.episode_s:g}]")


def nearer_hand(position: Tensor) -> Tensor:
    """(N,) bool, whether the left hand is to act on objects at positions (N, 3) m."""
    return position[:, 1] > 0


class GraspAndReach:
    """`dexsim.env.world.Task`: the object, held, within 5 cm of its goal in the air for the last second.

    Args:
        settings: the config section.
        robot: whose bank of initial states is loaded.
    """

    name = "grasp_and_reach"
    capabilities = frozenset({"parameters", "wrench", "contacts"})
    actor: tuple[str, ...] = ("object_position", "joint_position", "goal")
    critic: tuple[str, ...] = (
        "object_position", "joint_position", "goal", "joint_velocity", "fingertip_position", "object_orientation",
        "object_velocity", "randomization_scales",
    )  # fmt: skip
    stage_names: tuple[str, ...] = ("touched", "picked_up", "at_goal")
    symmetric = False
    two_sided = True
    phases = 1

    def __init__(self, settings: GraspAndReachSettings, robot: RobotSpec) -> None:
        self.settings, self.robot = settings, robot
        self.episode_s, self.hold_s = settings.episode_s, settings.hold_s
        self.joints: tuple[str, ...] | None = tuple(n for n in robot.commands if robot.joint(n).side == "right")
        self._objects = objects.expand(settings.objects)
        self._hand = HandTerms(robot, self._objects)
        self.rewards: Mapping[str, tuple[float, Term]] = self._rewards()
        self._bank = initial_bank(settings.init, settings.bank, robot, self.name)
        own = self._bank.stage == 0
        require(
            not bool(nearer_hand(self._bank.object_pose[own, 0, :3]).any()),
            "bank",
            settings.bank,
            "one whose objects are nearer to the hand that takes them",
        )
        self._starts = StartStates(self._bank, settings.later_starts, settings.later_episodes)
        self._sides = TwoSidedBank(self._bank, robot)
        self._table = Table()

    def scene(self, robot: RobotSpec, timestep: float) -> Scene:
        """Table and object."""
        first, *others = self._objects
        # Where it lies is up to the bank.
        thing = replace(first, name=OBJECT, alternatives=tuple(others))
        return Scene(robot, self._table, (thing,), tuple(contact_pairs(robot)), timestep)

    def start(self, draws: EpisodeDraws, parameters: Mapping[str, Tensor], jitter: RandomizationSettings) -> Start:
        """A random state of the bank, its object shifted and turned, a goal in the air, on either side."""
        s = self.settings
        mirrored = draws.uniform("side", 1)[:, 0] < {"both": 0.5, "left": 1.0, "right": 0.0}[s.side]
        chosen = self._starts.choose(draws, parameters["object_size"])
        rest = self._table.position[2] + parameters["object_size"][:, 2] / 2
        ranges = (s.goal_x, s.goal_y, s.goal_height)
        goal = torch.cat([draws.uniform(f"goal_{i}", 1, *bounds) for i, bounds in enumerate(ranges)], dim=1)
        goal[:, 2] += rest
        state = self._sides.state(chosen, mirrored, rest, draws, jitter)
        return Start(state, mirrored_goals(goal[:, None], mirrored), mirrored, later=self._bank.stage[chosen] > 0)

    def next_phase(self, world: World) -> Tensor:
        """There is one."""
        return world.phase

    def success(self, world: World) -> Tensor:
        """Within reach of the goal, in the hand."""
        near = rewards.distance(world.state.object_pose[:, 0, :3], world.goal) < self.settings.success_distance
        return near & self._hand.touching(world, world.mirrored)

    def failure(self, world: World) -> Tensor:
        """The object left the table or was thrown."""
        moved = world.state.object_pose[:, 0, :3] - world.initial_object[:, 0, :3]
        sideways = torch.linalg.vector_norm(moved[:, :2], dim=1)
        return (sideways > LOST_SIDEWAYS) | (self._lifted(world) < -LOST_BELOW)

    def stages(self, world: World) -> dict[str, Tensor]:
        """The acting hand on the object; lifted by 5 cm; at the goal."""
        touching = self._hand.touching(world, world.mirrored)
        return {
            "touched": touching,
            "picked_up": touching & (self._lifted(world) > self.settings.pick_up_height),
            "at_goal": self.success(world),
        }

    def marker_positions(self, world: World) -> Tensor:
        """Where the acting hand's fingers should close, (N, 3, 3) m: from the object's front to its far side."""
        return self._hand.markers(world, world.mirrored)

    def metrics(self, world: World) -> dict[str, Tensor]:
        """Distance to the goal in m, tilt in deg, and whether the left hand acted."""
        pose = world.state.object_pose[:, 0]
        return {
            "goal_distance_m": rewards.distance(pose[:, :3], world.goal),
            "tilt_deg": tilt_cosine(pose[:, 3:]).clamp(-1.0, 1.0).acos().rad2deg(),
            "left_hand": world.mirrored.double(),
        }

    def _lifted(self, world: World) -> Tensor:
        """How far above its resting height the object's centre is, (N,) m."""
        rest = self._table.position[2] + world.object_size()[:, 2] / 2
        return world.state.object_pose[:, 0, 2] - rest

    def _rewards(self) -> dict[str, tuple[float, Term]]:
        s = self.settings
        terms: dict[str, Term] = {
            "contact": lambda world: self._hand.contact(world, world.mirrored, s.beta),
            "goal": lambda world: rewards.closeness(world.state.object_pose[:, 0, :3], world.goal, LOST_SIDEWAYS),
            "success": self.success,
            "lost": self.failure,
            "action": lambda world: world.action.square().mean(dim=1),
        }
        return rewards.weighted(terms, s.weights)
