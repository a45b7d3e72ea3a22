"""Contact markers ("contact stickers", arXiv 2502.20396, section B): points on an object's surface, from its size.

Figure 5 of the paper moves them to change how a box is lifted; the three placements are `PLACEMENTS`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dexsim.rotations import quat_rotate

# Placement -> markers of the left hand as fractions of the half extents; the right hand's are mirrored in y.
PLACEMENTS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "side_centres": ((0.0, 1.0, 0.0),),
    "top_and_bottom_centres": ((0.0, 0.0, 1.0), (0.0, 0.0, -1.0)),
    "bottom_edges": ((0.0, 1.0, -1.0),),
}


def box_markers(placement: str, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
    """Markers of the left (n, 3) and right hand (m, 3), in fractions of the box's half extents."""
    left = torch.tensor(PLACEMENTS[placement], dtype=torch.float64, device=device)
    return left, left * left.new_tensor([1.0, -1.0, 1.0])


def around(direction: Tensor, size: Tensor, is_round: Tensor) -> Tensor:
    """Markers halfway up an object's upright surface, in directions seen from its middle.

    Args:
        direction: (N, n, 3) horizontal unit vectors in the object's frame.
        size: (N, 3) its full extents in m.
        is_round: (N,) whether its cross-section is an ellipse, not a rectangle.

    Returns:
        (N, n, 3) in the object's frame, m.
    """
    share = (direction[..., :2] / (size[:, None, :2] / 2)).abs()
    inverse = torch.where(is_round[:, None], torch.linalg.vector_norm(share, dim=-1), share.amax(dim=-1))
    return direction / inverse[..., None]


def place(markers: Tensor, size: Tensor, pose: Tensor) -> Tensor:
    """Markers in the world, (N, n, 3) m.

    Args:
        markers: (n, 3) fractions of the half extents.
        size: (N, 3) full extents of the object in m.
        pose: (N, 7) its pose.
    """
    return attach(markers * (size / 2)[:, None], pose)


def attach(points: Tensor, pose: Tensor) -> Tensor:
    """Points (N, n, 3) in the frames of objects at poses (N, 7), in the world."""
    return pose[:, None, :3] + quat_rotate(pose[:, None, 3:].expand(-1, points.shape[1], -1), points)
