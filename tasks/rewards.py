"""Reward terms: batched functions (N, ...) -> (N,), listed by a task with their weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dexsim.env.task import Term
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
    return (1 / (1 + sharpness * nearest(fingertips, markers))).sum(dim=-1)


def nearest(fingertips: Tensor, markers: Tensor) -> Tensor:
    """Distance (N, f) in m of each fingertip (N, f, 3) to the nearest marker (N, n, 3)."""
    return torch.linalg.vector_norm(markers[:, None] - fingertips[:, :, None], dim=-1).amin(dim=-1)


def closeness(position: Tensor, goal: Tensor, reach: float) -> Tensor:
    """Object goal (arXiv 2502.20396, section B): penalizes the distance of the object (N, 3) from its goal (N, 3).

    1 at the goal, falling in proportion to the distance to 0 at `reach` (m) and beyond: the penalty with an offset, so
    that ending an episode early never pays.
    """
    return (1 - distance(position, goal) / reach).clamp(min=0.0)


def distance(position: Tensor, goal: Tensor) -> Tensor:
    """Distance (N,) in m between points (N, 3)."""
    return torch.linalg.vector_norm(position - goal, dim=-1)


def weighted(terms: Mapping[str, Term], weights: Mapping[str, float]) -> dict[str, tuple[float, Term]]:
    """Terms with their weights, those of weight 0 left out; raises UserError for a weight that no term has."""
    unread = sorted(set(weights) - set(terms))
    if unread:
        raise unknown(f"task.weights: no reward term named {unread[0]!r}", unread[0], terms)
    return {name: (weights[name], term) for name, term in terms.items() if weights.get(name)}
