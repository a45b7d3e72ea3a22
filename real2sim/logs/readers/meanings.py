"""What a LeRobot dataset's own metadata say about its values: which joints they are, in which unit, targets or changes.

`meta/modality.json` (GR00T's addition) says which values belong to which part of the robot, and `features` of
`meta/info.json` may name each of them. What is declared is obeyed, or refused where it is not what a log holds: targets
and positions of joints, in rad or degrees. Values that are declared to be relative are no targets: none of these files
says to what they would have to be added.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dexsim.errors import UserError, unknown
from dexsim.robots import RobotSpec
from real2sim.logs.readers.recording import shown
from real2sim.logs.readers.units import ANGLES

# Words that say no more than that there is a value, or which part of the robot it belongs to.
_VALUE = frozenset(
    (
        *("motor", "motors", "joint", "joints", "dim", "dof", "axis", "k", "q", "qpos", "pos", "position"),
        *("state", "action", "value", "values"),
    )
)
_SIDES = {"l": "left", "r": "right"}
_PARTS = frozenset(("left", "right", "arm", "hand"))
# Keys by which people say that actions are no targets, and what they may say.
_CHANGES = ("relative", "delta", "is_relative", "is_delta", "use_delta", "use_relative")
_FORMS = (
    "representation",
    "action_representation",
    "rep",
    "control_mode",
    "action_mode",
    "action_type",
    "action_space",
)
_TARGETS = frozenset(("absolute", "abs", "position", "joint", "jointposition", "absolutejointposition", "noneef", ""))
_UNITS = ("unit", "units")


@dataclass(frozen=True)
class Slice:
    """Where the joints of a part are among a dataset's values.

    Attributes:
        column: Column of the data.
        start: First place.
        end: The place after the last one.
        declared: What `modality.json` says about them.
    """

    column: str
    start: int
    end: int
    declared: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        """As Python would write it."""
        return f"{self.column}[{self.start}:{self.end}]"

    def check_range(self, values: np.ndarray, path: Path) -> None:
        """Refuses values (T, N) beyond the range that is declared for them."""
        given = self.declared.get("range")
        if given is None:
            return
        is_pair = isinstance(given, list) and len(given) == 2 and all(_is_number(each) for each in given)
        if not is_pair or not given[0] < given[1]:
            raise UserError(f"{path.name}: range = {shown(given)} of {self}: must be [low, high], or null")
        own = values[:, self.start : self.end]
        beyond = np.argwhere((own < given[0] - 1e-3) | (own > given[1] + 1e-3))
        if len(beyond):
            row, place = beyond[0]
            raise UserError(f"{path.name}: row {row}: {self} has {own[row, place]:.4g}, beyond its range {given}")


def slice_of(folder: Path, modality: Mapping[str, Any], key: str, part: str, column: str, width: int) -> Slice:
    """Where `modality.json` has a part's joints.

    Args:
        folder: Of the dataset.
        modality: Content of `modality.json`.
        key: "state" or "action".
        part: "left_arm", for one.
        column: Which is meant where none is named.
        width: How many joints the part has.

    Raises:
        UserError: For no such part, or values that are no targets or positions of joints.
    """
    group, name = modality.get(key), f"{folder.name}: meta/modality.json"
    declared = group.get(part) if isinstance(group, Mapping) else None
    if not isinstance(declared, Mapping):
        raise UserError(f"{name}: has no {key}.{part}")
    for end in ("start", "end"):
        value = declared.get(end)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UserError(f"{name}: {key}.{part}.{end} = {shown(value)}: must be a whole number of at least 0")
    column = declared.get("original_key") or column
    if not isinstance(column, str):
        raise UserError(f"{name}: {key}.{part}.original_key = {shown(column)}: must be the name of a column")
    where = Slice(column, declared["start"], declared["end"], declared)
    if where.end - where.start != width:
        raise UserError(f"{name}: {key}.{part} is {where}: must be {width} joints")
    _check_meaning(declared, f"{name}: {key}.{part}")
    return where


def order_of(
    folder: Path, info: Mapping[str, Any], slices: Mapping[str, Slice], joints: Sequence[str], robot: RobotSpec
) -> dict[str, list[str]]:
    """Which joint each value of a part is, by kind.

    Args:
        folder: Of the dataset.
        info: Content of `info.json`.
        slices: Where they are, by kind.
        joints: The part's joints in the order that is usual.
        robot: Whose joints they are.

    Raises:
        UserError: For names that are none of these joints, or that differ between the kinds.
    """
    orders, numbers = {}, {}
    for kind, where in slices.items():
        feature = _feature(folder, info, where)
        _check_meaning(feature, f"{folder.name}: meta/info.json: {where.column}")
        names = _names(folder, feature, where)
        numbers[kind] = _numbers(names, robot.part_of(joints[0])) if names else None
        is_named = names and numbers[kind] is None
        orders[kind] = [_joint(folder, name, where, joints, robot) for name in names] if is_named else list(joints)
        twice = [name for name, count in Counter(orders[kind]).items() if count > 1]
        if twice:
            raise UserError(f"{folder.name}: names of {where}: {shown(twice[0])} is there twice")
    first, other = orders.values()
    counted = [each for each in numbers.values() if each is not None]
    if first != other or (len(counted) > 1 and counted[0] != counted[1]):
        kinds = " and ".join(map(str, slices.values()))
        raise UserError(f"{folder.name}: meta/info.json: names of {kinds} are not the same joints in the same order")
    return orders


def find_unit(folder: Path, info: Mapping[str, Any], slices: Sequence[Slice]) -> str:
    """The unit of some values, "rad" or "deg"; raises UserError where another is declared, or one for each part."""
    found = set()
    for where in slices:
        for declared in (where.declared, _feature(folder, info, where), info):
            given = next((declared[key] for key in _UNITS if declared.get(key) is not None), None)
            for unit in given if isinstance(given, list) else [given]:
                plain = "rad" if unit is None else ANGLES.get(str(unit).strip().lower())
                if plain is None:
                    raise UserError(f"{folder.name}: the unit of {where} is {shown(unit)}: must be rad or deg")
                found |= {plain} if unit is not None else set()
            if given is not None:
                break  # what is nearer to the values counts
    if len(found) > 1:
        raise UserError(f"{folder.name}: {slices[0].column} is in rad for one part and in degrees for another")
    return found.pop() if found else "rad"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_meaning(declared: Mapping[str, Any], where: str) -> None:
    """Refuses what is declared to be no angles of joints, or no absolute ones."""
    absolute = declared.get("absolute", True)
    if absolute not in (True, None):
        raise _no_targets(where, "absolute", absolute)
    for key in _CHANGES:
        if declared.get(key) not in (False, None):
            raise _no_targets(where, key, declared[key])
    for key in _FORMS:
        form = declared.get(key)
        if form is not None and re.sub(r"[\W_]", "", str(form).lower()) not in _TARGETS:
            raise _no_targets(where, key, form)
    rotation = declared.get("rotation_type")
    if rotation is not None:
        raise UserError(f"{where}: rotation_type = {shown(rotation)}: must be null, the values angles of joints")


def _no_targets(where: str, key: str, value: object) -> UserError:
    return UserError(
        f"{where}: {key} = {shown(value)}: must be absolute angles of joints; convert actions to targets as sent"
    )


def _feature(folder: Path, info: Mapping[str, Any], where: Slice) -> Mapping[str, Any]:
    features = info.get("features") or {}
    feature = features.get(where.column, {}) if isinstance(features, Mapping) else None
    if not isinstance(feature, Mapping):
        raise UserError(f"{folder.name}: meta/info.json: features: must be an object with one for each column")
    return feature


def _names(folder: Path, feature: Mapping[str, Any], where: Slice) -> list[str]:
    """Names of a slice's values; empty where none are given."""
    given: Any = feature.get("names")
    if isinstance(given, Mapping):  # {"motors": [...]}, or a place for each name
        places: dict[str, Any] = dict(given)
        if all(isinstance(each, list) for each in places.values()):
            given = [name for each in places.values() for name in each]
        elif all(isinstance(each, int) for each in places.values()):
            given = sorted(places, key=lambda name: int(places[name]))
    if given is None or given == []:
        return []
    shape = feature.get("shape")
    width = shape[0] if isinstance(shape, list) and len(shape) == 1 else None
    if not isinstance(given, list) or (width is not None and len(given) != width) or len(given) < where.end:
        raise UserError(f"{folder.name}: meta/info.json: names of {where.column}: must be one for each of its values")
    return [str(name) for name in given[where.start : where.end]]


