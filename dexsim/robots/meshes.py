"""The vendor's meshes, to draw a robot with: read from `fourier-robot-descriptions`, where it is installed.

Nothing of it is copied into this package: file names, origins and colours come from the URDFs that lie beside the
meshes. A mesh neither collides nor weighs anything.
"""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsim.errors import UserError
from dexsim.robots.spec import Quat, RobotSpec, Vec3
from dexsim.rotations import quat_from_rpy

PACKAGE = "fourier_robot_descriptions"


@dataclass(frozen=True)
class Visual:
    """A mesh of a link: file, place in the link's frame in m, orientation w x y z, colour."""

    link: str
    file: Path
    position: Vec3
    quat: Quat
    rgba: tuple[float, float, float, float]


def find_meshes() -> Path | None:
    """The vendor's folder of URDFs and meshes; None where the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "assets"


def require_meshes() -> Path:
    """As `find_meshes`; raises UserError, naming the extra, where the package is not installed."""
    folder = find_meshes()
    if folder is None:
        raise UserError("the robot's meshes are not installed: pip install 'dexsim[meshes]'")
    return folder


def urdf_path(robot: RobotSpec, folder: Path) -> Path:
    """The vendor's URDF of a robot, with its hands; raises UserError where it has none."""
    if not robot.urdf:
        raise UserError(f"robot {robot.name!r} has no meshes to draw: its description names no urdf")
    return folder / "urdf" / robot.urdf


def visuals(robot: RobotSpec, folder: Path) -> tuple[Visual, ...]:
    """The meshes of a robot's links, of those links that the robot has (legs are left out).

    Args:
        robot: the robot.
        folder: `find_meshes()`.
    """
    path = urdf_path(robot, folder)
    links = {robot.root, *(joint.child for joint in robot.joints)}
    root = ElementTree.parse(path).getroot()
    elements = ((link.get("name", ""), visual) for link in root.findall("link") for visual in link.findall("visual"))
    # Fingertip frames are drawn as small balls, which we leave out.
    meshes = ((name, visual) for name, visual in elements if visual.find("geometry/mesh") is not None)
    return tuple(_visual(name, visual, path.parent) for name, visual in meshes if name in links)


def _visual(link: str, element: Any, folder: Path) -> Visual:
    origin, mesh, color = element.find("origin"), element.find("geometry/mesh"), element.find("material/color")
    x, y, z = _numbers(origin, "xyz", "0 0 0")
    w, i, j, k = quat_from_rpy(tuple(_numbers(origin, "rpy", "0 0 0"))).tolist()
    r, g, b, a = _numbers(color, "rgba", "0.8 0.8 0.8 1")
    return Visual(link, (folder / mesh.get("filename")).resolve(), (x, y, z), (w, i, j, k), (r, g, b, a))


def _numbers(element: Any, key: str, default: str) -> Iterator[float]:
    return map(float, (default if element is None else element.get(key, default)).split())
