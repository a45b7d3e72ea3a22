"""Makes the held-out meshes that ship in `assets/objects`.

`python -m tasks.objects.make_meshes` writes them all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dexsim.files import atomic_path
from dexsim.paths import assets_dir


def _frustum(low: float, high: float, height: float, base: float, sides: int = 16) -> Any:
    """An upright frustum's hull: radii below and above, height and where its base is, m."""
    import trimesh

    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = [np.column_stack([ring * r, np.full(sides, z)]) for r, z in ((low, base), (high, base + height))]
    return trimesh.Trimesh(vertices=np.concatenate(rings)).convex_hull


def _block(size: tuple[float, float, float], centre: tuple[float, float, float]) -> Any:
    import trimesh

    block = trimesh.creation.box(size)
    block.apply_translation(centre)
    return block


def write_meshes() -> None:
    """Write the held-out meshes that ship."""
    import trimesh

    made = {
        # A hair between parts that lie on each other, so that they are components of their own.
        "bottle": [
            _frustum(0.030, 0.030, 0.0898, 0.0),
            _frustum(0.030, 0.012, 0.0298, 0.09),
            _frustum(0.012, 0.012, 0.03, 0.12),
        ],
        "hexagon": [_frustum(0.032, 0.032, 0.12, 0.0, sides=6)],
        "cone": [_frustum(0.036, 0.022, 0.12, 0.0)],
        "spindle": [_frustum(0.034, 0.022, 0.0648, 0.0), _frustum(0.022, 0.034, 0.065, 0.065)],
        "cross": [_block((0.064, 0.024, 0.12), (0, 0, 0.06)), _block((0.024, 0.064, 0.12), (0, 0, 0.06))],
        "jug": [
            _frustum(0.030, 0.030, 0.11, 0.0),
            _block((0.020, 0.010, 0.010), (-0.038, 0, 0.025)),
            _block((0.020, 0.010, 0.010), (-0.038, 0, 0.085)),
            _block((0.010, 0.010, 0.070), (-0.050, 0, 0.055)),
        ],
    }  # fmt: skip
    for name, parts in made.items():
        path = assets_dir() / "objects" / f"{name}.stl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            trimesh.util.concatenate(parts).export(temporary, file_type="stl")


if __name__ == "__main__":
    write_meshes()
