"""Meshes as people have them: seams of textures, stray pieces, axes, units, hollows, suffixes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dexsim.errors import UserError
from dexsim.scene import ObjectSpec
from tasks import make_env, objects

SEAMS = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
CARTON = (
    "v -.025 -.0225 0\nv -.025 -.0225 .13\nv -.025 .0225 0\nv -.025 .0225 .13\n"
    "v .025 -.0225 0\nv .025 -.0225 .13\nv .025 .0225 0\nv .025 .0225 .13\n" + SEAMS +
    "f 1/1 2/2 4/3 3/4\nf 5/1 7/2 8/3 6/4\nf 1/1 5/2 6/3 2/4\nf 3/1 4/2 8/3 7/4\nf 1/1 3/2 7/3 5/4\nf 2/1 6/2 8/3 4/4\n"
)  # fmt: skip
DIAMOND = (
    "v 0 -.03 0\nv .03 0 0\nv 0 .03 0\nv -.03 0 0\nv 0 -.03 .12\nv .03 0 .12\nv 0 .03 .12\nv -.03 0 .12\n" + SEAMS +
    "f 1/1 2/2 6/3 5/4\nf 2/1 3/2 7/3 6/4\nf 3/1 4/2 8/3 7/4\nf 4/1 1/2 5/3 8/4\nf 4/1 3/2 2/3 1/4\nf 5/1 6/2 7/3 8/4\n"
)  # fmt: skip
BOX = (0.05, 0.045, 0.12)


def read(path: Path) -> ObjectSpec:
    (item,) = objects.expand([str(path)])
    return item


def box() -> trimesh.Trimesh:
    return trimesh.creation.box(BOX)


def stray(*corners: tuple[float, float, float]) -> trimesh.Trimesh:
    return trimesh.Trimesh(vertices=np.array(corners), faces=[[0, 1, 2]], process=False)


@pytest.mark.parametrize(("name", "text", "size"), [
    ("carton.obj", CARTON, (0.05, 0.045, 0.13)), ("diamond.obj", DIAMOND, (0.06, 0.06, 0.12)),
])  # fmt: skip
def test_seams_of_a_texture_cut_nothing_apart(tmp_path: Path, name: str, text: str, size: tuple[float, ...]) -> None:
    (tmp_path / name).write_text(text)
    item = read(tmp_path / name)
    assert len(item.parts) == 1
    assert item.size == pytest.approx(size)
    make_env({"name": "grasp_and_reach", "objects": [str(tmp_path / name)]}, {"name": "gr1t2"}, {"threads": 1}).reset()


@pytest.mark.parametrize("suffix", [".stl", ".obj", ".ply", ".glb", ".STL", ".Obj", ".PLY", ".GLB"])
def test_every_format_in_any_case(tmp_path: Path, suffix: str) -> None:
    """The vertices of a file may be split at every edge, as those of STL are."""
    mesh = box()
    mesh.unmerge_vertices()
    if suffix.lower() == ".glb":
        mesh.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0]))  # its y is up
    written = mesh.export(file_type=suffix[1:].lower())
    (tmp_path / f"post{suffix}").write_bytes(written.encode() if isinstance(written, str) else written)
    item = read(tmp_path / f"post{suffix}")
    assert len(item.parts) == 1
    assert item.size == pytest.approx(BOX, abs=1e-6)


@pytest.mark.parametrize(
    "piece",
    [
        stray((0, 0, 0), (0.04, 0, 0.01), (0, 0.04, 0.02)),  # across the axes
        stray((0, 0, 0), (0.04, 0, 0), (0, 0.04, 0)),
        stray((0, 0, 0), (0.02, 0.02, 0.02), (0.04, 0.04, 0.04)),  # a line
    ],
)
def test_pieces_without_volume_are_left_out(tmp_path: Path, piece: trimesh.Trimesh) -> None:
    trimesh.util.concatenate([box(), piece]).export(tmp_path / "stray.stl")
    item = read(tmp_path / "stray.stl")
    assert len(item.parts) == 1
    assert item.size == pytest.approx(BOX, abs=1e-6)
    piece.export(tmp_path / "sheet.stl")
    with pytest.raises(UserError, match=r"task\.objects = .*sheet\.stl'"):
        read(tmp_path / "sheet.stl")


def test_gltf_has_y_up(tmp_path: Path) -> None:
    trimesh.creation.box((0.05, 0.08, 0.045)).export(tmp_path / "tall.glb")
    assert read(tmp_path / "tall.glb").size == pytest.approx((0.05, 0.045, 0.08), abs=1e-6)


@pytest.mark.parametrize(("scale", "unit"), [(1000, "mm"), (100, "cm")])
def test_the_likely_unit_is_named(tmp_path: Path, scale: float, unit: str) -> None:
    box().apply_scale(scale).export(tmp_path / "post.stl")
    with pytest.raises(UserError, match=rf"must be 0\.005 to 0\.5 m; is it in {unit}\?"):
        read(tmp_path / "post.stl")


def test_a_hollow_shape_is_cut_and_its_volume_compared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ring = trimesh.creation.annulus(r_min=0.025, r_max=0.04, height=0.06, sections=24)
    ring.export(tmp_path / "ring.stl")
    item = read(tmp_path / "ring.stl")
    volume = sum(trimesh.Trimesh(vertices=np.array(part)).convex_hull.volume for part in item.parts)
    assert len(item.parts) > 3
    assert volume == pytest.approx(ring.volume, rel=0.25)
    inside = [np.array(part) for part in item.parts if _holds(np.array(part), (0.0, 0.0, 0.0))]
    assert not inside, "the hole is filled"
    assert "convex parts of" in caplog.text


def test_pieces_inside_of_others_are_no_parts(tmp_path: Path) -> None:
    inner = trimesh.creation.box((0.02, 0.02, 0.02))
    trimesh.util.concatenate([box(), inner]).export(tmp_path / "nested.stl")
    assert len(read(tmp_path / "nested.stl").parts) == 1


def test_there_may_be_as_many_objects_as_files(tmp_path: Path) -> None:
    names = []
    for i in range(70):
        names.append(str(tmp_path / f"can{i}.stl"))
        trimesh.creation.cylinder(0.02 + 0.0002 * i, 0.1, sections=12).export(names[-1])
    section = {"name": "grasp_and_reach", "objects": names}
    env = make_env(section, {"name": "gr1t2"}, {"threads": 1}, num_envs=256)
    env.reset()
    assert len(env.world.parameters["object_choice"].unique()) > 64


@pytest.mark.parametrize(("name", "data"), [
    ("empty.stl", b""), ("text.obj", b"nothing"), ("points.ply", b"ply\nformat ascii 1.0\nelement vertex 4000000000\n"),
    ("nan.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), ("far.obj", b"v 1e30 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"),
    ("wrong.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"), ("none.glb", b"glTF"),
])  # fmt: skip
def test_what_cannot_be_simulated_is_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=rf"task\.objects = '.*{name}'") as caught:
        read(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def _holds(vertices: np.ndarray, point: tuple[float, float, float]) -> bool:
    hull = trimesh.Trimesh(vertices=vertices).convex_hull
    return bool(((np.array(point) - hull.triangles_center) * hull.face_normals).sum(axis=1).max() < 0)
