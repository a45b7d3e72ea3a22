"""Image space: a pinhole camera, light, and marks laid over a picture. Colours are linear until `encode`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Vec3 = tuple[float, float, float]
Rgba = tuple[float, float, float, float]


def _light(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)  # twice as fast as float64, and pictures have eight bits


# Directions to the lights, and their linear colours: sun, a fill light from the other side, sky and ground.
SUN, FILL = _light(0.4506, 0.3505, 0.8211), _light(0.3015, -0.9045, 0.3015)
SUN_COLOR, FILL_COLOR = _light(0.82, 0.78, 0.71), _light(0.09, 0.11, 0.14)
SKY_COLOR, GROUND_COLOR = _light(0.27, 0.29, 0.33), _light(0.12, 0.115, 0.11)
HORIZON, ZENITH = _light(0.80, 0.84, 0.88), _light(0.42, 0.55, 0.70)
FLOOR_COLORS = np.stack([_light(0.55, 0.57, 0.60), _light(0.46, 0.48, 0.51)])
FLOOR_TILE, FLOOR_FADE = 0.5, 3.5  # m
SHINE, SHINE_POWER = 0.12, 24
GAMMA = 2.2
# How much of a mark is seen through what hides it.
THROUGH = 0.22


@dataclass(frozen=True)
class View:
    """Where a camera stands and what it looks at, in m; its vertical field of view in degrees."""

    position: Vec3
    target: Vec3
    fov_deg: float = 40.0


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


def shade(color: np.ndarray, normal: np.ndarray, view: np.ndarray, sunlight: np.ndarray) -> np.ndarray:
    """Lambert's law under sun, fill light and sky, with a little gloss; linear colours (n, 3).

    Args:
        color: (n, 3) linear.
        normal: (n, 3) unit.
        view: (n, 3) unit directions of the rays.
        sunlight: (n,) share of the sun that arrives, 0 .. 1.
    """
    sun = np.clip(normal @ SUN, 0, None) * sunlight
    fill = np.clip(normal @ FILL, 0, None)
    up = (0.5 + 0.5 * normal[:, 2])[:, None]
    light = sun[:, None] * SUN_COLOR + fill[:, None] * FILL_COLOR + up * SKY_COLOR + (1 - up) * GROUND_COLOR
    half = SUN - view
    slant = np.einsum("ij,ij->i", normal, half) / np.sqrt(np.einsum("ij,ij->i", half, half))
    gloss = SHINE * sunlight * np.clip(slant, 0, None) ** SHINE_POWER
    return color * light + gloss[:, None]


def sky(view: np.ndarray) -> np.ndarray:
    """The colour of what lies beyond everything, (n, 3)."""
    height = np.clip(view[:, 2:] * 2.0, 0, 1)
    return HORIZON + (ZENITH - HORIZON) * height


def floor_color(point: np.ndarray) -> np.ndarray:
    """The floor's tiles, (n, 3)."""
    tile = np.floor(point[:, :2] / FLOOR_TILE).astype(int).sum(axis=1) % 2
    return FLOOR_COLORS[tile]


def fade(color: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Let the floor pass into the horizon with its distance from the robot."""
    share = 1 - np.exp(-np.square(point[:, :2] / FLOOR_FADE).sum(axis=1))
    return color + share[:, None] * (HORIZON - color)


def decode(rgb: np.ndarray) -> np.ndarray:
    """Linear colours of those as given in a scene."""
    return np.asarray(rgb, dtype=np.float32) ** GAMMA


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear colours to bytes."""
    return (np.clip(linear, 0, 1) ** (1 / GAMMA) * 255 + 0.5).astype(np.uint8)


def upsample(values: np.ndarray, ids: np.ndarray, step: int) -> np.ndarray:
    """Enlarge (h, w) samples, taken at every `step`-th pixel, to the size of `ids` (H, W).

    A pixel takes the mean of those samples around it that lie on the same thing, so that shadows stay on their side of
    an edge.
    """
    height, width = ids.shape
    rows, columns = np.arange(height) / step, np.arange(width) / step
    total, weight = np.zeros(ids.shape, np.float32), np.full(ids.shape, 1e-6, np.float32)
    coarse = ids[::step, ::step]
    values = _soften(values, coarse)
    for row in (0, 1):
        r = np.minimum(rows.astype(int) + row, coarse.shape[0] - 1)
        wr = 1 - np.abs(rows - rows.astype(int) - row)
        for column in (0, 1):
            c = np.minimum(columns.astype(int) + column, coarse.shape[1] - 1)
            wc = 1 - np.abs(columns - columns.astype(int) - column)
            near = (wr[:, None] * wc + 1e-3) * (coarse[np.ix_(r, c)] == ids)
            total += near * values[np.ix_(r, c)]
            weight += near
    return np.where(weight > 1e-5, total / weight, 1.0)


def _soften(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The mean of each sample (h, w) and those of its eight neighbours that lie on the same thing."""
    total, count = np.zeros(ids.shape), np.zeros(ids.shape)
    padded, names = np.pad(values, 1, mode="edge"), np.pad(ids, 1, mode="edge")
    for row in range(3):
        for column in range(3):
            area = np.s_[row : row + ids.shape[0], column : column + ids.shape[1]]
            same = names[area] == ids
            total += same * padded[area]
            count += same
    return total / count


def find_edges(ids: np.ndarray, normal: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Pixels (H, W) beside which another thing begins, or, where `flat`, a face turned by more than 25 degrees."""
    edge = np.zeros(ids.shape, dtype=bool)
    for axis in (0, 1):
        low, high = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        turned = np.einsum("ijk,ijk->ij", normal[low], normal[high]) < 0.9
        differ = (ids[low] != ids[high]) | (turned & flat[low])
        edge[low] |= differ
        edge[high] |= differ
    return edge


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
