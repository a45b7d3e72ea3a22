"""What every simulator offers: N copies of a scene, stepped together, seen as torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dexsim.errors import require
from dexsim.scene import Scene

BACKENDS = ("mujoco", "physx")


# Shortest and longest physics step, s.
TIMESTEPS = (0.0005, 0.02)


@dataclass(frozen=True, kw_only=True)
class BackendSettings:
    """Which simulator, and how it runs: what all of them have; one with keys of its own has a class of its own.

    Attributes:
        name: one of `BACKENDS`.
        threads: simulation threads (physx: processes), 0 for one a core. Results do not depend on it.
        timestep: physics step in s.
    """

    name: str
    threads: int
    timestep: float

    def __post_init__(self) -> None:
        """Refuse unknown simulators and steps that none integrates."""
        require(self.name in BACKENDS, "name", self.name, f"one of {', '.join(BACKENDS)}")
        require(TIMESTEPS[0] <= self.timestep <= TIMESTEPS[1], "timestep", self.timestep, "0.0005 to 0.02 s")
        require(self.threads >= 0, "threads", self.threads, "0 (one a core) or more")


class SimState:
    """The simulation as it is, valid until the next call; J joints in the robot's tree order, K objects, F fingertips.

    Args:
        parts: each attribute, or what computes it once somebody asks for it.

    Attributes:
        joint_position: (N, J) rad, where the joints are; encoders add `RobotSpec.encoder_bias`.
        joint_velocity: (N, J) rad/s.
        object_pose: (N, K, 7) position in m and quaternion w x y z.
        object_velocity: (N, K, 6) linear in m/s and angular in rad/s, world frame.
        fingertip_position: (N, F, 3) m, in the order of `RobotSpec.fingertips`.
        palm_pose: (N, 2, 12) left and right grasp frames: position in m and rotation matrix, row by row.
        contact: (N, P) whether the two of each `Scene.contacts` pair touch.
    """

    joint_position: Tensor
    joint_velocity: Tensor
    object_pose: Tensor
    object_velocity: Tensor
    fingertip_position: Tensor
    palm_pose: Tensor
    contact: Tensor

    def __init__(self, **parts: Tensor | Callable[[], Tensor]) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_") or name not in self._parts:
            raise AttributeError(name)
        part = self._parts[name]
        value = part if isinstance(part, torch.Tensor) else part()
        setattr(self, name, value)  # found at once from now on
        return value


@dataclass
class InitialState:
    """Where some environments start, at rest: n environments.

    Attributes:
        joint_position: (n, J) rad, coupled joints included.
        joint_target: (n, 26) rad.
        object_pose: (n, K, 7).
    """

    joint_position: Tensor
    joint_target: Tensor
    object_pose: Tensor


@dataclass
class Rollout:
    """What drives did in S physics steps.

    Attributes:
        joint_position: (N, S, 26) rad after each step.
        joint_effort: (N, S, 26) N m, torque of each drive then, with what it takes off the arm's weight.
        diverged: (N,) bool; what the others hold of such a simulation says nothing.
    """

    joint_position: Tensor
    joint_effort: Tensor
    diverged: Tensor


class Backend(Protocol):
    """N copies of a scene. What a simulator cannot do raises; nothing is skipped silently.

    Attributes:
        num_envs: N.
        scene: what is simulated.
        device: where all tensors are that go in and come out.
        capabilities: what it can do: "parameters", "wrench", "contacts", "exact_state".
        fixed_at_build: names of parameters that the engine cannot change once it runs; an environment draws and sets
            them once, before its first reset, not for each episode.
        unknown: names of parameters that the engine has nothing for; setting them raises UserError.
    """

    num_envs: int
    scene: Scene
    device: torch.device
    capabilities: frozenset[str]
    fixed_at_build: frozenset[str]
    unknown: frozenset[str]

    @property
    def values(self) -> Mapping[str, Tensor]:
        """Name -> (N, k) current value of every parameter of an episode, and of others that were set."""
        ...

    @property
    def state(self) -> SimState:
        """The current state, whatever has been called before."""
        ...

    def set_joint_targets(self, targets: Tensor) -> None:
        """Set the position drives' targets, (N, 26) rad, held until set again."""
        ...

    def apply_wrench(self, wrench: Tensor) -> None:
        """Force in N and torque in N m on each object's centre, world frame, (N, K, 6), held until set again."""
        ...

    def step(self, substeps: int) -> Tensor:
        """Advance all by `substeps` physics steps; return (N,) bool, True where the simulation went non-finite."""
        ...

    def rollout(self, targets: Tensor) -> Rollout:
        """Advance all by S physics steps with targets of their own (N, S, 26), rad; the last ones are held on.

        Of `state` only the joints are current then; links, fingertips and contacts may be those of an earlier step.
        """
        ...

    def reset(self, env_ids: Tensor, initial: InitialState) -> None:
        """Put some environments into a state at rest and make `state` current; the others are not touched."""
        ...

    def set_parameters(self, env_ids: Tensor, values: Mapping[str, Tensor]) -> None:
        """Set named physical parameters (`dexsim.parameters`) of some environments."""
        ...

    def close(self) -> None:
        """Let go of processes and memory; nothing else may be called any more."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `get_state()`."""
        ...