def _words(name: str) -> list[str]:
    """`L_index_proximal_joint` and `leftIndexProximal` as left, index, proximal."""
    words: list[str] = re.findall(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*|\d+", name)
    return [_SIDES.get(word.lower(), word.lower()) for word in words]


def _numbers(names: Sequence[str], part: str) -> list[str] | None:
    """The numbers of names such as `motor_3`, which say nothing else; None where one says more."""
    found = []
    for name in names:
        words = _words(name)
        count = [word for word in words if word.isdigit()]
        if len(count) != 1 or not set(words) - set(count) <= {*_VALUE, *part.split("_")}:
            return None
        found.append(count[0].lstrip("0"))
    return found


def _joint(folder: Path, name: str, where: Slice, joints: Sequence[str], robot: RobotSpec) -> str:
    """The joint of a part that a name stands for."""
    words = {word for word in _words(name) if word not in _VALUE}
    own = {joint: {word for word in _words(joint) if word not in _VALUE} for joint in joints}
    exact = [joint for joint in joints if own[joint] == words]
    found = exact or [joint for joint in joints if words - _PARTS and words - {"arm", "hand"} <= own[joint]]
    if len(found) != 1:
        problem = f"{folder.name}: meta/info.json: {shown(name)} of {where} is not one of the part's joints"
        raise unknown(problem, name, joints)
    return found[0]
