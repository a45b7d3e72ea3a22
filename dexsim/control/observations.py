"""Observation terms of the actor, and how terms are laid out in one vector; the environment and the robot share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dexsim.control.measured import Measured
from dexsim.control.symmetry import VECTOR, TermMirror, mirror_commands
from dexsim.errors import UserError


@dataclass(frozen=True)
class ObservationTerm:
    """One thing that a network sees.

    Attributes:
        name: as in logs, manifests and error messages.
        function: from what is known to the term's values (N, k): of a `Measured` for the actor, of a
            `dexsim.env.world.World` for what only a simulator knows.
        mirror: its mirror image in the robot's x-z plane: signs of its values, repeated over its width, or a function
            of the robot that returns for each value of the image where it comes from and its sign. None: it has no
            image, and a symmetric or two-sided task cannot use it.
        unit: of its values.
        noise: key of `RandomizationSettings` that is the standard deviation of its noise; "" for none.
        privileged: whether only a simulator knows it.
    """

    name: str
    function: Callable[[Any], Tensor]
    mirror: TermMirror | None
    unit: str
    noise: str = ""
    privileged: bool = False


class ObservationGroup:
    """Terms one after the other in one vector.

    Args:
        terms: in the order of the vector.
        measured: an example; the width of a term is found by calling it.
        world: a `dexsim.env.world.World`, where there is one; privileged terms need it.

    Attributes:
        terms: as given.
        layout: where each term lies, by name.
        size: width of the vector.

    Raises:
        UserError: for a privileged term where there is no simulator.
    """

    def __init__(self, terms: Sequence[ObservationTerm], measured: Measured, world: Any = None) -> None:
        self.terms = tuple(terms)
        hidden = [term.name for term in self.terms if term.privileged]
        if hidden and world is None:
            raise UserError(f"observation term {hidden[0]!r}: only a simulator knows it, no robot does")
        self.layout: dict[str, slice] = {}
        self.size = 0
        for term in self.terms:
            width = _values(term, measured, world).shape[1]
            self.layout[term.name] = slice(self.size, self.size + width)
            self.size += width

    def __call__(self, measured: Measured, world: Any = None) -> Tensor:
        """The vector, (N, size) float32."""
        return torch.cat([_values(term, measured, world) for term in self.terms], dim=1).float()


def _values(term: ObservationTerm, measured: Measured, world: Any) -> Tensor:
    return term.function(world if term.privileged else measured)


def _joint_position(measured: Measured) -> Tensor:
    return (2 * measured.joint_position - measured.robot.limit_sum) / measured.robot.limit_width


# Positions of the commanded joints in canonical order: -1 at the lower limit, 1 at the upper one.
JOINT_POSITION = ObservationTerm(
    "joint_position", _joint_position, mirror_commands, "fraction of range, -1 .. 1", noise="joint_noise"
)
# Centre of the object in the frame of the robot's base.
OBJECT_POSITION = ObservationTerm(
    "object_position", lambda measured: measured.object_position, VECTOR, "m", noise="object_position_noise"
)
# Where the object should go now, in the same frame.
GOAL = ObservationTerm("goal", lambda measured: measured.goal, VECTOR, "m")
