"""One hand's part in a task that comes in two mirror images: its markers, fingertips and touch, left or right.

Which hand it is differs from environment to environment: an (N,) bool `left` says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dexsim.control.symmetry import VECTOR
from dexsim.env.world import World
from dexsim.robots import RobotSpec
from dexsim.rotations import quat_rotate
from dexsim.scene import ContactPair, ObjectSpec
from tasks import markers, rewards

OBJECT = "object"
# Where around the object its markers stick, from its front to the side away from the palm; rad. Markers all around
# would be met by fingers that only touch the near side.
MARKER_ANGLES = (0.0, math.pi / 4, math.pi / 2)
_ROUND = ("cylinder", "sphere", "mesh")


class HandTerms:
    """What reward terms need of a hand that grasps the object.

    Args:
        robot: the robot.
        things: what the object may be (`object_choice`).
    """

    def __init__(self, robot: RobotSpec, things: Sequence[ObjectSpec]) -> None:
        right = torch.tensor([[math.cos(a), math.sin(a), 0.0] for a in MARKER_ANGLES], dtype=torch.float64)
        self._directions = torch.stack([right, right * torch.tensor(VECTOR, dtype=torch.float64)])
        self._is_round = torch.tensor([item.shape in _ROUND for item in things])
        self._tips = torch.tensor([robot.contact_tips(side) for side in ("right", "left")])

    def markers(self, world: World, left: Tensor, height: float = 0.0) -> Tensor:
        """Where the fingers should close, (N, 3, 3) m: from the object's front to its far side.

        Args:
            world: of the environments.
            left: (N,) whether the left hand grasps.
            height: of the markers above the object's middle, as a fraction of half its height.
        """
        inverse = world.initial_object[:, 0, None, 3:] * torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)
        outward = self._directions[left.long()]
        direction = quat_rotate(inverse.expand(-1, outward.shape[1], -1), outward)
        # An object that starts tilted, in a hand: around its own axis all the same.
        direction = direction * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
        length = torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
        direction = torch.where(length > 0.1, direction / length.clamp(min=0.1), outward)
        is_round = self._is_round[world.parameters["object_choice"][:, 0].long()]
        points = markers.around(direction, world.object_size(), is_round)
        points[..., 2] += height * world.object_size()[:, None, 2] / 2
        return markers.attach(points, world.state.object_pose[:, 0])

    def contact(self, world: World, left: Tensor, sharpness: float, height: float = 0.0) -> Tensor:
        """Contact goal (N,) of the hand (arXiv 2502.20396, section B): see `rewards.contact`."""
        return rewards.contact(self._fingertips(world, left), self.markers(world, left, height), sharpness)

    def retreat(self, world: World, left: Tensor, reach: float, height: float = 0.0) -> Tensor:
        """How far the hand has let go (N,): mean over its fingertips of the distance to its markers, 1 at `reach` m."""
        markers_of_hand = self.markers(world, left, height)
        return rewards.nearest(self._fingertips(world, left), markers_of_hand).div(reach).clamp(max=1.0).mean(dim=-1)

    def _fingertips(self, world: World, left: Tensor) -> Tensor:
        return world.state.fingertip_position[torch.arange(len(left))[:, None], self._tips[left.long()]]

    def touching(self, world: World, left: Tensor) -> Tensor:
        """(N,) whether any part of the hand touches the object."""
        return torch.where(left, world.state.contact[:, 0], world.state.contact[:, 1])


def contact_pairs(robot: RobotSpec) -> Sequence[ContactPair]:
    """What a scene must report for `HandTerms.touching`: the left hand on the object, the right hand on it."""
    palm = {palm.side: palm.link for palm in robot.palms}
    return tuple(ContactPair(f"{side}_hand", palm[side], OBJECT) for side in ("left", "right"))
