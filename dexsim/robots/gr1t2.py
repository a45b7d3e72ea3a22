"""The Fourier GR1T2 upper body with Fourier or Inspire hands, from `assets/robots/gr1t2.json`.

Kinematics, inertias, limits, efforts and arm speeds are the vendor's. The gains, armatures and dry frictions of the
drives are not published: the values here are nominal, and what real-to-sim is there to fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from dexsim import settings
from dexsim.errors import require, unknown
from dexsim.paths import assets_dir
from dexsim.robots.spec import SIDES, Coupling, Fingertip, Joint, Link, Palm, Primitive, RobotSpec, optional_side
from dexsim.robots.tuned import apply_tuned, read_tuned
from dexsim.rotations import quat_from_rpy, quat_multiply, quat_rotate

# Nominal drives: stiffness N m/rad, damping N m s/rad, armature kg m^2, by what the name contains. Dry
# friction is zero: it is unknown, and each joint that has it is one more row for the constraint solver.
DRIVES: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("shoulder", (80.0, 6.0, 0.13)),
    ("elbow", (60.0, 4.5, 0.1025)),
    ("wrist_yaw", (30.0, 2.0, 0.04)),
    ("wrist", (20.0, 1.0, 0.025)),
    ("thumb_proximal", (2.0, 0.12, 0.0026)),
    ("proximal", (1.5, 0.08, 0.0014)),
)
# Lighter links are not worth the cost of compensating their weight; kg.
MIN_CARRIED_MASS = 0.02
COUPLED_ARMATURE = 5e-4
# Fourier gives no effort and speed for its hand; Inspire gives 1 N m. The speed is that of closing in 0.6 s.
HAND_EFFORT = 1.0
HAND_VELOCITY = 3.0

ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow_pitch", "wrist_yaw", "wrist_roll", "wrist_pitch")
HAND = ("thumb_proximal_yaw", "thumb_proximal_pitch", "index_proximal", "middle_proximal", "ring_proximal",
        "pinky_proximal")  # fmt: skip
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
# The paper's contact reward uses four fingertips a hand (arXiv 2502.20396, section B).
CONTACT_FINGERS = FINGERS[:4]

# Inspire's palm meshes are drawn, and their inertia is given, in a frame rotated against the link (vendor's URDF).
HANDS: dict[str, dict[str, Any]] = {
    "fourier": {"data": "upper_body_and_fourier_hands", "palm_rpy": {}, "tip": "{}_{}_tip_link", "palm_z": -0.075},
    "inspire": {
        "data": "inspire_hands",
        "palm_rpy": {
            "L_hand_base_link": (np.pi / 2, 0.0, np.pi / 2),
            "R_hand_base_link": (np.pi / 2, 0.0, -np.pi / 2),
        },
        "tip": "{}_{}_tip",
        "palm_z": -0.11,
    },
}
ROBOTS: dict[str, str] = {"gr1t2": "fourier", "gr1t2_inspire": "inspire"}


@dataclass(frozen=True)
class RobotSettings:
    """Config section `robot`.

    Attributes:
        name: one of `ROBOTS`.
        tuned: measured constants in place of nominal ones: a file that `dexsim autotune` wrote, or its content.
    """

    name: str = "gr1t2"
    tuned: str | dict[str, Any] | None = None

    def __post_init__(self) -> None:
        require(self.name in ROBOTS, "name", self.name, f"one of {', '.join(ROBOTS)}")


def load_robot(section: Mapping[str, Any]) -> RobotSpec:
    """The robot that a config section describes (`RobotSettings`)."""
    chosen = settings.build(RobotSettings, section, "robot")
    robot = load(chosen.name)
    if chosen.tuned is None:
        return robot
    return apply_tuned(robot, read_tuned(chosen.tuned) if isinstance(chosen.tuned, str) else chosen.tuned)


def with_content(section: Mapping[str, Any]) -> dict[str, Any]:
    """A config section with the content of the file that it names: what a checkpoint keeps, whatever becomes of it."""
    tuned = section.get("tuned")
    return {**section, "tuned": read_tuned(tuned)} if isinstance(tuned, str) else dict(section)


@cache
def load(name: str) -> RobotSpec:
    """The robot of that name, one of `ROBOTS`; raises UserError for another."""
    if name not in ROBOTS:
        raise unknown(f"no robot named {name!r}", name, ROBOTS)
    hand = ROBOTS[name]
    data = json.loads((assets_dir() / "robots" / "gr1t2.json").read_text())
    links, joints, extents = _merge(data["upper_body_and_fourier_hands"], data[HANDS[hand]["data"]])
    palm_rpy = HANDS[hand]["palm_rpy"]
    commands = _commands()
    return RobotSpec(
        name=name,
        hand=hand,
        links=tuple(_link(n, values, extents.get(n), palm_rpy.get(n)) for n, values in links.items()),
        joints=tuple(_joint(values) for values in joints),
        commands=commands,
        couplings=tuple(_coupling(values) for values in joints if "mimic" in values),
        fingertips=_fingertips(joints, HANDS[hand]["tip"]),
        palms=tuple(_palm(side, HANDS[hand]["palm_z"]) for side in SIDES),
        **_open_and_closed(joints, commands),
    )


def _merge(body: dict[str, Any], hands: dict[str, Any]) -> tuple[dict[str, Any], list[Any], dict[str, Any]]:
    """The trunk, arms and head of the one with the hands of the other."""

    def is_hand(name: str) -> bool:
        return name.startswith(("L_", "R_"))

    links = {n: v for n, v in body["links"].items() if not is_hand(n)}
    links.update({n: v for n, v in hands["links"].items() if is_hand(n)})
    joints = [j for j in body["joints"] if not is_hand(j["name"])] + [j for j in hands["joints"] if is_hand(j["name"])]
    return links, _depth_first(joints, "base_link"), {**body["mesh_extents"], **hands["mesh_extents"]}


def _depth_first(joints: list[Any], root: str) -> list[Any]:
    """The joints below a link in depth-first order, the one that simulators number them in."""
    ordered: list[Any] = []
    for joint in (j for j in joints if j["parent"] == root):
        ordered += [joint, *_depth_first(joints, joint["child"])]
    return ordered


def _commands() -> tuple[str, ...]:
    """The 26 commanded joints in canonical order: left arm, left hand, right arm, right hand."""
    names: list[str] = []
    for side in SIDES:
        names += [f"{side}_{part}_joint" for part in ARM] + [f"{side[0].upper()}_{part}_joint" for part in HAND]
    return tuple(names)


def _joint(values: dict[str, Any]) -> Joint:
    name, kind = values["name"], values["type"]
    # Waist, head and legs do not move in the paper's tasks.
    if kind == "fixed" or name.startswith(("waist", "head")):
        return Joint(
            name, "fixed", values["parent"], values["child"], tuple(values["origin_m"]), tuple(values["rpy_rad"])
        )
    coupled = "mimic" in values
    gains = next((gains for part, gains in DRIVES if part in name), (0.0, 0.0, 0.0))
    stiffness, damping, armature = (0.0, 0.0, COUPLED_ARMATURE) if coupled else gains
    return Joint(
        name, kind, values["parent"], values["child"], tuple(values["origin_m"]), tuple(values["rpy_rad"]),
        axis=tuple(values["axis"]), limits=tuple(values["range_rad"]),
        effort=values["effort_nm"] or HAND_EFFORT, velocity=values["velocity_rad_s"] or HAND_VELOCITY,
        stiffness=stiffness, damping=damping, armature=armature,
    )  # fmt: skip


def _coupling(values: dict[str, Any]) -> Coupling:
    mimic = values["mimic"]
    return Coupling(values["name"], mimic["joint"], mimic["k"], mimic["b"])


def _link(name: str, values: dict[str, Any], extent: dict[str, Any] | None, palm_rpy: Any | None) -> Link:
    inertia = values.get("inertia_kgm2", {})
    com = np.array(values.get("com_m", (0.0, 0.0, 0.0)))
    tensor: Any = tuple(inertia.get(k, 0.0) for k in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz"))
    quat = quat_from_rpy(palm_rpy or (0.0, 0.0, 0.0))
    if palm_rpy is not None:
        com, tensor = quat_rotate(quat, com), _rotate_inertia(quat, tensor)
    primitives = _primitives(name, extent, quat) if extent else ()
    mass = values.get("mass_kg", 0.0)
    # The arm drives compensate the weight of arm and palm. The fingers' few grams are left to their own drives; the
    # trunk does not move. Each compensated body costs time in every step.
    carried = name.startswith(SIDES) or name.endswith("hand_base_link")
    compensation = 1.0 if carried and mass > MIN_CARRIED_MASS else 0.0
    return Link(name, mass, tuple(com.tolist()), tensor, primitives, compensation)


def _rotate_inertia(quat: np.ndarray, tensor: tuple[float, ...]) -> tuple[float, ...]:
    xx, yy, zz, xy, xz, yz = tensor
    rotation = np.stack([quat_rotate(quat, axis) for axis in np.eye(3)], axis=1)
    full = rotation @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ rotation.T
    return tuple(full[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)))


def _region(name: str) -> str | None:
    """Which collision region a link's shape belongs to; None where it touches nothing in the tasks."""
    if name == "torso_link":
        return "torso"
    if name.endswith(("upper_arm_yaw_link", "lower_arm_pitch_link")):
        return "arm"
    if name.endswith("hand_yaw_link"):
        return "forearm"
    # The thumb's first link lies inside the palm.
    return "hand" if name.startswith(("L_", "R_")) and "thumb_proximal_yaw" not in name else None


