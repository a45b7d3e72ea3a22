"""Box lift: two hands lift a box that is too large for one (arXiv 2502.20396)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from dexsim.backends import InitialState
from dexsim.env.draws import EpisodeDraws
from dexsim.env.randomization import RandomizationSettings
from dexsim.env.task import Start, Term
from dexsim.env.world import World
from dexsim.errors import require, unknown
from dexsim.parameters import PARAMETERS
from dexsim.robots import RobotSpec
from dexsim.robots.spec import SIDES
from dexsim.rotations import quat_rotate, tilt_cosine
from dexsim.scene import ContactPair, ObjectSpec, Scene, Table
from tasks import markers, rewards
from tasks.banks import initial_bank
from tasks.recording.reach import BOX_CENTRE, BOX_SIZE
from tasks.starts import StartStates, check_fit, check_starts, place_object

BOX = "box"
# Placement of the markers -> bank of initial states; hands that are to lift by the bottom edges start lower.
PLACEMENT_BANKS = {"side_centres": "box_lift", "top_and_bottom_centres": "box_lift", "bottom_edges": "box_lift_low"}
# Farther from its start than this, or below its resting height by this much, the box is lost; m.
LOST_SIDEWAYS, LOST_BELOW = 0.35, 0.05
# A bank whose boxes lie this near the middle on average prefers no side; m.
MIDDLE = 0.01


@dataclass(frozen=True)
class BoxLiftSettings:
    """Config section `task` of box lift.

    Attributes:
        box_size: nominal full extents x, y, z in m.
        box_mass: nominal mass in kg.
        box_friction: nominal sliding friction coefficient.
        goal_height: how far above its resting height the box should go, drawn from [low, high] in m. Where low < high
            actor and critic see the goal too; a goal that never changes they learn.
        placement: contact markers, one of `tasks.markers.PLACEMENTS` (Figure 5).
        alpha: sharpness of the left hand's contact reward, 1/m.
        beta: of the right hand's.
        weights: weight of each reward term.
        success_distance: m.
        success_tilt_deg: deg.
        pick_up_height: lifted this far counts as picked up, m.
        episode_s: length of an episode in s.
        hold_s: success must have held this long at the end, in s.
        later_starts: see `tasks.banks.StartStates`. Only training heeds it.
        later_episodes: see there.
        init: "bank", or "default" for hands at rest instead of the bank's (Table 2).
        bank: bank of initial states: a file, or a name in `assets/banks`, of which each robot has its own; None for the
            one that goes with the placement (`PLACEMENT_BANKS`).
    """

    box_size: tuple[float, float, float] = (0.18, 0.24, 0.16)
    box_mass: float = 0.065
    box_friction: float = 1.0
    goal_height: tuple[float, float] = (0.175, 0.175)
    placement: str = "side_centres"
    alpha: float = 20.0
    beta: float = 20.0
    weights: dict[str, float] = field(
        default_factory=lambda: {
            "contact_left": 0.1,
            "contact_right": 0.1,
            "goal": 3.0,
            "tilt": -3.0,
            "success": 1.0,
            "lost": -2.0,
            "action": -0.02,
        }
    )
    success_distance: float = 0.05
    success_tilt_deg: float = 30.0
    pick_up_height: float = 0.05
    episode_s: float = 5.0
    hold_s: float = 1.0
    later_starts: tuple[float, float] = (0.0, 0.0)
    later_episodes: int = 20
    init: str = "bank"
    bank: str | None = None

    def __post_init__(self) -> None:
        if self.placement not in markers.PLACEMENTS:
            problem = f"placement = {self.placement!r}: no such placement"
            raise unknown(problem, self.placement, markers.PLACEMENTS)
        low, high = self.goal_height
        require(
            0 < low <= high <= 0.4, "goal_height", list(self.goal_height), "[low, high] with 0 < low <= high <= 0.4 m"
        )
        require(min(self.box_size) > 0, "box_size", list(self.box_size), "positive extents in m")
        require(any(self.weights.values()), "weights", self.weights, "at least one that is not 0")
        for name in ("box_mass", "alpha", "beta", "success_distance", "pick_up_height", "episode_s"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        low, high = PARAMETERS["object_friction"].bounds
        require(low <= self.box_friction <= high, "box_friction", self.box_friction, f"{low:g} to {high:g}")
        require(0 < self.success_tilt_deg <= 180, "success_tilt_deg", self.success_tilt_deg, "in (0, 180]")
        require(0 < self.hold_s <= self.episode_s, "hold_s", self.hold_s, f"in (0, episode_s = {self.episode_s:g}]")
        check_starts(self.later_starts, self.later_episodes)
        check_fit("box_size", self.box_size, BOX_SIZE, self.init, self.bank)


class BoxLift:
    """`dexsim.env.world.Task`: the box's centre within 5 cm of its goal 17.5 cm up, upright, for the last second.

    The groups of observations are the paper's (section C): the actor sees the object's position and the joints.

    Args:
        settings: the config section.
        robot: whose bank of initial states is loaded.
    """

    name = "box_lift"
    capabilities = frozenset({"parameters", "wrench", "contacts"})
    actor: tuple[str, ...] = ("object_position", "joint_position")
    critic: tuple[str, ...] = (
        "object_position", "joint_position", "joint_velocity", "fingertip_position", "object_orientation",
        "object_velocity", "randomization_scales",
    )  # fmt: skip
    stage_names: tuple[str, ...] = ("touched", "picked_up", "at_goal")
    two_sided = False
    joints: tuple[str, ...] | None = None
    phases = 1

    def __init__(self, settings: BoxLiftSettings, robot: RobotSpec) -> None:
        self.settings, self.robot = settings, robot
        self.episode_s, self.hold_s = settings.episode_s, settings.hold_s
        self._markers = markers.box_markers(settings.placement)
        self._tips = tuple(robot.contact_tips(side) for side in SIDES)
        self._upright = float(torch.cos(torch.deg2rad(torch.tensor(settings.success_tilt_deg))))
        self.rewards: Mapping[str, tuple[float, Term]] = self._rewards()
        if settings.goal_height[0] < settings.goal_height[1]:
            self.actor, self.critic = (*self.actor, "goal"), (*self.critic, "goal")
        self._bank = initial_bank(settings.init, settings.bank or PLACEMENT_BANKS[settings.placement], robot, self.name)
        self._starts = StartStates(self._bank, settings.later_starts, settings.later_episodes)
        self._table = Table()
        self.symmetric = (
            settings.alpha == settings.beta
            and settings.weights.get("contact_left") == settings.weights.get("contact_right")
            and abs(float(self._bank.object_pose[:, 0, 1].mean())) < MIDDLE
        )

    def scene(self, robot: RobotSpec, timestep: float) -> Scene:
        """Table and box."""
        s = self.settings
        position = (*BOX_CENTRE[:2], self._table.position[2] + s.box_size[2] / 2)
        box = ObjectSpec(BOX, "box", s.box_size, s.box_mass, s.box_friction, position)
        hands = tuple(ContactPair(f"{palm.side}_hand", palm.link, BOX) for palm in robot.palms)
        return Scene(robot, self._table, (box,), hands, timestep)

    def start(self, draws: EpisodeDraws, parameters: Mapping[str, Tensor], jitter: RandomizationSettings) -> Start:
        """Hands from a random state of the bank; the box at its place, shifted and turned."""
        s, bank = self.settings, self._bank
        chosen = self._starts.choose(draws, parameters["object_size"])
        rest = self._table.position[2] + parameters["object_size"][:, 2] / 2
        pose = place_object(bank, chosen, rest, draws, jitter)
        height = draws.uniform("goal_height", 1, *s.goal_height)
        goal = torch.cat([bank.object_pose[chosen, 0, :2], rest[:, None] + height], dim=1)
        return Start(
            InitialState(bank.joint_position[chosen], bank.joint_target[chosen], pose[:, None]),
            goal[:, None],
            later=bank.stage[chosen] > 0,
        )

    def next_phase(self, world: World) -> Tensor:
        """There is one."""
        return world.phase

    def success(self, world: World) -> Tensor:
        """Within reach of the goal and upright."""
        pose = world.state.object_pose[:, 0]
        near = rewards.distance(pose[:, :3], world.goal) < self.settings.success_distance
        return near & (tilt_cosine(pose[:, 3:]) > self._upright)

    def failure(self, world: World) -> Tensor:
        """The box left the table or was thrown."""
        moved = world.state.object_pose[:, 0, :3] - world.initial_object[:, 0, :3]
        sideways = torch.linalg.vector_norm(moved[:, :2], dim=1)
        below = world.state.object_pose[:, 0, 2] < self._rest(world) - LOST_BELOW
        return (sideways > LOST_SIDEWAYS) | below

    def stages(self, world: World) -> dict[str, Tensor]:
        """Both hands on the box; lifted by 5 cm; at the goal."""
        lifted = world.state.object_pose[:, 0, 2] - self._rest(world)
        return {
            "touched": world.state.contact.all(dim=1),
            "picked_up": lifted > self.settings.pick_up_height,
            "at_goal": self.success(world),
        }

    def marker_positions(self, world: World) -> Tensor:
        """The left hand's markers, then the right hand's, where they are now."""
        size, pose = world.object_size(), world.state.object_pose[:, 0]
        return torch.cat([markers.place(points, size, pose) for points in self._markers], dim=1)

    def metrics(self, world: World) -> dict[str, Tensor]:
        """Distance to the goal in m, tilt in deg, and where on the box the fingertips are.

        The fingertips' height and outward distance are in the box's frame, as fractions of its half extents: 1 is the
        height of its top, and its side.
        """
        pose, half = world.state.object_pose[:, 0], world.object_size() / 2
        tilt = tilt_cosine(pose[:, 3:]).clamp(-1.0, 1.0).acos().rad2deg()
        outward = torch.tensor([1.0, -1.0], dtype=torch.float64)
        tips = torch.stack([world.state.fingertip_position[:, tips] for tips in self._tips], dim=1)
        inverse = pose[:, None, None, 3:] * torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)
        local = quat_rotate(inverse, tips - pose[:, None, None, :3]) / half[:, None, None]
        return {
            "goal_distance_m": rewards.distance(pose[:, :3], world.goal),
            "tilt_deg": tilt,
            "fingertip_height": local[..., 2].mean(dim=(1, 2)),
            "fingertip_outward": (local[..., 1] * outward[:, None]).mean(dim=(1, 2)),
        }

    def _rewards(self) -> dict[str, tuple[float, Term]]:
        s = self.settings
        terms: dict[str, Term] = {
            "contact_left": partial(self._contact, hand=0, sharpness=s.alpha),
            "contact_right": partial(self._contact, hand=1, sharpness=s.beta),
            "goal": self._goal,
            "tilt": self._tilt,
            "success": self.success,
            "lost": self.failure,
            "action": lambda world: world.action.square().mean(dim=1),
        }
        return rewards.weighted(terms, s.weights)

    def _contact(self, world: World, hand: int, sharpness: float) -> Tensor:
        points = markers.place(self._markers[hand], world.object_size(), world.state.object_pose[:, 0])
        return rewards.contact(world.state.fingertip_position[:, self._tips[hand]], points, sharpness)

    def _tilt(self, world: World) -> Tensor:
        """1 - cos of the tilt, in proportion to how far up the box is: while it is learned to lift, tilting is free."""
        pose, start = world.state.object_pose[:, 0], self._rest(world)
        risen = (pose[:, 2] - start) / (world.goal[:, 2] - start)
        return (1 - tilt_cosine(pose[:, 3:])) * risen.clamp(0.0, 1.0)

    def _rest(self, world: World) -> Tensor:
        """Height (N,) of the box's centre when it rests."""
        return self._table.position[2] + world.object_size()[:, 2] / 2

    def _goal(self, world: World) -> Tensor:
        return rewards.closeness(world.state.object_pose[:, 0, :3], world.goal, LOST_SIDEWAYS)
