"""One hand's part in a task that comes in two mirror images: its markers, fingertips and touch, left or right.

Which hand it is differs from environment to environment: an (N,) bool `left` says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dexsim.control.symmetry import VECTOR
from dexsim.env.world import World, fact
from dexsim.robots import RobotSpec
from dexsim.rotations import quat_rotate
from dexsim.scene import ContactPair, ObjectSpec, Scene, Table
from tasks import markers, rewards

OBJECT = "object"
# Where around the object its markers stick, from its front to the side away from the palm; rad. Markers all around
# would be met by fingers that only touch the near side.
MARKER_ANGLES = (0.0, math.pi / 4, math.pi / 2)
_ROUND = ("cylinder", "sphere", "mesh")


class HandTerms:
    """What reward terms need of hands that grasp the object: one, or one after the other.

    Hand 0 is the one that acts or begins: the right one, and the left one where the world is mirrored. Hand 1, where
    there is one, is the other.

    Args:
        robot: the robot.
        things: what the object may be (`object_choice`).
        heights: of each hand's markers above the object's middle, as fractions of half its height.
        device: where the tensors are.
    """

    def __init__(
        self,
        robot: RobotSpec,
        things: Sequence[ObjectSpec],
        heights: Sequence[float],
        device: torch.device | str | None,
    ) -> None:
        right = torch.tensor(
            [[math.cos(a), math.sin(a), 0.0] for a in MARKER_ANGLES], dtype=torch.float64, device=device
        )
        count, left = len(heights), right * right.new_tensor(VECTOR)
        # Row 0 serves where the right hand is hand 0, row 1 where the left one is.
        self._directions = torch.stack([torch.cat([right, left][:count]), torch.cat([left, right][:count])])
        tips = [robot.contact_tips(side) for side in ("right", "left")]
        self._tips = torch.tensor([tips[:count], tips[::-1][:count]], device=device).flatten(1)
        self._is_round = torch.tensor([item.shape in _ROUND for item in things], device=device)
        self._conjugate = right.new_tensor([1.0, -1.0, -1.0, -1.0])
        self._flat = right.new_tensor([1.0, 1.0, 0.0])
        self._heights = right.new_tensor(heights).repeat_interleave(len(MARKER_ANGLES))
        self._shape = (count, len(MARKER_ANGLES), 3)

    def markers(self, world: World, hand: int) -> Tensor:
        """Where a hand's fingers should close, (N, 3, 3) m: from the object's front to its far side."""
        return self._markers(world)[:, hand]

    def contact(self, world: World, hand: int, sharpness: float) -> Tensor:
        """Contact goal (N,) of a hand (arXiv 2502.20396, section B): see `rewards.contact`."""
        return rewards.attraction(self._distances(world)[:, hand], sharpness)

    def retreat(self, world: World, hand: int, reach: float) -> Tensor:
        """How far a hand has let go (N,): mean over its fingertips of the distance to its markers, 1 at `reach` m."""
        return self._distances(world)[:, hand].div(reach).clamp(max=1.0).mean(dim=-1)

    def touching(self, world: World, hand: int) -> Tensor:
        """(N,) whether any part of a hand touches the object."""
        left, right = world.state.contact[:, 0], world.state.contact[:, 1]
        ours, image = (right, left) if hand == 0 else (left, right)
        return torch.where(world.mirrored, image, ours)

    @fact()
    def _distances(self, world: World) -> Tensor:
        """Distance (N, hands, tips) of each hand's fingertips from the nearest of its markers, m."""
        side = self._side(world)
        tips = world.state.fingertip_position.gather(1, self._tips[side][..., None].expand(-1, -1, 3))
        return rewards.nearest(tips.view(len(tips), self._shape[0], -1, 3), self._markers(world))

    @fact()
    def _markers(self, world: World) -> Tensor:
        """(N, hands, 3, 3) m."""
        points = markers.attach(self._points(world), world.state.object_pose[:, 0])
        return points.view(len(points), *self._shape)

    @fact("episode")
    def _points(self, world: World) -> Tensor:
        """The markers in the object's frame, (N, hands * 3, 3) m."""
        inverse = world.initial_object[:, 0, None, 3:] * self._conjugate
        outward = self._directions[self._side(world)]
        direction = quat_rotate(inverse.expand(-1, outward.shape[1], -1), outward)
        # An object that starts tilted, in a hand: around its own axis all the same.
        direction = direction * self._flat
        length = torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
        direction = torch.where(length > 0.1, direction / length.clamp(min=0.1), outward)
        is_round = self._is_round[world.parameters["object_choice"][:, 0].long()]
        points = markers.around(direction, world.object_size(), is_round)
        points[..., 2] += self._heights * world.object_size()[:, 2:] / 2
        return points

    @fact("episode")
    def _side(self, world: World) -> Tensor:
        """(N,) int64, 1 where the left hand is hand 0."""
        return world.mirrored.long()


def grasping_scene(robot: RobotSpec, table: Table, things: Sequence[ObjectSpec], timestep: float) -> Scene:
    """Table and object, which may be any of `things`; where it lies is up to the bank.

    It reports what `HandTerms.touching` needs: the left hand on the object, the right hand on it.
    """
    first, *others = things
    thing = replace(first, name=OBJECT, alternatives=tuple(others))
    palm = {palm.side: palm.link for palm in robot.palms}
    touch = tuple(ContactPair(f"{side}_hand", palm[side], OBJECT) for side in ("left", "right"))
    return Scene(robot, table, (thing,), touch, timestep)