def _primitives(name: str, extent: dict[str, Any], mesh_quat: np.ndarray) -> tuple[Primitive, ...]:
    """A box for palm and torso, else a capsule along the longest side of the mesh's oriented bounding box."""
    region = _region(name)
    if region is None or name.endswith("thumb_proximal_base"):
        return ()
    side = optional_side(name) or ""
    center = quat_rotate(mesh_quat, np.array(extent["obb_center_m"]))
    quat = quat_multiply(mesh_quat, np.array(extent["obb_quat_wxyz"]))
    size = np.array(extent["obb_size_m"])
    if region == "torso":  # nearly square seen from above: its oriented box is turned by 45 degrees
        low, high = np.array(extent["aabb_m"])
        return (Primitive("box", tuple(high - low), tuple((low + high) / 2), (1.0, 0.0, 0.0, 0.0), region, side),)
    if name.endswith("hand_base_link"):
        return (Primitive("box", tuple(size), tuple(center), tuple(quat), region, side),)
    axis = int(np.argmax(size))
    radius = float(np.delete(size, axis).mean()) / 2
    # Turn the capsule's z onto the longest axis.
    turn = {0: (np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0), 1: (np.sqrt(0.5), -np.sqrt(0.5), 0.0, 0.0), 2: (1, 0, 0, 0)}[
        axis
    ]
    quat = quat_multiply(quat, np.array(turn, dtype=float))
    length = max(float(size[axis]) - 2 * radius, 1e-3)
    return (Primitive("capsule", (radius, length), tuple(center), tuple(quat), region, side),)


