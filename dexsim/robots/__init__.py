"""Robot descriptions: the only place that knows a joint name."""

from __future__ import annotations

from dexsim.robots.gr1t2 import ROBOTS, RobotSettings, load
from dexsim.robots.spec import Coupling, Fingertip, Joint, Link, Palm, Primitive, RobotSpec, find_palm

__all__ = [
    "ROBOTS",
    "Coupling",
    "Fingertip",
    "Joint",
    "Link",
    "Palm",
    "Primitive",
    "RobotSettings",
    "RobotSpec",
    "find_palm",
    "load",
]
