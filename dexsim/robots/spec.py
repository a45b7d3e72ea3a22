"""Value objects that describe a robot: links, joints, couplings, fingertips, palms.

SI units, quaternions w x y z, z up, x forward, y left, origin at the robot's base link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dexsim.errors import UserError, unknown
from dexsim.robots.tables import check_same

Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]
SIDES = ("left", "right")
PARTS = ("arm", "hand")
REGIONS = ("torso", "arm", "forearm", "hand")


@dataclass(frozen=True)
class Primitive:
    """A collision shape in its link's frame.

    Attributes:
        kind: "box" or "capsule".
        size: box: full extents x, y, z in m; capsule: radius and length of the cylindrical part along its z in m.
        position: centre in m.
        quat: orientation, w x y z.
        region: which collision region it belongs to: "torso", "arm", "forearm" or "hand".
        side: "left", "right" or "" for the torso.
    """

    kind: str
    size: tuple[float, ...]
    position: Vec3
    quat: Quat
    region: str
    side: str


@dataclass(frozen=True)
class Link:
    """A rigid body: mass in kg, centre of mass in m, inertia about it in kg m^2 (xx, yy, zz, xy, xz, yz), link axes.

    `gravity_compensation` is the share of its weight that the drives take off by themselves. `origin` shifts its mass,
    shapes and fingertips within its joint's frame, m; the joints below stay where they are. `inertia_factor` is what
    `inertia` has been scaled by besides the mass. `side`, `part`, `finger` and `role` are as of a `Joint`.
    """

    name: str
    mass: float
    com: Vec3
    inertia: tuple[float, float, float, float, float, float]
    primitives: tuple[Primitive, ...] = ()
    gravity_compensation: float = 0.0
    origin: Vec3 = (0.0, 0.0, 0.0)
    inertia_factor: float = 1.0
    side: str = ""
    part: str = ""
    finger: str = ""
    role: str = ""


@dataclass(frozen=True)
class Joint:
    """A joint between two links; `kind` is "revolute" or "fixed".

    Attributes:
        origin: child frame in the parent's, m.
        rpy: its fixed-axis roll, pitch, yaw in rad, as in URDF.
        axis: rotation axis in the child's frame.
        limits: lower and upper position in rad.
        effort: largest torque in N m.
        velocity: largest speed in rad/s.
        stiffness: P gain of the position drive in N m/rad.
        damping: D gain of the position drive in N m s/rad.
        armature: reflected rotor inertia in kg m^2.
        friction: dry friction in N m.
        delay: time from sending a target to the drive's receiving it, s.
        lag: time constant of the first-order filter through which the drive then follows it, s.
        bias: what its encoder reads at position zero, rad. The drive regulates the true position.
        side: "left", "right" or "" for the trunk.
        part: "arm", "hand" or "" for trunk and head.
        finger: of a hand, such as "thumb"; "" for none.
        role: what it is within its finger or arm, such as "elbow_pitch"; the same for the partner on the other side.
    """

    name: str
    kind: str
    parent: str
    child: str
    origin: Vec3
    rpy: Vec3
    axis: Vec3 = (0.0, 0.0, 1.0)
    limits: tuple[float, float] = (0.0, 0.0)
    effort: float = 0.0
    velocity: float = 0.0
    stiffness: float = 0.0
    damping: float = 0.0
    armature: float = 0.0
    friction: float = 0.0
    delay: float = 0.0
    lag: float = 0.0
    bias: float = 0.0
    side: str = ""
    part: str = ""
    finger: str = ""
    role: str = ""


@dataclass(frozen=True)
class Coupling:
    """An underactuated joint q_joint = k * q_source + b, b in rad (arXiv 2502.20396, section A)."""

    joint: str
    source: str
    k: float
    b: float


@dataclass(frozen=True)
class Fingertip:
    """A point on a finger's last link: position in the link's frame in m; whether it is to touch what a hand grasps."""

    name: str
    side: str
    link: str
    position: Vec3
    finger: str
    contact: bool = True


@dataclass(frozen=True)
class Palm:
    """A hand's grasp frame: a point in front of the palm, the way it faces, the way its fingers point (link frame)."""

    side: str
    link: str
    position: Vec3
    normal: Vec3
    fingers: Vec3


