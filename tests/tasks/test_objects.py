"""Objects by name, as files and as content: what is understood of them, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trimesh

import tasks
from dexsim import settings
from dexsim.env.env import Env
from dexsim.errors import UserError
from dexsim.scene import ObjectSpec
from tasks import objects


def make(task: str, num_envs: int = 1, **section: Any) -> Env:
    return tasks.make_env({"name": task, **section}, {"name": "gr1t2"}, {"threads": 1}, num_envs=num_envs)


# -- content in place of a name ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["grasp_and_reach", "bimanual_handover"])
def test_content_stands_for_the_file_that_it_was_read_from(tmp_path: Path, task: str) -> None:
    """As a checkpoint keeps it: through JSON, once the file is gone."""
    path = tmp_path / "Post.stl"
    trimesh.creation.box((0.04, 0.045, 0.28 if task == "bimanual_handover" else 0.1)).export(path)
    names = ["rod" if task == "bimanual_handover" else "can", str(path)]
    before = make(task, objects=names).backend.scene
    kept = objects.with_content(names)
    assert kept[0] == names[0]
    path.unlink()
    assert make(task, objects=json.loads(json.dumps(kept))).backend.scene == before
    assert objects.with_content(kept) == kept


def test_groups_shipped_meshes_and_content_keep_what_they_are() -> None:
    block = settings.to_dict(ObjectSpec("own", "box", (0.05, 0.05, 0.1), 0.2))
    names = ["all", "jug", block]
    assert objects.with_content(names) == names
    assert objects.expand(names)[-1] == ObjectSpec("own", "box", (0.05, 0.05, 0.1), 0.2)


def test_each_object_is_there_once() -> None:
    assert [item.name for item in objects.expand(["can", "mix_a", "can"])] == ["can", "stick", "brick", "ball"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": "bowl"}, "object 'own': shape 'bowl'; allowed: box"),
        ({"size": [0.05, 0.05]}, r"task.objects.*size = \[0.05, 0.05\]: expected"),
        ({"size": [0.05, 0.05, 6.0]}, "'own' has extents of 0.05 x 0.05 x 6 m; must be"),
        ({"mass": "heavy"}, "task.objects.*mass = 'heavy': expected float"),
        ({"mass": 70.0}, "object_mass of 'own' = 70.0: must be 0.001 to 50"),
        ({"friction": -1.0}, "object_friction of 'own' = -1.0: must be 0 to 5"),
        ({"colour": "red"}, "unknown key 'task.objects.*colour'"),
        ({"parts": [[[0, 0, 0]]]}, "object 'own': a mesh, and only a mesh, has convex parts"),
        ({"alternatives": [{"name": "a", "shape": "box", "size": [1, 1, 1], "mass": 1}]}, "'own' has alternatives"),
    ],
)
def test_content_that_is_no_object_is_one_line(change: Any, message: str) -> None:
    content = {"name": "own", "shape": "box", "size": [0.05, 0.05, 0.1], "mass": 0.1, **change}
    with pytest.raises(UserError, match=message):
        objects.expand([content])


# -- files that are refused --------------------------------------------------------------------------------------------


def test_a_file_that_is_no_mesh_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "thing.stl"
    with pytest.raises(UserError, match=r"task.objects = .*thing.stl'?: no file"):
        make("grasp_and_reach", objects=[str(path)])
    path.write_text("not a mesh")
    with pytest.raises(UserError, match=r"thing.stl.* is not a mesh"):
        make("grasp_and_reach", objects=[str(path)])


def test_a_mesh_in_millimetres_and_one_too_large_for_the_bank_are_one_line(tmp_path: Path) -> None:
    for size, message in (
        (60.0, "is it in mm. That would be 0.06 x 0.06 x 0.06 m"),
        (0.2, "size of the object 'thing'.*at most"),
    ):
        path = tmp_path / "thing.stl"
        trimesh.creation.box([size] * 3).export(path)
        with pytest.raises(UserError, match=message):
            make("grasp_and_reach", objects=[str(path)])


def test_stray_triangles_of_a_mesh_are_left_out(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.03)
    stray = trimesh.Trimesh([[0.1, 0, 0], [0.11, 0, 0], [0.1, 0.01, 0]], [[0, 1, 2]])
    path = tmp_path / "ball.stl"
    trimesh.util.concatenate([ball, stray]).export(path)
    assert objects.expand([str(path)])[0].size == pytest.approx((0.06, 0.06, 0.06), abs=2e-3)
