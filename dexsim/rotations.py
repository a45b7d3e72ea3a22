"""Quaternions w x y z, for NumPy arrays and torch tensors alike, batched over leading axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Array = Any  # a NumPy array or a torch tensor; what comes out is what went in


def _stack(parts: Sequence[Any], like: Any) -> Any:
    if isinstance(like, np.ndarray):
        return np.stack(parts, axis=-1)
    import torch

    return torch.stack(list(parts), dim=-1)


def quat_from_rpy(rpy: Sequence[float]) -> np.ndarray:
    """Quaternion of fixed-axis roll, pitch, yaw in rad (URDF's convention), (4,)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(np.asarray(rpy) / 2), np.sin(np.asarray(rpy) / 2)
    return np.array([
        cr * cp * cy + sr * sp * sy,
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    ])  # fmt: skip


def quat_multiply(a: Array, b: Array) -> Array:
    """Hamilton product, (..., 4) x (..., 4) -> (..., 4)."""
    aw, ax, ay, az = (a[..., i] for i in range(4))
    bw, bx, by, bz = (b[..., i] for i in range(4))
    return _stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        a,
    )


def quat_rotate(quat: Array, vector: Array) -> Array:
    """Rotate vectors, (..., 4) and (..., 3) -> (..., 3), by v + 2 w (u x v) + 2 u x (u x v)."""
    w, u = quat[..., :1], quat[..., 1:]
    if isinstance(vector, np.ndarray):
        t = 2 * np.cross(u, vector)
        return vector + w * t + np.cross(u, t)
    import torch

    u, vector = torch.broadcast_tensors(u, vector)
    t = 2 * torch.linalg.cross(u, vector)
    return vector + w * t + torch.linalg.cross(u, t)


def quat_from_yaw(yaw: Array) -> Array:
    """Quaternion of a turn about z, (...,) rad -> (..., 4)."""
    zero = yaw * 0
    if isinstance(yaw, np.ndarray):
        return _stack([np.cos(yaw / 2), zero, zero, np.sin(yaw / 2)], yaw)
    return _stack([(yaw / 2).cos(), zero, zero, (yaw / 2).sin()], yaw)


def turn_about_z(quat: Tensor, yaw: Tensor) -> Tensor:
    """Quaternions (n, 4) turned about the world's z by (n,) rad: `quat_from_yaw(yaw)` times them, without its zeros."""
    import torch

    half = yaw[:, None] / 2
    zy, xw = quat.flip(1).split(2, dim=1)
    return half.cos() * quat + half.sin() * torch.cat([-zy, xw], dim=1)


def tilt_cosine(quat: Array) -> Array:
    """Cosine of the angle between a body's z and the world's z, (..., 4) -> (...,)."""
    return 1 - 2 * (quat[..., 1] ** 2 + quat[..., 2] ** 2)
