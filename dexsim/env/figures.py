"""How well joints follow and hands hold, measured beside an environment: for evaluations, which training does not pay.

Looked at once a policy step, between the steps; the step that ends an episode is left out, since its state is gone once
the environment has reset itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dexsim.env.contract import Tensors

if TYPE_CHECKING:
    from dexsim.env.env import Env

SIDES = ("left", "right")  # as in `SimState.palm_pose`


class EpisodeFigures:
    """Accumulates figures of the episodes that are under way (`dexsim.rl.evaluation.Recorder`).

    `tracking_arms_rad` and `tracking_hands_rad` are root mean squares of target minus true position over the joints
    that the policy moves; `measured_arms_rad`, `measured_hands_rad` are those of target minus measured position.
    `slip_mm_s` is the mean speed of the object's centre in the palm's frame, while that hand touches the object and
    after it was picked up; NaN in an episode without such a moment, and left out for a task that tells of no pick-up or
    no touch.

    Args:
        env: what is watched.
    """

    def __init__(self, env: Env) -> None:
        self._env = env
        count, device = env.num_envs, env.device
        moved = torch.tensor([name in env.joints for name in env.robot.commands], device=device)
        # In the mirror the policy's joints are those of the other side.
        mirror = env.robot.mirror
        image = moved if mirror is None else moved[torch.tensor(mirror.index, device=device)]
        self._moved = torch.stack([moved, image])
        is_hand = torch.tensor(env.robot.is_hand, device=device)
        self._parts = {"arms": ~is_hand, "hands": is_hand}
        self._steps = torch.zeros(count, dtype=torch.float64, device=device)
        self._squares = {
            f"{kind}_{part}_rad": torch.zeros_like(self._steps)
            for kind in ("tracking", "measured")
            for part, joints in self._parts.items()
            if bool((moved & joints).any())
        }
        self._pairs = _hand_pairs(env)
        self._slips = "picked_up" in env.task.stage_names and any(self._pairs)
        self._picked = torch.zeros(count, dtype=torch.bool, device=device)
        self._held = torch.zeros(count, len(SIDES), dtype=torch.bool, device=device)
        self._place = torch.zeros(count, len(SIDES), 3, dtype=torch.float64, device=device)
        self._way, self._held_steps = torch.zeros_like(self._steps), torch.zeros_like(self._steps)

    def look(self) -> None:
        """Take in the state between two steps."""
        under_way = self._env.world.step > 0
        self._steps += under_way
        self._follow(under_way)
        if self._slips:
            self._hold()

    def figures(self, ended: Tensor) -> Tensors:
        """Name -> (N,) of the episodes so far; those that `ended` (N,) are forgotten."""
        values = {name: (total / self._steps.clamp(min=1.0)).sqrt() for name, total in self._squares.items()}
        if self._slips:  # 0 / 0 where nothing was held
            values["slip_mm_s"] = 1000.0 * self._way / (self._held_steps * self._env.dt)
        for total in (self._steps, *self._squares.values(), self._picked, self._held, self._way, self._held_steps):
            total[ended] = 0
        return values

    def _follow(self, under_way: Tensor) -> None:
        world = self._env.world
        target = world.joint_target.double()
        true = world.state.joint_position[:, world.tensors.command_index]
        for kind, position in (("tracking", true), ("measured", world.measured.joint_position)):
            squared = (target - position).square() * under_way[:, None]
            for part, joints in self._parts.items():
                name = f"{kind}_{part}_rad"
                if name in self._squares:
                    counted = (self._moved & joints).double()[world.mirrored.long()]
                    self._squares[name] += (squared * counted).sum(dim=1) / counted.sum(dim=1)

    def _hold(self) -> None:
        world = self._env.world
        self._picked |= self._env.task.stages(world)["picked_up"]
        contact = world.state.contact
        touches = torch.stack([contact[:, pairs].any(dim=1) for pairs in self._pairs], dim=1)
        held = touches & self._picked[:, None]
        palms = world.state.palm_pose
        offset = world.object_position[:, None] - palms[..., :3]
        place = torch.einsum("nsij,nsi->nsj", palms[..., 3:].reshape(*offset.shape, 3), offset)
        counted = held & self._held
        way = torch.linalg.vector_norm(place - self._place, dim=-1)
        self._way += (way * counted).sum(dim=1)
        self._held_steps += counted.sum(dim=1)
        self._held, self._place = held, place


def _hand_pairs(env: Env) -> list[Sequence[int]]:
    """For each side the scene's contact pairs that say whether its hand touches the first object."""
    scene = env.backend.scene
    things = {item.name for item in scene.objects}
    sides = {link.name: link.side for link in scene.robot.links}
    own = [(i, pair) for i, pair in enumerate(scene.contacts) if pair.first not in things]
    first = scene.objects[0].name if scene.objects else None
    return [[i for i, pair in own if pair.second == first and sides.get(pair.first) == side] for side in SIDES]
