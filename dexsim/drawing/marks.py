"""Marks laid over a picture: balls and lines that shine faintly through what hides them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dexsim.cameras.pinhole import Camera, Vec3
from dexsim.drawing.shading import decode, shade

Rgba = tuple[float, float, float, float]


# How much of a mark is seen through what hides it.
THROUGH = 0.22


@dataclass(frozen=True)
class Sphere:
    """A ball laid over the picture: centre and radius in m, colour with its opacity."""

    position: Vec3
    radius: float
    rgba: Rgba


@dataclass(frozen=True)
class Segment:
    """A line laid over the picture: its ends in m, its width in pixels, colour with its opacity."""

    start: Vec3
    end: Vec3
    width: float
    rgba: Rgba


def draw_spheres(image: np.ndarray, depth: np.ndarray, camera: Camera, spheres: tuple[Sphere, ...]) -> None:
    """Lay balls over a linear picture (H, W, 3) whose pixels lie at `depth` (H, W) m along their rays; in place."""
    rays = camera.pixel_rays.reshape(*depth.shape, 3)
    for sphere in spheres:
        offset = np.array(sphere.position) - camera.origin
        for area in _area(camera, np.array([sphere.position]), sphere.radius):
            ray = rays[area]
            along = ray @ offset
            miss = np.sqrt(np.clip(offset @ offset - along**2, 0, None))
            pixel = along / camera.focal
            cover = np.clip((sphere.radius - miss) / pixel + 0.5, 0, 1)
            near = along - np.sqrt(np.clip(sphere.radius**2 - miss**2, 0, None))
            normal = (ray * near[..., None] - offset) / sphere.radius
            flat = normal.reshape(-1, 3)
            color = np.broadcast_to(decode(np.array(sphere.rgba[:3])), flat.shape)
            lit = shade(color, flat, ray.reshape(-1, 3), np.ones(len(flat))).reshape(ray.shape)
            _blend(image, area, lit, cover * sphere.rgba[3], near < depth[area])


def draw_segments(image: np.ndarray, depth: np.ndarray, camera: Camera, segments: tuple[Segment, ...]) -> None:
    """Lay lines over a picture, as `draw_spheres`."""
    for segment in segments:
        ends = np.array([segment.start, segment.end])
        (start, end), z = camera.project(ends)
        for area in _area(camera, ends, 0.0, segment.width + 1):
            rows, columns = np.mgrid[area] + 0.5
            along = end - start
            share = (columns - start[0]) * along[0] + (rows - start[1]) * along[1]
            share = np.clip(share / max(along @ along, 1e-9), 0, 1)
            miss = np.hypot(columns - start[0] - share * along[0], rows - start[1] - share * along[1])
            cover = np.clip(segment.width / 2 - miss + 0.5, 0, 1)
            # What is linear across the picture is one over the depth.
            axial = 1 / ((1 - share) / z[0] + share / z[1])
            slant = camera.pixel_rays.reshape(*depth.shape, 3)[area] @ camera.rotation[2]
            color = decode(np.array(segment.rgba[:3]))
            _blend(image, area, color, cover * segment.rgba[3], axial / slant < depth[area] + 2e-3)


def _area(camera: Camera, points: np.ndarray, radius: float, margin: float = 1.0) -> Iterator[tuple[slice, slice]]:
    """The part of the picture, if any, that points with a radius in m and a margin in pixels may cover."""
    pixel, z = camera.project(points)
    if z.min() <= radius + 1e-3:
        return  # beside or behind the camera
    reach = 1.1 * camera.focal * radius / (z - radius) + margin
    low = np.floor((pixel - reach[:, None]).min(axis=0)).astype(int).clip(0)
    high = np.ceil((pixel + reach[:, None]).max(axis=0)).astype(int)
    (left, top), (right, bottom) = low, np.minimum(high, [camera.width, camera.height])
    if left < right and top < bottom:
        yield slice(top, bottom), slice(left, right)


def _blend(
    image: np.ndarray, area: tuple[slice, slice], color: np.ndarray, alpha: np.ndarray, seen: np.ndarray
) -> None:
    share = (alpha * np.where(seen, 1.0, THROUGH))[..., None]
    image[area] += share * (color - image[area])
