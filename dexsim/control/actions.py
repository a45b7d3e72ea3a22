"""From a policy's action to joint targets; the same code serves the environment, the exported policy and the robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dexsim.errors import UserError, require
from dexsim.robots import RobotSpec


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """Rates and the meaning of an action: config section `control`, whose values are in `cfg/control`.

    Attributes:
        policy_hz: policy steps a second; the robot's is 5 (arXiv 2502.20396).
        action_mode: "relative": an action moves the last target; "absolute": it is the target, and `arm_speed`,
            `hand_speed` and `arm_lead` have no effect.
        arm_speed: relative mode: how fast an arm joint's target moves at action 1, rad/s.
        hand_speed: relative mode: how fast a hand joint's normalized target moves at action 1, 1/s.
        arm_lead: relative mode: how far an arm joint's target may lie from its measured position, rad. Without a bound
            the target runs away while the hands press on something, and the force with it.
    """

    policy_hz: float
    action_mode: Literal["relative", "absolute"]
    arm_speed: float
    hand_speed: float
    arm_lead: float

    def __post_init__(self) -> None:
        """Refuse rates that cannot be."""
        for name in ("policy_hz", "arm_speed", "hand_speed", "arm_lead"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")

    def substeps(self, timestep: float) -> int:
        """Physics steps in a policy step; raises UserError where that is not a whole number."""
        exact = 1.0 / (self.policy_hz * timestep)
        if round(exact) < 1 or abs(exact - round(exact)) > 1e-6:
            raise UserError(
                f"control.policy_hz = {self.policy_hz:g}: a policy step must be a whole number of physics steps of "
                f"{timestep:g} s, not {exact:.3f}"
            )
        return round(exact)


class ActionMap(nn.Module):
    """Action in [-1, 1] and last target to the next target, in canonical order.

    Arm joints span their limits. Hand joints are normalized to 0 (open) .. 1 (closed), whichever way they turn.

    Args:
        robot: the robot.
        settings: rates and mode.
        joints: names of the A joints that an action moves, in canonical order; the others keep their targets. None for
            all 26.
        device: where its tensors are.
    """

    start: Tensor
    span: Tensor
    reach: Tensor
    lead: Tensor
    moves: Tensor
    place: Tensor

    def __init__(
        self,
        robot: RobotSpec,
        settings: ControlSettings,
        joints: Sequence[str] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.relative = settings.action_mode == "relative"

        def tensor(values: Sequence[Any]) -> Tensor:
            return torch.tensor(values, device=device)

        start, end = tensor(robot.open_position), tensor(robot.closed_position)
        self.register_buffer("start", start)
        self.register_buffer("span", end - start)
        is_hand = tensor(robot.is_hand.tolist())
        # Largest change of the normalized target in one policy step.
        arm = settings.arm_speed / settings.policy_hz / self.span.abs()
        hand = torch.full_like(arm, settings.hand_speed / settings.policy_hz)
        self.register_buffer("reach", torch.where(is_hand, hand, arm))
        self.register_buffer("lead", torch.where(is_hand, torch.ones_like(arm), settings.arm_lead / self.span.abs()))
        moved = list(robot.commands if joints is None else joints)
        place = [[1.0 if name == command else 0.0 for command in robot.commands] for name in moved]
        self.moves_all = len(moved) == len(robot.commands)
        self.register_buffer("place", tensor(place))
        self.register_buffer("moves", self.place.sum(dim=0) > 0)

    def normalize(self, target: Tensor) -> Tensor:
        """Joint positions (..., 26) in rad to 0 .. 1."""
        return (target - self.start) / self.span

    def forward(self, action: Tensor, previous_target: Tensor, joint_position: Tensor) -> Tensor:
        """Next joint targets.

        Args:
            action: (N, A) in [-1, 1]; what lies outside is clipped.
            previous_target: (N, 26) rad.
            joint_position: (N, 26) measured, rad. In absolute mode it has no effect.

        Returns:
            (N, 26) rad, within limits.
        """
        action = action.clamp(-1.0, 1.0)
        if self.moves_all:
            return self._next(action, previous_target, joint_position)
        target = self._next(action @ self.place, previous_target, joint_position)
        return torch.where(self.moves, target, previous_target)

    def _next(self, action: Tensor, previous_target: Tensor, joint_position: Tensor) -> Tensor:
        if not self.relative:
            return self.start + (action + 1) / 2 * self.span
        measured = self.normalize(joint_position)
        unit = self.normalize(previous_target) + action * self.reach
        unit = torch.maximum(torch.minimum(unit, measured + self.lead), measured - self.lead)
        return self.start + unit.clamp(0.0, 1.0) * self.span
