"""A policy with all that stands between it and a robot: what is measured goes in, joint targets come out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dexsim.control.actions import ActionMap
from dexsim.control.measured import Measured, RobotTensors
from dexsim.control.observations import ObservationGroup, ObservationTerm
from dexsim.control.symmetry import Mirror, mirror_actions, mirror_commands, mirror_group
from dexsim.robots import RobotSpec

# The tensors of a `Measured`, and whether the policy is to see them in a mirror: what an exported policy takes, always.
INPUTS = (
    "joint_position", "joint_target", "object_position", "object_age", "object_valid", "goal", "time", "mirrored",
)  # fmt: skip
OUTPUTS = ("action", "next_joint_target")


class Controller(nn.Module):
    """Observation, mirror, policy and action map in one; what a policy is exported as.

    Args:
        policy: observations (N, num_obs) -> actions (N, num_actions) in [-1, 1].
        terms: what it sees.
        robot: whose joints it moves.
        action_map: from its actions to joint targets.
        two_sided: whether it plays left-handed episodes in the mirror (`dexsim.env.task.Task.two_sided`).
    """

    def __init__(
        self,
        policy: nn.Module,
        terms: Sequence[ObservationTerm],
        robot: RobotSpec,
        action_map: ActionMap,
        two_sided: bool,
    ) -> None:
        super().__init__()
        self.policy, self.action_map, self.two_sided = policy, action_map, two_sided
        self._robot = RobotTensors(robot, dtype=torch.float32)
        self.num_joints = len(robot.commands)
        self.group = ObservationGroup(terms, self.measured(self.example(1)))
        if two_sided:
            self.mirror_obs = Mirror(mirror_group(self.group, robot))
            self.mirror_commands = Mirror(mirror_commands(robot))
            self.mirror_actions = Mirror(mirror_actions(robot))

    def example(self, count: int) -> tuple[Tensor, ...]:
        """Inputs of `count` robots that do nothing, in the order of `INPUTS`."""
        joints, point, number = torch.zeros(2, count, self.num_joints), torch.zeros(2, count, 3), torch.zeros(count)
        valid, mirrored = torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)
        return joints[0], joints[1], point[0], number, valid, point[1], number.clone(), mirrored

    def measured(self, inputs: Sequence[Tensor]) -> Measured:
        """Inputs in the order of `INPUTS` as a `Measured`."""
        return Measured(self._robot, *inputs[:-1])

    def forward(
        self,
        joint_position: Tensor,
        joint_target: Tensor,
        object_position: Tensor,
        object_age: Tensor,
        object_valid: Tensor,
        goal: Tensor,
        time: Tensor,
        mirrored: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Act; arguments are those of `Measured`, and which robots (N,) the policy sees in the mirror.

        Returns:
            The policy's action (N, num_actions) in [-1, 1], and the next joint targets (N, A) in rad.
        """
        inputs = (joint_position, joint_target, object_position, object_age, object_valid, goal, time, mirrored)
        obs = self.group(self.measured(inputs))
        if not self.two_sided:
            action = self.policy(obs)
            return action, self.action_map(action, joint_target, joint_position)
        where = mirrored[:, None]
        action = self.policy(self.mirror_obs.where(where, obs))
        seen = [self.mirror_commands.where(where, values) for values in (joint_target, joint_position)]
        return action, self.mirror_commands.where(where, self.action_map(action, *seen))
