"""Robots as data: read from descriptions in `assets/robots`, the only place that knows a joint's name."""

from __future__ import annotations

from dexsim.robots.constants import constants, labels, with_constants
from dexsim.robots.settings import ROBOTS, RobotSettings, load, load_robot, with_content
from dexsim.robots.spec import Coupling, Fingertip, Interval, Joint, Link, Palm, Primitive, RobotSpec, find_palm

__all__ = [
    "ROBOTS",
    "Coupling",
    "Fingertip",
    "Interval",
    "Joint",
    "Link",
    "Palm",
    "Primitive",
    "RobotSettings",
    "RobotSpec",
    "constants",
    "find_palm",
    "labels",
    "load",
    "load_robot",
    "with_constants",
    "with_content",
]
