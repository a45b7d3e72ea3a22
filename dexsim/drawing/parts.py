"""A picture of objects as the simulator has them: their convex parts, each in a colour of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dexsim.files import atomic_path
from dexsim.scene import ObjectSpec

SEGMENTS = 24  # around a round shape
COLUMNS, MOST = 4, 24  # pictures in a row, and at all
# Of parts that lie side by side; the first is an object's own that has one part only.
COLORS = ((0.85, 0.55, 0.25), (0.30, 0.55, 0.80), (0.45, 0.70, 0.35), (0.75, 0.40, 0.65), (0.90, 0.80, 0.30),
          (0.40, 0.75, 0.75), (0.60, 0.45, 0.35), (0.55, 0.55, 0.60))  # fmt: skip


def surfaces(item: ObjectSpec, size: Sequence[float] | np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Vertices and faces of an object of full extents (3,) in m: one pair, or one for each convex part."""
    import trimesh

    if item.parts:
        shapes = [trimesh.Trimesh(vertices=np.array(part)).convex_hull for part in item.parts]
    elif item.shape == "box":
        shapes = [trimesh.creation.box(extents=size)]
    elif item.shape == "cylinder":
        shapes = [trimesh.creation.cylinder(radius=size[0] / 2, height=size[2], sections=SEGMENTS)]
    else:
        shapes = [trimesh.creation.icosphere(subdivisions=3, radius=size[0] / 2)]
    return [(np.asarray(shape.vertices), np.asarray(shape.faces)) for shape in shapes]


def draw_parts(path: Path, objects: Sequence[ObjectSpec]) -> None:
    """Write a picture of objects side by side, with name, extents and number of parts, z up.

    Args:
        path: of the PNG.
        objects: the first `MOST` are drawn.
    """
    import matplotlib.backends.backend_agg as agg
    from matplotlib.figure import Figure

    shown = objects[:MOST]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.4 * rows), layout="constrained")
    agg.FigureCanvasAgg(figure)
    for number, item in enumerate(shown):
        _draw(figure.add_subplot(rows, columns, number + 1, projection="3d"), item)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _draw(axes: object, item: ObjectSpec) -> None:
    from mpl_toolkits.mplot3d import Axes3D
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    assert isinstance(axes, Axes3D)
    for number, (vertices, faces) in enumerate(surfaces(item, item.size)):
        color = COLORS[number % len(COLORS)]
        part = Poly3DCollection(vertices[faces], facecolors=color, shade=True)
        axes.add_collection3d(part)
    half = max(item.size) / 2
    axes.set(xlim=(-half, half), ylim=(-half, half), zlim=(-half, half), box_aspect=(1, 1, 1))
    axes.set_axis_off()
    extents = " x ".join(f"{1000 * extent:.0f}" for extent in item.size)
    parts = f"{len(item.parts)} convex part{'s' * (len(item.parts) > 1)}" if item.parts else item.shape
    axes.set_title(f"{item.name}\n{extents} mm, {parts}", fontsize=9, parse_math=False)
