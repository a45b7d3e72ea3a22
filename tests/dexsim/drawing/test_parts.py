"""The picture of what was understood of objects shows each convex part in a colour of its own."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from dexsim.drawing.parts import draw_parts, surfaces
from dexsim.scene import ObjectSpec
from tasks import objects


def hues(picture: np.ndarray) -> int:
    """How many kinds of colour a picture has, whatever their brightness."""
    rgb = picture[..., :3].reshape(-1, 3).astype(int)
    colored = rgb[np.ptp(rgb, axis=1) > 60]
    ranked = np.unique(np.argsort(colored, axis=1), axis=0)
    return len(ranked)


def test_parts_have_colours_of_their_own(tmp_path: Path) -> None:
    one, many = tmp_path / "one.png", tmp_path / "many.png"
    draw_parts(one, objects.expand(["hexagon"]))
    draw_parts(many, objects.expand(["bottle", "jug"]))
    assert hues(imageio.imread(one)) == 1 < hues(imageio.imread(many))


def test_more_objects_than_fit_are_left_out(tmp_path: Path) -> None:
    things = [ObjectSpec(f"thing{i}", "box", (0.05, 0.05, 0.1), 0.1) for i in range(30)]
    draw_parts(tmp_path / "many.png", things)
    assert imageio.imread(tmp_path / "many.png").shape[1] == 4 * 320


@pytest.mark.parametrize("name", ["can", "stick", "ball", "cone"])
def test_surfaces_have_the_extents_of_the_object(name: str) -> None:
    (item,) = objects.expand([name])
    vertices = np.concatenate([vertices for vertices, _ in surfaces(item, item.size)])
    np.testing.assert_allclose(np.ptp(vertices, axis=0), item.size, rtol=0.02)
