"""A robot's physical constants by name: read from a `RobotSpec`, and written into a new one.

The names are those of `dexsim.parameters`; each is an array with one value for each of its `labels`. This is what
real-to-sim searches and what the file of a tuned robot holds (arXiv 2502.20396, section A).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dexsim.errors import UserError
from dexsim.robots.spec import Joint, Link, RobotSpec

Values = dict[str, np.ndarray]

# Name -> the field of `Joint` that it is, for the commanded joints.
JOINT_FIELDS: dict[str, str] = {
    "joint_stiffness": "stiffness",
    "joint_damping": "damping",
    "joint_armature": "armature",
    "joint_friction": "friction",
    "joint_effort": "effort",
    "joint_delay": "delay",
    "joint_lag": "lag",
    "joint_bias": "bias",
}

# Positive ones, which are searched, and vary, by their logarithm.
LOG_NAMES = frozenset(
    {
        "joint_stiffness", "joint_damping", "joint_armature", "joint_friction", "joint_effort", "joint_lag",
        "link_mass", "link_inertia",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One named physical parameter.

    Attributes:
        name: its name.
        unit: SI unit, "1" for none.
        per: what it has one value of: "command" (26 joints), "joint_axis" (J * 3 of the moving joints), "link" and
            "link_axis" (those that move), "coupling", "object" (K), "object_axis" (K * 3), "robot" or "scene" (1).
        bounds: physically sensible lowest and highest value.
        text: what it is.
    """

    name: str
    unit: str
    per: str
    bounds: tuple[float, float]
    text: str


# Every constant of a robot.
CONSTANTS: dict[str, Parameter] = {
    p.name: p
    for p in (
        Parameter("joint_stiffness", "N m/rad", "command", (0.01, 2000.0), "P gain of the position drive"),
        Parameter("joint_damping", "N m s/rad", "command", (0.0, 200.0), "D gain of the drive, and viscous friction"),
        Parameter("joint_armature", "kg m^2", "command", (0.0, 5.0), "rotor inertia, reflected through the gear"),
        Parameter("joint_friction", "N m", "command", (0.0, 50.0), "dry friction"),
        Parameter("joint_effort", "N m", "command", (1e-3, 1000.0), "largest torque of the drive"),
        Parameter("joint_delay", "s", "command", (0.0, 0.25), "from sending a target to the drive's receiving it"),
        Parameter("joint_lag", "s", "command", (0.0, 1.0), "time constant of the drive's first-order target filter"),
        Parameter("joint_bias", "rad", "command", (-0.5, 0.5), "measured minus true position"),
        Parameter("joint_lower", "rad", "command", (-6.3, 6.3), "lower limit"),
        Parameter("joint_upper", "rad", "command", (-6.3, 6.3), "upper limit"),
        Parameter("joint_origin", "m", "joint_axis", (-1.0, 1.0), "the joint's place in the link above"),
        Parameter("link_mass", "kg", "link", (1e-4, 50.0), "mass; the inertia follows it"),
        Parameter("link_inertia", "1", "link", (0.05, 20.0), "factor on the link's inertia"),
        Parameter("link_gravity_compensation", "1", "link", (0.0, 2.0), "share of its weight that the drives take off"),
        Parameter("link_com", "m", "link_axis", (-1.0, 1.0), "centre of mass in the link"),
        Parameter(
            "link_origin", "m", "link_axis", (-1.0, 1.0), "shift of the link's mass and shapes within its joint's frame"
        ),
        Parameter("coupling_k", "1", "coupling", (-5.0, 5.0), "slope of an underactuated joint on its source"),
        Parameter("coupling_b", "rad", "coupling", (-3.2, 3.2), "offset of an underactuated joint"),
    )
}


def check(values: Mapping[str, Any], known: Mapping[str, Parameter] = CONSTANTS) -> None:
    """Raise UserError for a name that does not exist or a value outside its bounds."""
    for name, value in values.items():
        if name not in known:
            raise UserError(f"unknown physical parameter {name!r}; allowed: {', '.join(known)}")
        low, high = known[name].bounds
        if 0 not in value.shape and not (low <= float(value.min()) and float(value.max()) <= high):
            raise UserError(
                f"{name} from {float(value.min()):g} to {float(value.max()):g}; allowed: {low:g} to {high:g} "
                f"{known[name].unit}"
            )


def labels(robot: RobotSpec, name: str) -> tuple[str, ...]:
    """What each value of a constant belongs to: a joint, a link, or an axis of one ("left_elbow_pitch_joint.x")."""
    owner = CONSTANTS[name].per
    names = {
        "command": robot.commands,
        "coupling": tuple(c.joint for c in robot.couplings),
        "joint_axis": robot.joint_names,
    }.get(owner, tuple(link.name for link in robot.moving_links))
    return tuple(f"{n}.{axis}" for n in names for axis in "xyz") if owner.endswith("_axis") else tuple(names)


