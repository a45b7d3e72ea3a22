"""Grasp-and-reach: one hand takes an object from the table and brings it to a goal in the air (arXiv 2502.20396).

The nearer hand acts and the other keeps still. An object on the left is a mirror image of one on the right, so the
policy always sees a right hand at work (`Task.two_sided`). On a robot `dexsim.control.symmetry.left_hand_acts` decides.
"""

from __future__ import annotations

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
from tasks.base import (
    LOST_SIDEWAYS,
    TabletopSettings,
    TabletopTask,
    require_positive,
    require_range,
)
from tasks.hand_terms import HandTerms, grasping_scene
from tasks.starts import check_fit, draw_goal

# Whose episodes -> how often the left hand acts.
SIDES = {"both": 0.5, "left": 1.0, "right": 0.0}
# A cylinder around every object of the training set, scaled by Table 4: hands of the shipped banks stay clear of it, m.
LARGEST_OBJECT = (0.090, 0.090, 0.158)


@dataclass(frozen=True, kw_only=True)
class GraspAndReachSettings(TabletopSettings):
    """Config section `task` of grasp-and-reach.

    Attributes:
        objects: names of objects, groups or mesh files, or objects themselves (`tasks.objects.expand`); each episode
            has one of them.
        side: which hand's episodes: "left", "right" or "both".
        goal_x: where the goal is, forward, [low, high] in m.
        goal_y: sideways, as for the right hand, [low, high] in m.
        goal_height: above the object's resting height, [low, high] in m.
        beta: sharpness of the contact reward, 1/m.
    """

    objects: tuple[str | dict[str, Any], ...]
    side: str
    goal_x: tuple[float, float]
    goal_y: tuple[float, float]
    goal_height: tuple[float, float]
    beta: float
    bank: str | dict[str, Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        for item in objects.expand(self.objects):
            check_fit(f"size of the object {item.name!r}", item.size, LARGEST_OBJECT, self.init, self.bank)
        require(self.side in SIDES, "side", self.side, f"one of {', '.join(SIDES)}")
        for name, lowest, highest in (("goal_x", 0.1, 0.8), ("goal_y", -0.6, 0.6), ("goal_height", 0.06, 0.5)):
            require_range(self, name, lowest, highest)
        require_positive(self, "beta")


class GraspAndReach(TabletopTask):
    """The object, held, within 5 cm of its goal in the air for the last second.

    Args:
        settings: the config section.
        robot: whose bank of initial states is loaded.
        device: where the tensors are.
    """

    name = "grasp_and_reach"
    Settings = GraspAndReachSettings
    largest = LARGEST_OBJECT
    stage_names = ("touched", "picked_up", "at_goal")
    two_sided = True

    def __init__(
        self, settings: GraspAndReachSettings, robot: RobotSpec, device: torch.device | str | None = None
    ) -> None:
        self.settings = settings
        self.joints = tuple(name for name in robot.commands if robot.joint(name).side == "right")
        things = objects.expand(settings.objects)
        self._hand = HandTerms(robot, things, (0.0,), device)
        bank = initial_bank(settings.init, settings.bank, robot, self.name)
        super().__init__(settings, robot, bank, things, device)

    def scene(self, robot: RobotSpec, timestep: float) -> Scene:
        """Table and object."""
        return grasping_scene(robot, self.table, self.things, timestep)

    def start(self, draws: EpisodeDraws, parameters: Mapping[str, Tensor], jitter: RandomizationSettings) -> Start:
        """A random state of the bank, its object shifted and turned, a goal in the air, on either side."""
        s, size = self.settings, parameters["object_size"]
        mirrored = draws.uniform("side", 1)[:, 0] < SIDES[s.side]
        chosen, rest = self.starts.choose(draws, size), self.resting(size)
        goal = draw_goal(draws, rest, s.goal_x, s.goal_y, s.goal_height)
        state = self.starts.state(chosen, rest, draws, jitter, mirrored)
        goals = self.starts.mirror_goals(goal[:, None], mirrored)
        return Start(state, goals, mirrored, later=self.starts.later[chosen])

    @fact("phase")
    def success(self, world: World) -> Tensor:
        """Within reach of the goal, in the hand."""
        return self.near_goal(world) & self._touching(world)

    def stages(self, world: World) -> dict[str, Tensor]:
        """The acting hand on the object; lifted by 5 cm; at the goal."""
        touching = self._touching(world)
        return {
            "touched": touching,
            "picked_up": touching & self.picked_up(world),
            "at_goal": self.success(world),
        }

    def marker_positions(self, world: World) -> Tensor:
        """Where the acting hand's fingers should close, (N, 3, 3) m: from the object's front to its far side."""
        return self._hand.markers(world, 0)

    def metrics(self, world: World) -> dict[str, Tensor]:
        """Distance to the goal in m, tilt in deg, and whether the left hand acted."""
        return {**super().metrics(world), "left_hand": world.mirrored.double()}

    def describe(self) -> dict[str, Any]:
        """As of every task at the table, where the goal may be, and that the object must be in the hand."""
        s, shared = self.settings, super().describe()
        shared["success"]["requires"] = "the acting hand touches the object"
        return {**shared, "goals": [self.describe_goal(s.goal_x, s.goal_y, s.goal_height)]}

    def terms(self) -> dict[str, Term]:
        """Contact of the acting hand and closeness to the goal (section B), success, loss, effort."""
        return {
            "contact": lambda world: self._hand.contact(world, 0, self.settings.beta),
            "goal": lambda world: rewards.closeness(self.distance(world), LOST_SIDEWAYS),
            **super().terms(),
        }

    @fact()
    def _touching(self, world: World) -> Tensor:
        return self._hand.touching(world, 0)
