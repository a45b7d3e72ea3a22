"""What a robot knows of itself and of its work: all that a policy may act upon, simulated or real."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dexsim.robots import RobotSpec


class RobotTensors:
    """What terms need of a robot, as tensors made once.

    Args:
        robot: the robot, with J moving joints and A commanded ones.
        device: where the tensors are.
        dtype: of those that are not indices.

    Attributes:
        command_index: (A,) int64, place of each commanded joint among the moving ones.
        limits: (A, 2) lower and upper limit, rad.
        limit_sum: (A,) their sum, rad.
        limit_width: (A,) their difference, rad.
        bias: (A,) what an encoder reads at position zero, rad; None where none is off.
        speed: (A,) largest speed, rad/s.
    """

    def __init__(
        self, robot: RobotSpec, device: torch.device | str | None = None, dtype: torch.dtype = torch.float64
    ) -> None:
        def tensor(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.command_index = torch.tensor(robot.command_index.tolist(), device=device)
        self.limits = tensor(robot.command_limits.tolist())
        low, high = self.limits.T
        self.limit_sum, self.limit_width = high + low, high - low
        self.bias = tensor(robot.encoder_bias.tolist()) if robot.encoder_bias.any() else None
        self.speed = tensor([robot.joint(name).velocity for name in robot.commands])


@dataclass
class Measured:
    """N robots at one moment; everything in the frame of the robot's base: x forward, y left, z up.

    The environment makes one from its simulator, a runner on a robot from its sensors. Observation terms of the actor,
    the action map and the exported policy read nothing else.

    Attributes:
        robot: the robot that it is.
        joint_position: (N, A) what the encoders of the commanded joints read, canonical order, rad.
        joint_target: (N, A) targets that the drives were sent last, rad.
        object_position: (N, 3) estimate of the object's centre, m.
        object_age: (N,) how old that estimate is, s.
        object_valid: (N,) bool, whether there is an estimate at all.
        goal: (N, 3) where the object should go now, m.
        time: (N,) since the episode's start, s.
    """

    robot: RobotTensors
    joint_position: Tensor
    joint_target: Tensor
    object_position: Tensor
    object_age: Tensor
    object_valid: Tensor
    goal: Tensor
    time: Tensor