def owner_of(robot: RobotSpec, constant: str, label: str) -> Joint | Link:
    """The joint or link that a value of a constant belongs to, by one of its `labels`."""
    name = label.partition(".")[0]
    return robot.link(name) if CONSTANTS[constant].per.startswith("link") else robot.joint(name)


def drives_of(item: Joint | Link) -> str:
    """Whose drives a joint or link hangs on, such as "left_arm": a palm, which is no finger's, on the arm's."""
    return f"{item.side}_{'hand' if item.finger else 'arm'}"


def constants(robot: RobotSpec) -> Values:
    """Every constant of a robot, name -> (k,) float64; `link_inertia` is a factor, 1 for moments as documented."""
    joints, links = [robot.joint(name) for name in robot.commands], robot.moving_links
    values: dict[str, Any] = {name: [getattr(j, field) for j in joints] for name, field in JOINT_FIELDS.items()}
    values["joint_lower"], values["joint_upper"] = robot.command_limits.T
    values["joint_origin"] = [j.origin for j in robot.moving_joints]
    values["link_mass"] = [link.mass for link in links]
    values["link_inertia"] = [link.inertia_factor for link in links]
    values["link_gravity_compensation"] = [link.gravity_compensation for link in links]
    values["link_com"] = [link.com for link in links]
    values["link_origin"] = [link.origin for link in links]
    values["coupling_k"], values["coupling_b"] = [c.k for c in robot.couplings], [c.b for c in robot.couplings]
    return {name: np.array(value, dtype=float).reshape(-1) for name, value in values.items()}


def with_constants(robot: RobotSpec, values: Mapping[str, np.ndarray]) -> RobotSpec:
    """A robot with other constants; a link's inertia follows its mass, so that it stays that of a body.

    Args:
        robot: the robot.
        values: name -> (k,) of `CONSTANTS`, in the order of `labels`; those left out stay as they are.
    """
    new = {**constants(robot), **{name: np.asarray(value, dtype=float) for name, value in values.items()}}
    command = {name: i for i, name in enumerate(robot.commands)}
    moving = {name: i for i, name in enumerate(robot.joint_names)}
    link = {item.name: i for i, item in enumerate(robot.moving_links)}
    return replace(
        robot,
        joints=tuple(_joint(j, new, command, moving) if j.name in moving else j for j in robot.joints),
        links=tuple(_link(item, new, link[item.name]) if item.name in link else item for item in robot.links),
        couplings=tuple(
            replace(c, k=float(new["coupling_k"][i]), b=float(new["coupling_b"][i]))
            for i, c in enumerate(robot.couplings)
        ),
        **_ends(robot, new),
    )


def _joint(joint: Joint, new: Values, command: Mapping[str, int], moving: Mapping[str, int]) -> Joint:
    row = moving[joint.name]
    fields: dict[str, Any] = {"origin": tuple(new["joint_origin"][3 * row : 3 * row + 3].tolist())}
    if joint.name in command:
        i = command[joint.name]
        fields.update({field: float(new[name][i]) for name, field in JOINT_FIELDS.items()})
        fields["limits"] = (float(new["joint_lower"][i]), float(new["joint_upper"][i]))
    return replace(joint, **fields)


def _link(link: Link, new: Values, i: int) -> Link:
    mass, factor, axes = float(new["link_mass"][i]), float(new["link_inertia"][i]), slice(3 * i, 3 * i + 3)
    scale = mass / link.mass * factor / link.inertia_factor
    inertia: Any = tuple(scale * moment for moment in link.inertia)
    return replace(
        link,
        mass=mass,
        inertia=inertia,
        com=tuple(new["link_com"][axes].tolist()),
        origin=tuple(new["link_origin"][axes].tolist()),
        gravity_compensation=float(new["link_gravity_compensation"][i]),
        inertia_factor=factor,
    )


def _ends(robot: RobotSpec, new: Values) -> dict[str, tuple[float, ...]]:
    """Open and closed positions that lie on a limit follow it; no other one is left outside."""
    (low, high), bounds = robot.command_limits.T, (new["joint_lower"], new["joint_upper"])

    def follow(position: np.ndarray) -> tuple[float, ...]:
        followed = np.where(position == low, bounds[0], np.where(position == high, bounds[1], position))
        return tuple(np.clip(followed, *bounds).tolist())

    return {name: follow(np.array(getattr(robot, name))) for name in ("open_position", "closed_position")}
