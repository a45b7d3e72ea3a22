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
from dexsim.robots import RobotSpec, constants, labels, with_constants
from dexsim.robots.constants import OWNERS
from dexsim.robots.spec import optional_side

Tie = Literal["none", "mirror", "fingers", "part", "side", "all"]
LOG_NAMES = frozenset(
    {
        "joint_stiffness", "joint_damping", "joint_armature", "joint_friction", "joint_effort", "joint_lag",
        "link_mass", "link_inertia",
    }
)  # fmt: skip
# What only the sensors add: its effect on the residual is known without a simulation.
MEASURED = "joint_bias"


@dataclass(frozen=True)
class FreeSettings:
    """How one constant is searched.

    Attributes:
        tie: what shares one value: "none" nothing, "mirror" left and right, "fingers" the four fingers of a hand,
            "part" an arm or a hand, "side" an arm with its hand, "all" everything.
        bounds: lowest and highest: as factors of the start for positive constants, else as they are.
        start: where the search starts, or pattern of names -> that, the first that fits; null for the robot's own.
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
        members: indices among the constant's values.
        start: value where the search starts.
        low: lowest value.
        high: highest value.
        prior: standard deviation as in `FreeSettings`, or None.
        joints: (J,) bool, which of the log's joints it moves.
    """

    constant: str
    label: str
    members: tuple[int, ...]
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
        left_out: constant and joint or link -> why it stays at the robot's own value.
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
        self._own = constants(robot)
        chains = _chains(robot)
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
        self.robot = with_constants(robot, start)
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
        values = {name: np.repeat(self._own[name][None], len(x), axis=0) for name in self.applied}
        for i, parameter in enumerate(self.parameters):
            values[parameter.constant][:, parameter.members] = parameter.value(x[:, i])[:, None]
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
            if OWNERS[parameter.constant] == "command" and len(parameter.members) == 1:
                joint = labels(self.robot, parameter.constant)[parameter.members[0]]
                owner[i] = self.joints.index(joint)
        return owner

    def _joint_blocks(self) -> list[Block]:
        single = np.eye(len(self.joints), dtype=bool)
        joints = np.unique(self.owner[self.owner >= 0])
        return [Block(np.flatnonzero(self.owner == joint), single[joint]) for joint in joints]

    def _rounds(self) -> list[list[Block]]:
        shared = np.flatnonzero(self.owner < 0)
        return [blocks for blocks in (self._joint_blocks(), _blocks(shared, self.joint_mask[shared])) if blocks]

    def _free(self, name: str, how: FreeSettings, chains: Mapping[str, int]) -> list[Parameter]:
        if name not in OWNERS:
            raise unknown(f"real2sim.space: no constant named {name!r}", name, OWNERS)
        groups: dict[str, list[int]] = {}
        known = labels(self._nominal, name)
        _check_patterns(name, how, known)
        moved = {chains[joint] for joint, moves in zip(self.joints, self.moved, strict=True) if moves}
        for index, label in enumerate(known):
            item = label.partition(".")[0]
            if not any(fnmatch(label, pattern) for pattern in how.only):
                continue
            still = item in self.joints and not self.moved[self.joints.index(item)]
            if chains.get(item) in moved and not still and (item in self.joints or OWNERS[name] != "command"):
                groups.setdefault(_TIES[how.tie](label), []).append(index)
            else:
                self.left_out[f"{name}/{label}"] = "never moved" if still else "no joint that moved tells it"
        return [self._parameter(name, how, known, label, group, chains) for label, group in groups.items()]

    def _parameter(
        self,
        name: str,
        how: FreeSettings,
        known: tuple[str, ...],
        label: str,
        group: list[int],
        chains: Mapping[str, int],
    ) -> Parameter:
        start = _start(name, how, [known[i] for i in group], float(self._own[name][group[0]]))
        low, high = (bound * start for bound in how.bounds) if name in LOG_NAMES else how.bounds
        hard_low, hard_high = parameters.PARAMETERS[name].bounds
        low, high = max(low, hard_low), min(high, hard_high)
        where = f"real2sim.space.{name}: start {start:g} of {label}"
        if not low <= start <= high or (name in LOG_NAMES and low <= 0):
            raise UserError(f"{where} must lie within {low:g} to {high:g} {parameters.PARAMETERS[name].unit}")
        touched = {chains[known[i].partition(".")[0]] for i in group}
        joints = np.array([chains[joint] in touched for joint in self.joints]) & self.moved
        if name == MEASURED:
            joints &= np.isin(self.joints, [known[i] for i in group])
        return Parameter(name, label or "all", tuple(group), start, low, high, how.prior, joints)


def _start(name: str, how: FreeSettings, tied: list[str], own: float) -> float:
    if not isinstance(how.start, dict):
        return own if how.start is None else how.start
    starts = {
        label: next((value for pattern, value in how.start.items() if fnmatch(label, pattern)), own) for label in tied
    }
    if len(set(starts.values())) > 1:
        raise UserError(
            f"real2sim.space.{name}.start: {min(starts, key=lambda label: starts[label])} and "
            f"{max(starts, key=lambda label: starts[label])} share one value by tie={how.tie}, and must start alike"
        )
    return starts[tied[0]]


def _check_patterns(name: str, how: FreeSettings, known: tuple[str, ...]) -> None:
    """Refuse what fits nothing, and bounds that no factor can have."""
    patterns = {"only": how.only, "start": tuple(how.start) if isinstance(how.start, dict) else ()}
    for key, values in patterns.items():
        for pattern in values:
            if not any(fnmatch(label, pattern) for label in known):
                raise unknown(f"real2sim.space.{name}.{key}: {pattern!r} fits nothing", pattern, known)
    if name in LOG_NAMES:
        require(how.bounds[0] > 0, f"real2sim.space.{name}.bounds", list(how.bounds), "factors above 0")


def _chains(robot: RobotSpec) -> dict[str, int]:
    """Joints and links -> the chain that they move with: an arm as far as the palm, or a finger.

    Joints of a chain move each other. A finger of a few grams moves its arm by nothing that can be measured; what the
    arm does to a finger is in every simulation, but left out of which parameter is told by which joint.
    """
    chain: dict[str, int] = {}
    palms = {palm.link for palm in robot.palms}
    for joint in robot.joints:  # parents come first
        above = chain.get(joint.parent)
        if above is None or joint.parent in palms:
            above = len(chain)
            if joint.name not in robot.joint_names:
                continue
        chain[joint.name] = chain[joint.child] = above
    return chain


def _side(label: str) -> str:
    return optional_side(label) or ""


def _bare(label: str) -> str:
    """A label without its side."""
    for prefix in ("left_", "right_", "L_", "R_"):
        label = label.removeprefix(prefix)
    return label


def _part(label: str) -> str:
    # The palm is carried by the arm's drives.
    kind = "hand" if label.startswith(("L_", "R_")) and "_base_link" not in label else "arm"
    return f"{_side(label)}_{kind}"


def _finger(label: str) -> str:
    digit = label.split("_")[1] if label.startswith(("L_", "R_")) else ""
    fingers = ("index", "middle", "ring", "pinky")
    return label.replace(digit, "fingers", 1) if digit in fingers else label


_TIES: dict[str, Callable[[str], str]] = {
    "none": lambda label: label,
    "mirror": _bare,
    "fingers": _finger,
    "part": _part,
    "side": _side,
    "all": lambda label: "",
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
