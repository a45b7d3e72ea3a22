"""Reward terms: batched functions (N, ...) -> (N,), listed by a task with their weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dexsim.env.task import Term
from dexsim.env.world import World
from dexsim.errors import unknown


def contact(fingertips: Tensor, markers: Tensor, sharpness: float) -> Tensor:
    """Contact goal of one hand (arXiv 2502.20396, section B).

    It is sum_i 1 / (1 + sharpness * min_j |marker_j - fingertip_i|).

    Args:
        fingertips: (N, f, 3) m.
        markers: (N, n, 3) m.
        sharpness: the paper's alpha (left hand) or beta (right), 1/m.

    Returns:
        (N,) between 0 and f.
    """
    return attraction(nearest(fingertips, markers), sharpness)


def attraction(distance: Tensor, sharpness: float) -> Tensor:
    """`contact` (N,), of fingertips whose distances (N, f) in m from their nearest markers are known."""
    return (1 / (1 + sharpness * distance)).sum(dim=-1)


def nearest(fingertips: Tensor, markers: Tensor) -> Tensor:
    """Distance (..., f) in m of each fingertip (..., f, 3) to the nearest marker (..., n, 3)."""
    offset = markers[..., None, :, :] - fingertips[..., :, None, :]
    return torch.linalg.vector_norm(offset, dim=-1).amin(dim=-1)


def closeness(distance: Tensor, reach: float) -> Tensor:
    """Object goal (arXiv 2502.20396, section B): penalizes the distance (N,) in m of the object from its goal.

    1 at the goal, falling in proportion to the distance to 0 at `reach` (m) and beyond: the penalty with an offset, so
    that ending an episode early never pays.
    """
    return (1 - distance / reach).clamp(min=0.0)


def distance(position: Tensor, goal: Tensor) -> Tensor:
    """Distance (N,) in m between points (N, 3)."""
    return torch.linalg.vector_norm(position - goal, dim=-1)


def effort(world: World) -> Tensor:
    """Mean square of the policy's last action, (N,)."""
    return world.action.square().mean(dim=1)


def weighted(terms: Mapping[str, Term], weights: Mapping[str, float]) -> dict[str, tuple[float, Term]]:
    """Terms with their weights, those of weight 0 left out; raises UserError for a weight that no term has."""
    unread = sorted(set(weights) - set(terms))
    if unread:
        raise unknown(f"task.weights: no reward term named {unread[0]!r}", unread[0], terms)
    return {name: (weights[name], term) for name, term in terms.items() if weights.get(name)}
