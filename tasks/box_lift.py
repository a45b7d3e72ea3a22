"""Box lift: two hands lift a box that is too large for one (arXiv 2502.20396)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dexsim.control.observations import GOAL, JOINT_POSITION, OBJECT_POSITION
from dexsim.env.draws import EpisodeDraws
from dexsim.env.privileged import CRITIC
from dexsim.env.randomization import RandomizationSettings
from dexsim.env.task import Start, Term
from dexsim.env.world import World, fact
from dexsim.errors import require, unknown
from dexsim.parameters import PARAMETERS
from dexsim.robots import RobotSpec
from dexsim.robots.spec import SIDES
from dexsim.rotations import quat_rotate
from dexsim.scene import ContactPair, ObjectSpec, Scene
from tasks import markers, rewards
from tasks.banks import initial_bank
from tasks.base import LOST_SIDEWAYS, TabletopSettings, TabletopTask, require_positive
from tasks.starts import check_fit

BOX = "box"
# Where the box stands in the shipped banks, and its full extents at most, which their hands stay clear of; m.
BOX_CENTRE = (0.40, 0.0, 0.08)
LARGEST_BOX = (0.189, 0.252, 0.168)
# Placement of the markers -> bank of initial states; hands that are to lift by the bottom edges start lower.
PLACEMENT_BANKS = {"side_centres": "box_lift", "top_and_bottom_centres": "box_lift", "bottom_edges": "box_lift_low"}
# Tilt at which the term `level` is half of what it is for a level box, deg.
HALF_LEVEL_DEG = 10.0
# A bank whose boxes lie this near the middle on average prefers no side; m.
MIDDLE = 0.01


@dataclass(frozen=True, kw_only=True)
class BoxLiftSettings(TabletopSettings):
    """Config section `task` of box lift; where `bank` is None, the placement has one (`PLACEMENT_BANKS`).

    Attributes:
        box_size: nominal full extents x, y, z in m.
        box_mass: nominal mass in kg.
        box_friction: nominal sliding friction coefficient.
        goal_height: how far above its resting height the box should go, drawn from [low, high] in m. Where low < high
            actor and critic see the goal too; a goal that never changes they learn.
        placement: contact markers, one of `tasks.markers.PLACEMENTS` (Figure 5).
        alpha: sharpness of the left hand's contact reward, 1/m.
        beta: of the right hand's.
        success_tilt_deg: deg.
    """

    box_size: tuple[float, float, float]
    box_mass: float
    box_friction: float
    goal_height: tuple[float, float]
    placement: str
    alpha: float
    beta: float
    success_tilt_deg: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.placement not in markers.PLACEMENTS:
            problem = f"placement = {self.placement!r}: no such placement"
            raise unknown(problem, self.placement, markers.PLACEMENTS)
        low, high = self.goal_height
        require(
            0 < low <= high <= 0.4, "goal_height", list(self.goal_height), "[low, high] with 0 < low <= high <= 0.4 m"
        )
        require(min(self.box_size) > 0, "box_size", list(self.box_size), "positive extents in m")
        require_positive(self, "box_mass", "alpha", "beta")
        low, high = PARAMETERS["object_friction"].bounds
        require(low <= self.box_friction <= high, "box_friction", self.box_friction, f"{low:g} to {high:g}")
        require(0 < self.success_tilt_deg <= 180, "success_tilt_deg", self.success_tilt_deg, "in (0, 180]")
        check_fit("box_size", self.box_size, LARGEST_BOX, self.init, self.bank)


class BoxLift(TabletopTask):
    """The box's centre within 5 cm of its goal 17.5 cm up, upright, for the last second.

    Args:
        settings: the config section.
        robot: whose bank of initial states is loaded.
        device: where the tensors are.
    """

    name = "box_lift"
    Settings = BoxLiftSettings
    largest = LARGEST_BOX
    stage_names = ("touched", "picked_up", "at_goal")
    actor = (OBJECT_POSITION, JOINT_POSITION)
    critic = (OBJECT_POSITION, JOINT_POSITION, *CRITIC)

    def __init__(self, settings: BoxLiftSettings, robot: RobotSpec, device: torch.device | str | None = None) -> None:
        self.settings = settings
        self._markers = markers.box_markers(settings.placement, device)
        self._tips = tuple(robot.contact_tips(side) for side in SIDES)
        self._upright = math.cos(math.radians(settings.success_tilt_deg))
        bank = initial_bank(settings.init, settings.bank or PLACEMENT_BANKS[settings.placement], robot, self.name)
        place = (*BOX_CENTRE[:2], settings.box_size[2] / 2)
        box = ObjectSpec(BOX, "box", settings.box_size, settings.box_mass, settings.box_friction, place)
        super().__init__(settings, robot, bank, (box,), device)
        if settings.goal_height[0] < settings.goal_height[1]:
            self.actor, self.critic = (*self.actor, GOAL), (*self.critic, GOAL)
        self._place = bank.object_pose[:, 0, :2].to(device=device)
        self.symmetric = (
            settings.alpha == settings.beta
            and settings.weights.get("contact_left") == settings.weights.get("contact_right")
            and abs(float(bank.object_pose[:, 0, 1].mean())) < MIDDLE
        )

    def scene(self, robot: RobotSpec, timestep: float) -> Scene:
        """Table and box."""
        hands = tuple(ContactPair(f"{palm.side}_hand", palm.link, BOX) for palm in robot.palms)
        return Scene(robot, self.table, self.things, hands, timestep)

    def start(self, draws: EpisodeDraws, parameters: Mapping[str, Tensor], jitter: RandomizationSettings) -> Start:
        """Hands from a random state of the bank; the box at its place, shifted and turned."""
        size = parameters["object_size"]
        chosen, rest = self.starts.choose(draws, size), self.resting(size)
        height = draws.uniform("goal_height", 1, *self.settings.goal_height)
        goal = torch.cat([self._place[chosen], rest[:, None] + height], dim=1)
        return Start(self.starts.state(chosen, rest, draws, jitter), goal[:, None], later=self.starts.later[chosen])

    @fact("phase")
    def success(self, world: World) -> Tensor:
        """Within reach of the goal and upright."""
        return self.near_goal(world) & (self.upright(world) > self._upright)

    def stages(self, world: World) -> dict[str, Tensor]:
        """Both hands on the box; lifted by 5 cm; at the goal."""
        return {
            "touched": world.state.contact.all(dim=1),
            "picked_up": self.picked_up(world),
            "at_goal": self.success(world),
        }

    def marker_positions(self, world: World) -> Tensor:
        """The left hand's markers, then the right hand's, where they are now."""
        return torch.cat([self._placed(world, hand) for hand in (0, 1)], dim=1)

    def metrics(self, world: World) -> dict[str, Tensor]:
        """Distance to the goal in m, tilt in deg, and where on the box the fingertips are.

        The fingertips' height and outward distance are in the box's frame, as fractions of its half extents: 1 is the
        height of its top, and its side.
        """
        quat, half = world.object_orientation, world.object_size() / 2
        tips = torch.stack([world.state.fingertip_position[:, tips] for tips in self._tips], dim=1)
        inverse = quat[:, None, None] * quat.new_tensor([1.0, -1.0, -1.0, -1.0])
        local = quat_rotate(inverse, tips - world.object_position[:, None, None]) / half[:, None, None]
        outward = local[..., 1] * local.new_tensor([[1.0], [-1.0]])
        return {
            **super().metrics(world),
            "fingertip_height": local[..., 2].mean(dim=(1, 2)),
            "fingertip_outward": outward.mean(dim=(1, 2)),
        }

    def describe(self) -> dict[str, Any]:
        """As of every task at the table, the goal, and how far the box may be tilted."""
        shared, (x, y) = super().describe(), self._place.mean(dim=0).tolist()
        shared["success"]["tilt_deg"] = self.settings.success_tilt_deg
        return {**shared, "goals": [self.describe_goal((x, x), (y, y), self.settings.goal_height)]}

    def terms(self) -> dict[str, Term]:
        """Contact of each hand and closeness to the goal (section B), tilt, level, success, loss, effort."""
        return {
            "contact_left": partial(self._contact, hand=0, sharpness=self.settings.alpha),
            "contact_right": partial(self._contact, hand=1, sharpness=self.settings.beta),
            "goal": lambda world: rewards.closeness(self.distance(world), LOST_SIDEWAYS),
            "tilt": self._tilt,
            "level": self._level,
            **super().terms(),
        }

    def _placed(self, world: World, hand: int) -> Tensor:
        return markers.place(self._markers[hand], world.object_size(), world.state.object_pose[:, 0])

    def _contact(self, world: World, hand: int, sharpness: float) -> Tensor:
        tips = world.state.fingertip_position[:, self._tips[hand]]
        return rewards.contact(tips, self._placed(world, hand), sharpness)

    def _tilt(self, world: World) -> Tensor:
        """1 - cos of the tilt, in proportion to how far up the box is: while it is learned to lift, tilting is free."""
        return (1 - self.upright(world)) * self._risen(world)

    def _level(self, world: World) -> Tensor:
        """1 for a level box at its goal's height, half of that at `HALF_LEVEL_DEG`, and less the lower it is.

        It never costs anything to lift a box that tilts.
        """
        return self._risen(world) / (1 + (1 - self.upright(world)) / (1 - math.cos(math.radians(HALF_LEVEL_DEG))))

    def _risen(self, world: World) -> Tensor:
        """Share (N,) of the way up to its goal, 0 to 1."""
        return (self.lifted(world) / (world.goal[:, 2] - self.rest(world))).clamp(0.0, 1.0)
