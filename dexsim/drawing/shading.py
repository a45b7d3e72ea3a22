"""Image space: a pinhole camera, light, and marks laid over a picture. Colours are linear until `encode`."""

from __future__ import annotations

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
