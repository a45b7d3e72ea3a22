"""What task terms see: the simulation's state, the goals, and what the episode has been so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dexsim.backends import SimState
from dexsim.robots import RobotSpec


class RobotTensors:
    """What terms need of a robot, as tensors made once: indices, limits and encoder bias in rad, speeds in rad/s."""

    def __init__(self, robot: RobotSpec) -> None:
        """Tensors of a robot."""
        self.command_index = torch.from_numpy(robot.command_index)
        self.limits = torch.from_numpy(robot.command_limits)
        self.bias = torch.from_numpy(robot.encoder_bias)
        self.speed = torch.tensor([robot.joint(name).velocity for name in robot.commands], dtype=torch.float64)


@dataclass
class World:
    """Batched view handed to every term; N environments, K objects.

    Attributes:
        robot: the robot.
        tensors: what terms need of it.
        state: the simulation's state.
        parameters: (N, k) current value of every named physical parameter.
        nominal: (k,) its nominal value.
        goals: (N, P, 3) where the object should go in each phase of the task, m.
        phase: (N,) int64 which phase an episode is in; the recipe's stage variable (section B).
        initial_object: (N, K, 7) object poses at the episode's start.
        step: (N,) int64 policy steps since the episode's start.
        action: (N, A) the policy's last action in [-1, 1], without noise.
        previous_action: (N, A) the one before.
        dt: policy period in s.
        mirrored: (N,) bool, whether the policy sees this episode in the mirror (`Task.two_sided`).
    """

    robot: RobotSpec
    tensors: RobotTensors
    state: SimState
    parameters: Mapping[str, Tensor]
    nominal: Mapping[str, Tensor]
    goals: Tensor
    phase: Tensor
    initial_object: Tensor
    step: Tensor
    action: Tensor
    previous_action: Tensor
    dt: float
    mirrored: Tensor

    @property
    def measured_position(self) -> Tensor:
        """(N, 26) what the encoders of the commanded joints read, without noise, rad."""
        return self.state.joint_position[:, self.tensors.command_index] + self.tensors.bias

    @property
    def goal(self) -> Tensor:
        """(N, 3) where the object should go now, m."""
        return self.goals[torch.arange(len(self.phase)), self.phase]

    def object_size(self, index: int = 0) -> Tensor:
        """(N, 3) full extents of one object in m."""
        return self.parameters["object_size"][:, 3 * index : 3 * index + 3]
