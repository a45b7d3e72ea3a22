"""Which robot a config names: one that is shipped, or a description file of one's own; as documented, or tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dexsim import settings
from dexsim.errors import UserError, require, unknown
from dexsim.robots.description import build, folder, read_description
from dexsim.robots.spec import RobotSpec
from dexsim.robots.tuned import apply_tuned, read_tuned

# Names of the shipped robots.
ROBOTS: tuple[str, ...] = tuple(sorted(path.stem for path in folder().glob("*.json")))
SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class RobotSettings:
    """Config section `robot`.

    Attributes:
        name: one of `ROBOTS`, or a description file (`dexsim.robots.description`).
        tuned: measured constants in place of nominal ones: a file that `dexsim autotune` wrote, or its content.
        description: content of the description of a robot that is not shipped, as a checkpoint keeps it; another name
            puts it out of use.
    """

    name: str
    tuned: str | dict[str, Any] | None
    description: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        allowed = f"one of {', '.join(ROBOTS)}, or a description file ({SUFFIX})"
        known = self.name in ROBOTS or self.name.endswith(SUFFIX) or _describes(self.description, self.name)
        require(known, "name", self.name, allowed)


def load_robot(section: Mapping[str, Any]) -> RobotSpec:
    """The robot that a config section describes (`RobotSettings`); keys left out are as in `cfg/robot/gr1t2.yaml`."""
    chosen = settings.load(RobotSettings, "robot/gr1t2", section)
    own = chosen.description
    robot = build(own) if own is not None and _describes(own, chosen.name) else load(chosen.name)
    if chosen.tuned is None:
        return robot
    return apply_tuned(robot, read_tuned(chosen.tuned) if isinstance(chosen.tuned, str) else chosen.tuned)


def with_content(section: Mapping[str, Any]) -> dict[str, Any]:
    """A config section with the content of the files that it names: what a checkpoint keeps, whatever becomes of it."""
    section, tuned, name = dict(section), section.get("tuned"), section.get("name")
    if isinstance(tuned, str):
        section["tuned"] = read_tuned(tuned)
    if isinstance(name, str) and name.endswith(SUFFIX):
        content = _read_own(Path(name))
        section.update(name=content["name"], description=content)
    return section


def load(name: str) -> RobotSpec:
    """A robot as documented: one of `ROBOTS`, or that of a description file; raises UserError for another."""
    if name.endswith(SUFFIX):
        return build(_read_own(Path(name)))
    if name not in ROBOTS:
        raise unknown(f"no robot named {name!r}", name, ROBOTS)
    return _shipped(name)


@cache
def _shipped(name: str) -> RobotSpec:
    return build(read_description(folder() / f"{name}{SUFFIX}"))


def _read_own(path: Path) -> dict[str, Any]:
    """A description whose name is its own: banks and checkpoints tell robots apart by their names."""
    content = read_description(path)
    if content["name"] in ROBOTS and path.resolve().parent != folder().resolve():
        raise UserError(f"{path}: name = {content['name']!r} is that of a shipped robot; give it another")
    return content


def _describes(description: dict[str, Any] | None, name: str) -> bool:
    return description is not None and description.get("name") == name