@dataclass(frozen=True)
class Posture:
    """Angles of some commanded joints by name, rad."""

    name: str
    joints: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class JointMirror:
    """The mirror image of commanded joint positions in rad: image = sign * position[index].

    Attributes:
        index: which command each one's image comes from.
        sign: of each, 1.0 or -1.0.
    """

    index: tuple[int, ...]
    sign: tuple[float, ...]


@dataclass(frozen=True)
class Interval:
    """How sure a fit is of one value of one of a robot's constants.

    Attributes:
        name: of the constant (`dexsim.robots.constants`).
        label: what the value belongs to: a joint, a link, or an axis of one.
        low: lower end of its 95% interval.
        high: upper end.
    """

    name: str
    label: str
    low: float
    high: float


@dataclass(frozen=True)
class RobotSpec:
    """A whole robot. `commands` is the canonical order of the joints that take a target (26 for the GR1).

    `urdf` is the file in the vendor's package that its meshes are drawn from, "" for none. `mirror` and
    `fingertip_mirror`, the index of each fingertip's image, come from `dexsim.robots.mirror`; a robot with one arm has
    none. `intervals` says how sure a tuned robot's constants are, as far as its fit states it.
    """

    name: str
    hand: str
    links: tuple[Link, ...]
    joints: tuple[Joint, ...]
    commands: tuple[str, ...]
    couplings: tuple[Coupling, ...]
    fingertips: tuple[Fingertip, ...]
    palms: tuple[Palm, ...]
    open_position: tuple[float, ...]
    closed_position: tuple[float, ...]
    postures: tuple[Posture, ...] = ()
    urdf: str = ""
    mirror: JointMirror | None = None
    fingertip_mirror: tuple[int, ...] = ()
    intervals: tuple[Interval, ...] = ()

    @cached_property
    def _joint_by_name(self) -> dict[str, Joint]:
        return {joint.name: joint for joint in self.joints}

    @cached_property
    def _link_by_name(self) -> dict[str, Link]:
        return {link.name: link for link in self.links}

    @cached_property
    def moving_joints(self) -> tuple[Joint, ...]:
        """The joints that move, commanded and coupled, in the order of the kinematic tree."""
        moving = {*self.commands, *(c.joint for c in self.couplings)}
        return tuple(joint for joint in self.joints if joint.name in moving)

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Names of `moving_joints`."""
        return tuple(joint.name for joint in self.moving_joints)

    @cached_property
    def command_index(self) -> np.ndarray:
        """(num_commands,) index of each commanded joint within `moving_joints`."""
        return np.array([self.joint_names.index(name) for name in self.commands])

    @cached_property
    def coupled_index(self) -> np.ndarray:
        """(num_couplings,) index of each coupled joint within `moving_joints`."""
        return np.array([self.joint_names.index(c.joint) for c in self.couplings])

    @cached_property
    def command_limits(self) -> np.ndarray:
        """(num_commands, 2) lower and upper position limits in rad."""
        return np.array([self.joint(name).limits for name in self.commands])

    @cached_property
    def is_hand(self) -> np.ndarray:
        """(num_commands,) whether a command belongs to a hand (those are normalized 0 open .. 1 closed)."""
        return np.array([self.joint(name).part == "hand" for name in self.commands])

    @cached_property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """Commanded joints of each part, such as "left_arm", in canonical order."""
        names = {name: self.part_of(name) for name in self.commands}
        return {part: tuple(n for n, own in names.items() if own == part) for part in dict.fromkeys(names.values())}

    @cached_property
    def root(self) -> str:
        """The link that all others hang from."""
        children = {joint.child for joint in self.joints}
        return next(joint.parent for joint in self.joints if joint.parent not in children)

    @cached_property
    def moving_links(self) -> tuple[Link, ...]:
        """The links with mass that a moving joint carries, in the order of `links`."""
        carried = set()
        for joint in self.joints:  # parents come first
            if joint.name in self.joint_names or joint.parent in carried:
                carried.add(joint.child)
        return tuple(link for link in self.links if link.name in carried and link.mass > 0)

    @property
    def has_drive_dynamics(self) -> bool:
        """Whether targets reach any drive late or filtered."""
        return any(joint.delay > 0 or joint.lag > 0 for joint in self.moving_joints)

    @cached_property
    def encoder_bias(self) -> np.ndarray:
        """(num_commands,) what is measured minus where the joint is, rad."""
        return np.array([self.joint(name).bias for name in self.commands])

    def joint(self, name: str) -> Joint:
        """The joint of that name; raises UserError where there is none."""
        if name not in self._joint_by_name:
            raise UserError(f"robot {self.name!r} has no joint {name!r}")
        return self._joint_by_name[name]

    def link(self, name: str) -> Link:
        """The link of that name; raises UserError where there is none."""
        if name not in self._link_by_name:
            raise UserError(f"robot {self.name!r} has no link {name!r}")
        return self._link_by_name[name]

    def part_of(self, joint: str) -> str:
        """Side and part of a joint, such as "left_arm"; "" for the trunk."""
        each = self.joint(joint)
        return "_".join(word for word in (each.side, each.part) if word)

    def of_side(self, side: str) -> np.ndarray:
        """(num_commands,) whether a command is of that side."""
        return np.array([self.joint(name).side == side for name in self.commands])

    def arm_joints(self, side: str) -> list[str]:
        """Names of the arm joints of a side, shoulder to wrist."""
        return list(self.parts.get(f"{side}_arm", ()))

    def contact_tips(self, side: str) -> list[int]:
        """Indices of a side's fingertips that are to touch what it grasps; raises UserError where there are none."""
        found = [i for i, tip in enumerate(self.fingertips) if tip.side == side and tip.contact]
        if not found:
            raise UserError(f"robot {self.name!r} has no {side} hand with fingertips")
        return found

    def posture(self, name: str) -> np.ndarray:
        """(num_commands,) rad, within limits: a named posture; what it leaves out is at zero, hands open."""
        found = next((posture for posture in self.postures if posture.name == name), None)
        if found is None:
            known = [posture.name for posture in self.postures]
            raise unknown(f"robot {self.name!r} has no posture {name!r}", name, known)
        position = np.where(self.is_hand, self.open_position, 0.0)
        for joint, angle in found.joints:
            position[self.commands.index(joint)] = angle
        return np.clip(position, *self.command_limits.T)

    def shaped_above(self, link: str) -> str:
        """The nearest link with a shape that a link hangs from, the root where none has."""
        parent = {joint.child: joint.parent for joint in self.joints}
        shaped = {each.name for each in self.links if each.primitives}
        above = parent[link]
        while above in parent and above not in shaped:
            above = parent[above]
        return above

    def expand_coupled(self, commands: np.ndarray) -> np.ndarray:
        """Positions of all moving joints from those of the commanded ones, (..., commands) -> (..., joints), rad."""
        joints = np.zeros((*commands.shape[:-1], len(self.joint_names)))
        joints[..., self.command_index] = commands
        source = [self.joint_names.index(c.source) for c in self.couplings]
        k, b = np.array([c.k for c in self.couplings]), np.array([c.b for c in self.couplings])
        joints[..., self.coupled_index] = k * joints[..., source] + b
        return joints

    def table(self) -> dict[str, Any]:
        """What a checkpoint, a log or a bank is matched against: names, limits and units of the commanded joints."""
        return {
            "robot": self.name,
            "hand": self.hand,
            "unit": "rad",
            "commands": list(self.commands),
            "limits": self.command_limits.tolist(),
            "couplings": [[c.joint, c.source, c.k, c.b] for c in self.couplings],
            "fingertips": [tip.name for tip in self.fingertips],
        }

    def check_table(self, table: Any, owner: str) -> None:
        """Refuse something recorded with another robot, naming the joints that differ; warn of what was calibrated.

        Args:
            table: a `table()` that was stored.
            owner: what it was stored in, for the message.
        """
        if not isinstance(table, Mapping):
            raise UserError(f"{owner} has no table of a robot's joints")
        check_same(table, self.table(), f"{owner}, made for robot {table.get('robot')!r},")


def find_palm(robot: RobotSpec, side: str) -> Palm:
    """The palm of a side; raises UserError where there is none."""
    found = next((palm for palm in robot.palms if palm.side == side), None)
    if found is None:
        raise UserError(f"robot {robot.name!r} has no {side} palm")
    return found
