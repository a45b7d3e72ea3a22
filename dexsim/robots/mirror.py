"""A robot's left-right symmetry in its x-z plane: which joint and fingertip is the mirror image of which.

Two joints of a pair have the same part, finger and role on two sides. Which way the image turns follows from where
their axes point while all joints are at zero; how their frames are turned is the vendor's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dexsim.errors import UserError
from dexsim.robots.spec import Fingertip, Joint, JointMirror, Palm, RobotSpec
from dexsim.rotations import quat_from_rpy, quat_multiply, quat_rotate

# By how much the two sides of a description may differ. Vendors' hands are not exact images: limits differ by up to
# 0.02 rad, and Inspire's thumbs by 6 degrees and 10 mm at their tips.
LIMIT_TOLERANCE = 0.035  # rad
AXIS_TOLERANCE = 0.03  # of the cosine between two axes, 14 degrees; and of a palm's directions
PLACE_TOLERANCE = 0.015  # m
GAIN_TOLERANCE = 0.01  # ratio
GAINS = ("stiffness", "damping", "armature", "friction", "effort", "velocity")
# Signs of a vector and of an axial vector, such as an angular velocity, under y -> -y.
VECTOR, AXIAL = (1.0, -1.0, 1.0), (-1.0, 1.0, -1.0)
_VECTOR, _AXIAL = np.array(VECTOR), np.array(AXIAL)


class Frames:
    """Where links are while all joints are at zero, in the robot's base frame."""

    def __init__(self, robot: RobotSpec) -> None:
        self._frames = {robot.root: (np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))}
        for joint in robot.joints:  # parents come first
            position, quat = self._frames[joint.parent]
            origin = position + quat_rotate(quat, np.array(joint.origin))
            self._frames[joint.child] = (origin, quat_multiply(quat, quat_from_rpy(joint.rpy)))

    def point(self, link: str, position: Sequence[float]) -> np.ndarray:
        """A point of a link, (3,) m."""
        return self._frames[link][0] + self.direction(link, position)

    def direction(self, link: str, vector: Sequence[float]) -> np.ndarray:
        """A direction (3,) in a link."""
        return quat_rotate(self._frames[link][1], np.array(vector, dtype=float))


def with_mirror(robot: RobotSpec) -> RobotSpec:
    """A robot with `mirror` and `fingertip_mirror`, checked; as it is where its joints are all on one side.

    Raises:
        UserError: its two arms are not each other's mirror image; with the name of the joint, fingertip or palm.
    """
    joints = [robot.joint(name) for name in robot.commands]
    if not {"left", "right"} <= {joint.side for joint in joints}:
        return robot
    frames, index = Frames(robot), [_partner(robot, joint, joints) for joint in joints]
    alike = [_alike(frames, joint, joints[other]) for joint, other in zip(joints, index, strict=True)]
    mirror = JointMirror(tuple(index), tuple(-1.0 if value < 0 else 1.0 for value in alike))
    _check_joints(robot, mirror, alike)
    tips = [_tip_partner(robot, frames, tip) for tip in robot.fingertips]
    for palm in robot.palms:
        _check_palm(robot, frames, palm)
    return replace(robot, mirror=mirror, fingertip_mirror=tuple(tips))


def other_side(side: str) -> str:
    """The side of the mirror image; a trunk has none."""
    return {"left": "right", "right": "left"}.get(side, side)


def _check_joints(robot: RobotSpec, mirror: JointMirror, alike: Sequence[float]) -> None:
    """Refuse two joints that are no images of each other, with what differs."""
    joints = [robot.joint(name) for name in robot.commands]
    ends = np.array([robot.open_position, robot.closed_position]).T
    for i, (other, sign) in enumerate(zip(mirror.index, mirror.sign, strict=True)):
        joint, image = joints[i], joints[other]
        gains = [(name, getattr(joint, name), getattr(image, name)) for name in GAINS]
        same = {
            "axis": abs(alike[i]) > 1 - AXIS_TOLERANCE,
            "limits": _near(joint.limits, np.sort(sign * np.array(image.limits)), LIMIT_TOLERANCE),
            "open and closed ends": joint.part != "hand" or _near(ends[i], sign * ends[other], LIMIT_TOLERANCE),
            **{name: abs(ours - theirs) <= GAIN_TOLERANCE * max(ours, theirs) for name, ours, theirs in gains},
        }
        for what in (name for name, is_same in same.items() if not is_same):
            raise UserError(
                f"robot {robot.name!r}: joint {joint.name!r} is not the mirror image of {image.name!r}: {what} differ"
            )


def _tip_partner(robot: RobotSpec, frames: Frames, tip: Fingertip) -> int:
    """Index of a fingertip's image."""
    point = frames.point(tip.link, tip.position)
    for i, image in enumerate(robot.fingertips):
        if (image.side, image.finger, image.contact) == (other_side(tip.side), tip.finger, tip.contact) and _near(
            point, _VECTOR * frames.point(image.link, image.position), PLACE_TOLERANCE
        ):
            return i
    raise UserError(f"robot {robot.name!r}: fingertip {tip.name!r} has no mirror image on the other side")


def _check_palm(robot: RobotSpec, frames: Frames, palm: Palm) -> None:
    """Refuse a palm that has no image, or faces another way."""
    for image in (each for each in robot.palms if each.side == other_side(palm.side)):
        vectors = ((palm.normal, image.normal), (palm.fingers, image.fingers))
        turned = any(
            not _near(frames.direction(palm.link, a), _VECTOR * frames.direction(image.link, b), AXIS_TOLERANCE)
            for a, b in vectors
        )
        points = frames.point(palm.link, palm.position), _VECTOR * frames.point(image.link, image.position)
        if not turned and _near(*points, PLACE_TOLERANCE):
            return
    raise UserError(f"robot {robot.name!r}: the {palm.side} palm has no mirror image on the other side")


def _partner(robot: RobotSpec, joint: Joint, joints: Sequence[Joint]) -> int:
    wanted = (other_side(joint.side), joint.part, joint.finger, joint.role)
    found = [i for i, each in enumerate(joints) if (each.side, each.part, each.finger, each.role) == wanted]
    if len(found) != 1:
        raise UserError(
            f"robot {robot.name!r}: joint {joint.name!r} has {len(found) or 'no'} partners on the other side; must be "
            "one of the same part, finger and role"
        )
    return found[0]


def _alike(frames: Frames, joint: Joint, image: Joint) -> float:
    """1 where two joints' axes are mirror images of each other, -1 where they turn the other way."""
    return float(frames.direction(joint.child, joint.axis) @ (_AXIAL * frames.direction(image.child, image.axis)))


def _near(ours: Any, theirs: Any, tolerance: float) -> bool:
    return bool(np.abs(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)).max() <= tolerance)