def _fingertips(joints: list[dict[str, Any]], pattern: str) -> tuple[Fingertip, ...]:
    fixed = {j["child"]: j for j in joints if j["type"] == "fixed"}
    tips = []
    for side in SIDES:
        for finger in FINGERS:
            joint = fixed[pattern.format(side[0].upper(), finger)]
            tips.append(Fingertip(f"{side}_{finger}", side, joint["parent"], tuple(joint["origin_m"])))
    return tuple(tips)


def _palm(side: str, z: float) -> Palm:
    """Grasp frame 4 cm in front of the palm. At zero the hands hang down; each palm faces the body's midline."""
    inward = -1.0 if side == "left" else 1.0
    return Palm(
        side, f"{side[0].upper()}_hand_base_link", (0.0, 0.04 * inward, z), (0.0, inward, 0.0), (0.0, 0.0, -1.0)
    )


def _open_and_closed(joints: list[dict[str, Any]], commands: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Open is zero for every hand joint, closed the far end of its range; arm joints use their limits."""
    by_name = {j["name"]: j["range_rad"] for j in joints if j["type"] == "revolute"}
    opened, closed = [], []
    for name in commands:
        low, high = by_name[name]
        if name.startswith(("L_", "R_")):
            far = high if abs(high) > abs(low) else low
            opened.append(0.0)
            closed.append(far)
        else:
            opened.append(low)
            closed.append(high)
    return {"open_position": tuple(opened), "closed_position": tuple(closed)}
