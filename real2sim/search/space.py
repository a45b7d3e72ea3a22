"""The search space: which constants of a robot are free, which move together, and within what bounds.

Constants go by the names of `dexsim.parameters`. A free parameter is one number: of one joint or link, or shared by all
that are tied. Positive ones are searched by their logarithm, so that bounds and priors are factors; a link's inertia
follows its mass and is scaled as a whole, so that it stays that of a rigid body.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Literal

import numpy as np

from dexsim import parameters
from dexsim.errors import UserError, require, unknown
from dexsim.robots import Joint, Link, RobotSpec, constants, labels, with_constants
from dexsim.robots.constants import CONSTANTS, LOG_NAMES, drives_of, owner_of

Tie = Literal["none", "mirror", "fingers", "part", "side", "all"]
# Their bounds are offsets from the start: what they are differs from joint to joint and from link to link.
OFFSET_NAMES = frozenset(
    {"joint_lower", "joint_upper", "joint_origin", "link_com", "link_origin", "coupling_k", "coupling_b"}
)
# What only the sensors add: its effect on the residual is known without a simulation.
MEASURED = "joint_bias"


@dataclass(frozen=True)
class FreeSettings:
    """How one constant is searched.

    Attributes:
        tie: what shares one value: "none" nothing, "mirror" left and right, "fingers" the four fingers of a hand,
            "part" an arm or a hand, "side" an arm with its hand, "all" everything. Positive constants that are not
            alike in the robot share a factor on their own values. What no joint that moved tells follows as well.
        bounds: lowest and highest: as factors of the start for positive constants, as offsets from it for places,
            limits and couplings, else as they are.
        start: where the search starts, or pattern of names -> that, the first that fits; null for the robot's own.
            What cannot be searched is left there.
        prior: standard deviation around the start: of the logarithm for positive constants, else in the constant's
            unit; null for none.
        only: patterns of the joints' or links' names, those of axes with ".x", ".y" or ".z".
    """

    bounds: tuple[float, float]
    tie: Tie = "none"
    start: float | dict[str, float] | None = None
    prior: float | None = None
    only: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        """Refuse bounds that are none."""
        require(len(self.only) > 0, "only", [], "one pattern or more")
        require(self.bounds[0] < self.bounds[1], "bounds", list(self.bounds), "[low, high] with low < high")
        require(self.prior is None or self.prior > 0, "prior", self.prior, "positive, or null")


@dataclass(frozen=True)
class Parameter:
    """One free number.

    Attributes:
        constant: the constant's name.
        label: what it is of: a joint, a link, or what its tie shares.
        members: indices among the constant's values; its own value is the first one's.
        ratios: of the members' values to the first one's.
        start: value where the search starts.
        low: lowest value.
        high: highest value.
        prior: standard deviation as in `FreeSettings`, or None.
        joints: (J,) bool, which of the log's joints it moves.
    """

    constant: str
    label: str
    members: tuple[int, ...]
    ratios: tuple[float, ...]
    start: float
    low: float
    high: float
    prior: float | None
    joints: np.ndarray = field(repr=False)

    @property
    def name(self) -> str:
        """Constant and label."""
        return f"{self.constant}/{self.label}"

    @property
    def is_log(self) -> bool:
        """Whether it is searched by its logarithm."""
        return self.constant in LOG_NAMES

    @property
    def unit(self) -> str:
        """SI unit."""
        return parameters.PARAMETERS[self.constant].unit

    def value(self, x: np.ndarray) -> np.ndarray:
        """Physical value from the searched one."""
        return np.exp(x) if self.is_log else x

    def searched(self, value: float) -> float:
        """Searched value from the physical one."""
        return float(np.log(value)) if self.is_log else float(value)


@dataclass(frozen=True)
class Block:
    """Parameters that are judged together, by some joints.

    Attributes:
        members: indices of the parameters.
        joints: (J,) bool, which of the log's joints judge them.
    """

    members: np.ndarray
    joints: np.ndarray


class SearchSpace:
    """P free parameters of a robot, as vectors x (..., P).

    Args:
        robot: the robot; what is not searched stays as it is here.
        settings: name of a constant -> how it is searched; the others stay as they are.
        logged: the joints that the logs have, in their order.
        moved: (J,) bool, which of them moved; parameters of joints that did not are left out.

    Raises:
        UserError: for a constant that there is none of, or bounds that a start does not lie in.

    Attributes:
        robot: the robot at the start of the search.
        parameters: the P free parameters.
        left_out: constant and joint or link -> why it stays where the search would start.
        low: (P,) lowest values, as they are searched: of positive constants by their logarithm.
        high: (P,) highest.
        start: (P,) where the search starts.
        prior: (P,) standard deviations around the start, inf for none.
        joint_mask: (P, J) which of the log's joints each moves.
        measured: (P,) which only the sensors add: their effect on the residual is known without a simulation.
        owner: (P,) which of the log's joints has a parameter for itself, -1 where several share it.
        blocks: sets of parameters that share no joint with each other; they can be searched apart.
        rounds: smaller blocks, that do so as long as the others rest: in one round what each joint has for itself, in
            the other what joints share.
        colours: (P,) which can be disturbed in the same simulation, since they move different joints; -1 for none.
    """

    def __init__(
        self, robot: RobotSpec, settings: Mapping[str, FreeSettings], logged: Collection[str], moved: np.ndarray
    ) -> None:
        self._nominal, self.joints, self.moved = robot, tuple(logged), np.asarray(moved, dtype=bool)
        self._movers = {joint: i for i, joint in enumerate(self.joints) if self.moved[i]}
        self._base = constants(robot)  # gets the starts as well
        chains = _Chains(robot)
        self.left_out: dict[str, str] = {}
        self.parameters: tuple[Parameter, ...] = tuple(
            parameter for name, how in settings.items() for parameter in self._free(name, how, chains)
        )
        if not self.parameters:
            raise UserError("nothing to search: no free parameter is of a joint that moved in the log")
        self.low = np.array([p.searched(p.low) for p in self.parameters])
        self.high = np.array([p.searched(p.high) for p in self.parameters])
        self.start = np.array([p.searched(p.start) for p in self.parameters])
        self.prior = np.array([np.inf if p.prior is None else p.prior for p in self.parameters])
        self.joint_mask = np.array([p.joints for p in self.parameters])
        self.measured = np.array([p.constant == MEASURED for p in self.parameters])
        start = {name: value[0] for name, value in self.values(self.start).items()}
        self.robot = with_constants(robot, {**self._base, **start})
        self.owner = self._owners()
        self.blocks = _blocks(np.arange(len(self)), self.joint_mask)
        self.rounds = self._rounds()
        self.colours = _colours(self.joint_mask, ~self.measured)

    def __len__(self) -> int:
        """P."""
        return len(self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """Constants with a free parameter."""
        return tuple(dict.fromkeys(p.constant for p in self.parameters))

    @property
    def applied(self) -> tuple[str, ...]:
        """Constants that a simulation must be given: those, and what a backend derives from one of them."""
        follow = {"joint_damping": "joint_armature"}  # its implicit integration acts as inertia, which is taken off
        return tuple(dict.fromkeys([*self.names, *(follow[name] for name in self.names if name in follow)]))

    def values(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Constants (K, k) by name from vectors (K, P): all in `applied`, tied ones alike."""
        x = np.atleast_2d(x)
        values = {name: np.repeat(self._base[name][None], len(x), axis=0) for name in self.applied}
        for i, parameter in enumerate(self.parameters):
            values[parameter.constant][:, parameter.members] = parameter.value(x[:, i])[:, None] * parameter.ratios
        return values

    def constants(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """All constants of the robot with free parameters x (P,), those that are not searched among them."""
        values = {name: value[0] for name, value in self.values(x).items()}
        return {**constants(with_constants(self.robot, values)), **values}

    def random(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Vectors (count, P), even within the bounds."""
        return rng.uniform(self.low, self.high, (count, len(self)))

    def apart(self) -> SearchSpace:
        """The same parameters, of which only those move that a joint has for itself, each judged by its joint alone."""
        other, own = copy(self), self.owner >= 0
        other.joint_mask = own[:, None] & (self.owner[:, None] == np.arange(len(self.joints)))
        other.blocks = self._joint_blocks()
        other.rounds = [other.blocks]
        other.colours = _colours(other.joint_mask, own & ~self.measured)
        return other

    def _owners(self) -> np.ndarray:
        owner = np.full(len(self), -1)
        for i, parameter in enumerate(self.parameters):
            if CONSTANTS[parameter.constant].per != "command":
                continue
            of = labels(self.robot, parameter.constant)
            told = [self._movers[of[m]] for m in parameter.members if of[m] in self._movers]
            if len(told) == 1:
                owner[i] = told[0]
        return owner

    def _joint_blocks(self) -> list[Block]:
        single = np.eye(len(self.joints), dtype=bool)
        joints = np.unique(self.owner[self.owner >= 0])
        return [Block(np.flatnonzero(self.owner == joint), single[joint]) for joint in joints]

    def _rounds(self) -> list[list[Block]]:
        shared = np.flatnonzero(self.owner < 0)
        return [blocks for blocks in (self._joint_blocks(), _blocks(shared, self.joint_mask[shared])) if blocks]

    def _free(self, name: str, how: FreeSettings, chains: _Chains) -> list[Parameter]:
        if name not in CONSTANTS:
            raise unknown(f"real2sim.space: no constant named {name!r}", name, CONSTANTS)
        known = labels(self._nominal, name)
        _check_patterns(name, how, known)
        chosen = [i for i, label in enumerate(known) if any(fnmatch(label, pattern) for pattern in how.only)]
        self._base[name][chosen] = _starts(how, [known[i] for i in chosen], self._base[name][chosen])
        items = [label.partition(".")[0] for label in known]
        told = {i: self._told_by(name, items[i], chains) for i in chosen}
        groups: dict[str, list[int]] = {}
        for i in chosen:
            label = _TIES[how.tie](owner_of(self._nominal, name, known[i]), known[i])
            groups.setdefault(label, []).append(i)
        found = []
        for label, tied in groups.items():
            group = sorted(tied, key=lambda i: not told[i].any())  # the first one's value is the parameter's
            joints = np.any([told[i] for i in group], axis=0)
            if joints.any():
                found.append(self._parameter(name, how, known, label, group, joints))
            else:
                self.left_out.update({f"{name}/{known[i]}": self._why(items[i]) for i in group})
        return found

    def _told_by(self, name: str, item: str, chains: _Chains) -> np.ndarray:
        """(J,) which joints that moved tell a constant of a joint or link."""
        if CONSTANTS[name].per == "command" and item not in self._movers:
            return np.zeros(len(self.joints), dtype=bool)
        if name == MEASURED:
            return self.moved & (np.array(self.joints) == item)
        moved_by = chains.moved_by(item, CONSTANTS[name].per.startswith("link"))
        return self.moved & np.array([chains.of.get(joint) in moved_by for joint in self.joints])

    def _why(self, item: str) -> str:
        still = item in self.joints and item not in self._movers
        return "never moved" if still else "no joint that moved tells it"

    def _parameter(
        self, name: str, how: FreeSettings, known: tuple[str, ...], label: str, group: list[int], joints: np.ndarray
    ) -> Parameter:
        starts, where = self._base[name][group], f"real2sim.space.{name}"
        start, unlike = float(starts[0]), np.flatnonzero(starts != starts[0])
        if len(unlike) and (name not in LOG_NAMES or how.start is not None):
            raise UserError(
                f"{where}: {known[group[0]]} and {known[group[unlike[0]]]} share one value by tie={how.tie}, and must "
                f"start alike, not at {start:g} and {starts[unlike[0]]:g}"
            )
        low, high = how.bounds
        if name in LOG_NAMES:
            low, high = low * start, high * start
        elif name in OFFSET_NAMES:
            low, high = low + start, high + start
        ratios = starts / start if len(unlike) and start else np.ones(len(group))
        hard_low, hard_high = parameters.PARAMETERS[name].bounds
        low, high = max(low, float((hard_low / ratios).max())), min(high, float((hard_high / ratios).min()))
        if not low <= start <= high or (name in LOG_NAMES and low <= 0):
            raise UserError(
                f"{where}: start {start:g} of {label} must lie within {low:g} to {high:g} "
                f"{parameters.PARAMETERS[name].unit}"
            )
        return Parameter(
            name, label or "all", tuple(group), tuple(ratios.tolist()), start, low, high, how.prior, joints
        )  # fmt: skip


def _starts(how: FreeSettings, labels: list[str], own: np.ndarray) -> np.ndarray:
    """Where the search of some constants starts, given the robot's own."""
    if not isinstance(how.start, dict):
        return own if how.start is None else np.full(len(own), how.start)
    patterns = how.start.items()
    return np.array(
        [next((v for pattern, v in patterns if fnmatch(x, pattern)), o) for x, o in zip(labels, own, strict=True)]
    )


def _check_patterns(name: str, how: FreeSettings, known: tuple[str, ...]) -> None:
    """Refuse what fits nothing, and bounds that no factor can have."""
    patterns = {"only": how.only, "start": tuple(how.start) if isinstance(how.start, dict) else ()}
    for key, values in patterns.items():
        for pattern in values:
            if not any(fnmatch(label, pattern) for label in known):
                raise unknown(f"real2sim.space.{name}.{key}: {pattern!r} fits nothing", pattern, known)
    if name in LOG_NAMES:
        require(how.bounds[0] > 0, f"real2sim.space.{name}.bounds", list(how.bounds), "factors above 0")


class _Chains:
    """The chains that joints and links move in: an arm as far as the palm, or a finger.

    Joints of a chain move each other. What a finger weighs, and carries, loads its arm as well; its drives move the arm
    by nothing that can be measured. What the arm does to a finger is in every simulation, but left out of which
    parameter is told by which joint.

    Attributes:
        of: joint or link -> its chain.
    """

    def __init__(self, robot: RobotSpec) -> None:
        self.of: dict[str, int] = {}
        self._above: dict[int, int | None] = {}
        palms = {palm.link for palm in robot.palms}
        for joint in robot.joints:  # parents come first
            above = chain = self.of.get(joint.parent)
            if chain is None or joint.parent in palms:
                if joint.name not in robot.joint_names:
                    continue
                chain = len(self._above)
                self._above[chain] = above
            self.of[joint.name] = self.of[joint.child] = chain

    def moved_by(self, item: str, is_link: bool) -> set[int]:
        """Chains that a constant of a joint or link moves."""
        chain, found = self.of.get(item), set()
        while chain is not None and (is_link or not found):
            found.add(chain)
            chain = self._above[chain]
        return found


def _named(label: str, *words: str) -> str:
    """A label of other words, for the same axis."""
    _, dot, axis = label.partition(".")
    return "_".join(word for word in words if word) + dot + axis


def _finger(item: Joint | Link, label: str) -> str:
    return _named(label, item.side, "fingers", item.role) if item.finger not in ("", "thumb") else label


# What shares a value by each tie: all that get the same label.
_TIES: dict[str, Callable[[Joint | Link, str], str]] = {
    "none": lambda item, label: label,
    "mirror": lambda item, label: _named(label, item.finger, item.role),
    "fingers": _finger,
    "part": lambda item, label: drives_of(item),
    "side": lambda item, label: item.side,
    "all": lambda item, label: "",
}


def _blocks(indices: np.ndarray, mask: np.ndarray) -> list[Block]:
    """Groups of `indices` that share no joint by the rows of `mask`."""
    left, blocks = set(range(len(mask))), []
    while left:
        block = {left.pop()}
        joints = mask[list(block)].any(axis=0)
        while grown := {i for i in left if (mask[i] & joints).any()}:
            block |= grown
            left -= grown
            joints = mask[list(block)].any(axis=0)
        blocks.append(Block(indices[sorted(block)], np.asarray(joints)))
    return sorted(blocks, key=lambda block: int(block.members[0]))


def _colours(mask: np.ndarray, simulated: np.ndarray) -> np.ndarray:
    """(P,) which parameters can be disturbed in the same simulation, since they move different joints; -1 for none."""
    colours = np.full(len(mask), -1)
    taken: list[np.ndarray] = []
    for i in sorted(np.flatnonzero(simulated), key=lambda i: -int(mask[i].sum())):
        colour = next((c for c, joints in enumerate(taken) if not (joints & mask[i]).any()), len(taken))
        if colour == len(taken):
            taken.append(np.zeros(mask.shape[1], dtype=bool))
        taken[colour] |= mask[i]
        colours[i] = colour
    return colours
