"""What task terms see: what the robot measures, the simulation's state, and what the episode has been so far."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor

from dexsim.backends.base import Backend, SimState
from dexsim.control.measured import Measured, RobotTensors
from dexsim.robots import RobotSpec

T = TypeVar("T")
Lifetime = Literal["phase", "state", "episode"]
_CHANGES: dict[Lifetime, tuple[Lifetime, ...]] = {
    "phase": ("phase",),
    "state": ("phase", "state"),
    "episode": ("phase", "state", "episode"),
}
Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass
class World:
    """Batched view handed to every term: a `Measured`, and beside it what only a simulator knows.

    N environments, K objects, A commanded joints.

    Attributes:
        robot: the robot.
        tensors: what terms need of it.
        backend: the simulator.
        nominal: (k,) nominal value of every named physical parameter.
        goals: (N, P, 3) where the object should go in each phase of the task, m.
        phase: (N,) int64 which phase an episode is in; the recipe's stage variable (section B).
        initial_object: (N, K, 7) object poses at the episode's start.
        step: (N,) int64 policy steps since the episode's start.
        action: (N, A) the policy's last action in [-1, 1], without noise.
        joint_target: (N, 26) targets that the drives were sent last, rad.
        dt: policy period in s.
        mirrored: (N,) bool, whether the policy sees this episode in the mirror (`Task.two_sided`).
    """

    robot: RobotSpec
    tensors: RobotTensors
    backend: Backend
    nominal: Mapping[str, Tensor]
    goals: Tensor
    phase: Tensor
    initial_object: Tensor
    step: Tensor
    action: Tensor
    joint_target: Tensor
    dt: float
    mirrored: Tensor
    _facts: dict[Lifetime, dict[Any, Any]] = field(default_factory=lambda: {"phase": {}, "state": {}, "episode": {}})

    def __post_init__(self) -> None:
        # The simulator's object is where its estimate says it is, at once.
        count, device = len(self.phase), self.phase.device
        self._no_age = torch.zeros(count, device=device)
        self._valid = torch.ones(count, dtype=torch.bool, device=device)
        self._rows = torch.arange(count, device=device)

    # -- what has changed ----------------------------------------------------------------------------------------------

    def changed(self, what: Lifetime = "state") -> None:
        """Forget what was computed from the thing that has changed, and from what changes with it.

        Args:
            what: "phase", which goals depend on; "state", and the phase with it; "episode", and everything with it.
        """
        for lifetime in _CHANGES[what]:
            self._facts[lifetime].clear()

    def remember(self, key: Any, compute: Callable[[], T], of: Lifetime = "state") -> T:
        """What `compute` returns, asked once for each state (or phase, or episode) of the world."""
        known = self._facts[of]
        if key not in known:
            known[key] = compute()
        return known[key]

    # -- what is known -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> SimState:
        """The simulation's state, always the current one."""
        return self.backend.state

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """(N, k) current value of every named physical parameter."""
        return self.backend.values

    @property
    def measured(self) -> Measured:
        """What a robot would know, without noise."""
        return self.remember("measured", self._measure, "phase")

    @property
    def goal(self) -> Tensor:
        """(N, 3) where the object should go now, m."""
        return self.remember("goal", self._goal, "phase")

    @property
    def object_position(self) -> Tensor:
        """(N, 3) centre of the first object, m."""
        return self.remember("object_position", lambda: self.state.object_pose[:, 0, :3])

    @property
    def object_orientation(self) -> Tensor:
        """(N, 4) orientation of the first object, w x y z."""
        return self.remember("object_orientation", lambda: self.state.object_pose[:, 0, 3:])

    def object_size(self, index: int = 0) -> Tensor:
        """(N, 3) full extents of one object in m."""
        columns = slice(3 * index, 3 * index + 3)
        return self.remember(("object_size", index), lambda: self.parameters["object_size"][:, columns], "episode")

    def _goal(self) -> Tensor:
        return self.goals[:, 0] if self.goals.shape[1] == 1 else self.goals[self._rows, self.phase]

    def _measure(self) -> Measured:
        position = self.remember("joint_position", self._read_encoders)
        return Measured(
            robot=self.tensors,
            joint_position=position,
            joint_target=self.joint_target,
            object_position=self.object_position,
            object_age=self._no_age,
            object_valid=self._valid,
            goal=self.goal,
            time=self.step * self.dt,
        )

    def _read_encoders(self) -> Tensor:
        position = self.state.joint_position[:, self.tensors.command_index]
        bias = self.parameters.get("joint_bias", self.tensors.bias)  # an episode's own, where it varies
        return position if bias is None else position + bias


def fact(of: Lifetime = "state") -> Callable[[Method], Method]:
    """Marks a method (self, world) whose result several terms use: it is computed once a step.

    Args:
        of: what it depends on: the episode alone, the state, or the phase as well (goals do).
    """

    def wrap(method: Method) -> Method:
        key = method.__qualname__

        @functools.wraps(method)
        def once(self: Any, world: World) -> Any:
            return world.remember((key, id(self)), lambda: method(self, world), of)

        return cast("Method", once)

    return wrap
