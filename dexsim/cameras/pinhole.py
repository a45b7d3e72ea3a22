"""A pinhole camera: where it stands, the rays through its pixels, where points are in its picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Vec3 = tuple[float, float, float]


@dataclass(frozen=True)
class View:
    """Where a camera stands and what it looks at, in m; its vertical field of view in degrees."""

    position: Vec3
    target: Vec3
    fov_deg: float = 40.0


class Camera:
    """A pinhole camera: x right, y down, looking along z.

    Args:
        view: where it stands.
        width: pixels.
        height: pixels.
    """

    def __init__(self, view: View, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.origin = np.array(view.position, dtype=float)
        forward = np.array(view.target) - self.origin
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        self.rotation = np.stack([right, np.cross(forward, right), forward])
        self.focal = height / 2 / np.tan(np.deg2rad(view.fov_deg) / 2)

    def rays(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Unit directions (n, 3) through points of the picture, in pixels; a pixel's centre is at halves."""
        x, y = (columns - self.width / 2) / self.focal, (rows - self.height / 2) / self.focal
        direction = np.stack([x, y, np.ones_like(x)], axis=-1) @ self.rotation
        return direction / np.linalg.norm(direction, axis=-1, keepdims=True)

    @cached_property
    def pixel_rays(self) -> np.ndarray:
        """Directions through the centres of all pixels, row by row, (height * width, 3)."""
        rows, columns = np.mgrid[: self.height, : self.width] + 0.5
        return self.rays(columns.ravel(), rows.ravel())

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows in pixels (n, 2), and distances along the optical axis in m (n,)."""
        local = (points - self.origin) @ self.rotation.T
        z = np.maximum(local[:, 2:], 1e-6)
        return local[:, :2] / z * self.focal + [self.width / 2, self.height / 2], local[:, 2]
