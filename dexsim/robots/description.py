"""Robots from description files: JSON that states every fact of a robot, so that no code knows a name of its joints.

    {"format": 1, "name": "gr1t2", "hand": "fourier",
     "commands": [...],                      # the joints that take a target, in canonical order
     "drives": {"elbow": {"stiffness_nm_rad": 60.0, "damping_nms_rad": 4.5, "armature_kgm2": 0.1025}, ...},
     "links": {"L_hand_base_link": {"side": "left", "part": "hand", "role": "palm", "mass_kg": ...}, ...},
     "joints": [{"name": "left_elbow_pitch_joint", "side": "left", "part": "arm", "role": "elbow_pitch", ...}, ...],
     "fingertips": [...], "palms": [...], "postures": {"rest": {...}, "reach": {...}}}

`side`, `part`, `finger` and `role` are left out where they say nothing: a trunk has no side. A revolute joint that is
neither commanded nor coupled (`mimic`) is held. A description with a `base` takes all that it does not state from
another one, whose links and joints of the part that it `replaces` are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dexsim.errors import UserError, parsing
from dexsim.paths import assets_dir
from dexsim.robots.mirror import with_mirror
from dexsim.robots.spec import (
    PARTS,
    REGIONS,
    SIDES,
    Coupling,
    Fingertip,
    Joint,
    Link,
    Palm,
    Posture,
    Primitive,
    RobotSpec,
)

FORMAT = 1
KIND = "a robot's description"
REQUIRED = ("format", "name", "hand", "commands", "drives", "links", "joints", "fingertips", "palms", "postures")
INERTIA = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")
SHAPES = {"box": 3, "capsule": 2}  # and how many numbers their size has


def folder() -> Path:
    """Where the shipped descriptions are."""
    return assets_dir() / "robots"


def read_description(path: Path) -> dict[str, Any]:
    """The content of a description file, with what it takes from its base.

    Raises:
        UserError: it cannot be read, or lacks something.
    """
    if not path.is_file():
        raise UserError(f"no robot's description {path}: there is no such file")
    with parsing(path, KIND):
        content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, dict) and "base" in content:
        with parsing(path, KIND):
            content = _on_base(content, path)
    missing = [key for key in REQUIRED if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{path}: not a robot's description, {', '.join(missing)} missing")
    if content["format"] != FORMAT:
        raise UserError(f"{path}: format {content['format']!r}; allowed: {FORMAT}")
    return content


def _on_base(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """A description with all that it takes from another one: a file beside it, or a shipped one."""
    name, part = str(content["base"]), content.get("replaces")
    found = next((p for p in (path.parent / f"{name}.json", folder() / f"{name}.json") if p.is_file()), None)
    if found is None or found.resolve() == path.resolve():
        raise UserError(f"{path}: base = {name!r}: no such description, neither beside it nor in {folder()}")
    base = read_description(found)
    links = {n: v for n, v in base["links"].items() if part is None or v.get("part") != part}
    joints = [v for v in base["joints"] if part is None or v.get("part") != part]
    merged = {key: value for key, value in {**base, **content}.items() if key not in ("base", "replaces")}
    return {
        **merged,
        "links": {**links, **content.get("links", {})},
        "joints": [*joints, *content.get("joints", [])],
        "drives": {**base["drives"], **content.get("drives", {})},
    }


def build(content: Mapping[str, Any]) -> RobotSpec:
    """The robot of a `read_description`.

    Raises:
        UserError: something in it is missing, unknown or not mirror-symmetric; with the name of the joint or link.
    """
    with parsing(f"robot {content.get('name')!r}", KIND):
        robot = _robot(content)
        _check_names(robot)
        return with_mirror(robot)


def _robot(content: Mapping[str, Any]) -> RobotSpec:
    name, commands = content["name"], tuple(content["commands"])
    joints = _joint_rows(content)
    moved = {*commands, *(row["name"] for row in joints if "mimic" in row)}
    ends = {row["name"]: _ends(row) for row in joints if row["name"] in commands}
    absent = [each for each in commands if each not in ends]
    if absent:
        raise UserError(f"robot {name!r}: command {absent[0]!r} is none of its joints")
    return RobotSpec(
        name=name,
        hand=content["hand"],
        links=tuple(_link(n, _Row(f"robot {name!r}, link {n!r}", row)) for n, row in content["links"].items()),
        joints=tuple(_joint(row, content["drives"], row["name"] in moved) for row in _depth_first(joints)),
        commands=commands,
        couplings=tuple(_coupling(row) for row in _depth_first(joints) if "mimic" in row),
        fingertips=tuple(_fingertip(_Row(f"robot {name!r}, a fingertip", row)) for row in content["fingertips"]),
        palms=tuple(_palm(_Row(f"robot {name!r}, a palm", row)) for row in content["palms"]),
        open_position=tuple(ends[each][0] for each in commands),
        closed_position=tuple(ends[each][1] for each in commands),
        postures=tuple(Posture(n, tuple(angles.items())) for n, angles in content["postures"].items()),
        urdf=content.get("urdf", ""),
    )


class _Row(dict[str, Any]):
    """A joint's or link's values; asking for one that is missing raises UserError with its owner."""

    def __init__(self, owner: str, values: Any) -> None:
        if not isinstance(values, Mapping):
            raise UserError(f"{owner} = {values!r}: must be an object with its values")
        super().__init__(values)
        self.owner = owner

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.owner} has no {key!r}")

    def vector(self, key: str, count: int = 3) -> Any:
        """Numbers of a key, as a tuple of floats."""
        values = self[key]
        numbers = isinstance(values, list) and len(values) == count
        if not numbers or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            raise UserError(f"{self.owner}: {key} = {values!r}: must be {count} numbers")
        return tuple(float(value) for value in values)

    def chosen(self, key: str, allowed: tuple[str, ...]) -> str:
        """A word of a few, "" where there is none."""
        value = self.get(key, "")
        if value not in ("", *allowed):
            raise UserError(f"{self.owner}: {key} = {value!r}: must be one of {', '.join(allowed)}")
        return value

    def place(self) -> dict[str, Any]:
        """Side, part, finger and role."""
        words = {"side": self.chosen("side", SIDES), "part": self.chosen("part", PARTS)}
        return {**words, "finger": str(self.get("finger", "")), "role": str(self.get("role", ""))}


def _joint_rows(content: Mapping[str, Any]) -> list[_Row]:
    """The joints as they stand there; refuses a name that is there twice."""
    robot = f"robot {content['name']!r}"
    rows = [_Row(f"{robot}, a joint", row) for row in content["joints"]]
    names = [row["name"] for row in rows]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{robot} has two joints named {twice[0]!r}")
    return [_Row(f"{robot}, joint {row['name']!r}", row) for row in rows]


def _depth_first(joints: list[_Row], parent: str | None = None) -> list[_Row]:
    """The joints below a link, the root where none is named, in the order that simulators number them in."""
    if parent is None:
        parent = _root(joints)
    ordered: list[_Row] = []
    for joint in (row for row in joints if row["parent"] == parent):
        ordered += [joint, *_depth_first(joints, joint["child"])]
    return ordered


def _root(joints: list[_Row]) -> str:
    children = {row["child"] for row in joints}
    roots = sorted({row["parent"] for row in joints} - children)
    if len(roots) != 1:
        raise UserError(f"a robot's links must hang from one; {', '.join(roots) or 'none'} hang from no joint")
    return roots[0]


def _joint(row: _Row, drives: Mapping[str, Any], moves: bool) -> Joint:
    where = (row["parent"], row["child"], row.vector("origin_m"), row.vector("rpy_rad"))
    if not moves:
        return Joint(row["name"], "fixed", *where, **row.place())
    drive = _Row(f"{row.owner}: drive {row['drive']!r}", drives.get(row["drive"]))
    return Joint(
        row["name"], row["type"], *where,
        axis=row.vector("axis"), limits=row.vector("range_rad", 2),
        # A vendor gives 0 for what it does not know.
        effort=float(row.get("effort_nm") or drive["effort_nm"]),
        velocity=float(row.get("velocity_rad_s") or drive["velocity_rad_s"]),
        stiffness=drive.get("stiffness_nm_rad", 0.0), damping=drive.get("damping_nms_rad", 0.0),
        armature=drive["armature_kgm2"], **row.place(),
    )  # fmt: skip


def _coupling(row: _Row) -> Coupling:
    mimic = _Row(f"{row.owner}: mimic", row["mimic"])
    return Coupling(row["name"], mimic["joint"], mimic["k"], mimic["b"])


def _ends(row: _Row) -> tuple[float, float]:
    """Open and closed position of a hand's joint; an arm's joint goes from limit to limit."""
    return (row["open_rad"], row["closed_rad"]) if row.get("part") == "hand" else row.vector("range_rad", 2)


def _link(name: str, row: _Row) -> Link:
    inertia = _Row(f"{row.owner}: inertia_kgm2", row["inertia_kgm2"])
    tensor: Any = tuple(float(inertia[key]) for key in INERTIA)
    compensation = float(row.get("gravity_compensation", 0.0))
    shapes = tuple(_shape(row, _Row(f"{row.owner}: a shape", shape)) for shape in row.get("shapes", ()))
    return Link(name, float(row["mass_kg"]), row.vector("com_m"), tensor, shapes, compensation, **row.place())


def _shape(link: _Row, row: _Row) -> Primitive:
    kind = row["kind"]
    if kind not in SHAPES:
        raise UserError(f"{link.owner}: kind = {kind!r} of a shape: must be one of {', '.join(SHAPES)}")
    size, place = row.vector("size_m", SHAPES[kind]), (row.vector("position_m"), row.vector("quat_wxyz", 4))
    region = link.chosen("region", REGIONS)
    if not region or (region != "torso" and not link.get("side")):
        raise UserError(f"{link.owner} has a shape: must have a region, and a side where that is not torso")
    return Primitive(kind, size, *place, region, link.place()["side"])


def _fingertip(row: _Row) -> Fingertip:
    side, finger = row["side"], row["finger"]
    name = f"{side}_{finger}"
    return Fingertip(name, side, row["link"], row.vector("position_m"), finger, bool(row.get("contact", True)))


def _palm(row: _Row) -> Palm:
    return Palm(row["side"], row["link"], row.vector("position_m"), row.vector("normal"), row.vector("fingers"))


def _check_names(robot: RobotSpec) -> None:
    """Refuse names of nothing."""
    links = {joint.child for joint in robot.joints} | {robot.root}
    wanted = (
        *((f"source of the coupled joint {c.joint!r}", c.source, robot.commands) for c in robot.couplings),
        *((f"link of the fingertip {tip.name!r}", tip.link, links) for tip in robot.fingertips),
        *((f"link of the {palm.side} palm", palm.link, links) for palm in robot.palms),
        *(
            (f"a joint of the posture {p.name!r}", joint, robot.commands)
            for p in robot.postures
            for joint, _ in p.joints
        ),
        *((f"link {link.name!r} of `links`", link.name, links) for link in robot.links),
    )
    for what, name, known in wanted:
        if name not in known:
            raise UserError(f"robot {robot.name!r}: {what} is {name!r}, which is not there")
