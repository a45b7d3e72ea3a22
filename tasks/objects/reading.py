"""Reads mesh files: all of a file's triangles as one mesh in m, z up, in which what meets is joined.

Colours, pictures and texture coordinates are no matter of physics. Where they change, files have two vertices at one
place, which would cut a mesh apart: vertices are joined by where they are.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dexsim.errors import UserError, one_line
from tasks.objects.gltf import Triangles, read_gltf

if TYPE_CHECKING:
    from trimesh import Trimesh

SUFFIXES = (".stl", ".obj", ".ply", ".glb", ".gltf")
GLTF = (".glb", ".gltf")
# Vertices this near to each other are one: less than a scanner or a printer resolves, more than rounding makes; m.
JOINED_DIGITS = 6
FARTHEST = 1e6  # m; joining vertices counts in steps of a micrometre
LARGEST_FILE, MOST_FACES = 300_000_000, 2_000_000  # bytes; a mesh for a simulation has thousands of faces
# How other files begin that are taken for meshes.
BEGINNINGS = {
    b"version https://git-lfs": "a pointer of Git LFS (`git lfs pull` fetches the file)",
    b"ply": "a PLY file", b"glTF": "a GLB file", b"solid": "an STL file", b"PK": "a zip archive", b"<": "XML",
    b"\x89PNG": "a picture", b"ISO-10303": "a STEP file",
}  # fmt: skip


def is_mesh_file(name: str) -> bool:
    """Whether a name is that of a mesh file, by its suffix, in capitals or not."""
    return name.lower().endswith(SUFFIXES)


def read_mesh(path: Path, data: bytes) -> Trimesh:
    """All triangles of a file.

    Args:
        path: of the file; its suffix says the format.
        data: what it holds.

    Raises:
        UserError: it is empty, broken, too large, or holds no triangle or a vertex that is nowhere.
    """
    import trimesh

    if not data:
        raise UserError("is empty")
    if len(data) > LARGEST_FILE:
        raise UserError(f"has {len(data) / 1e6:.0f} MB; allowed: {LARGEST_FILE / 1e6:.0f} MB")
    vertices, faces = _collect(_read(path, data))
    wrong = faces[(faces < 0) | (faces >= len(vertices))]
    if len(wrong):
        raise UserError(f"has a triangle at vertex {wrong[0]}, of {len(vertices)}")
    used = np.unique(faces)
    vertices, faces = vertices[used], np.searchsorted(used, faces)
    nowhere = int((~np.isfinite(vertices)).any(axis=1).sum())
    if nowhere:
        raise UserError(f"has {nowhere} vertices whose place is no finite number")
    farthest = float(np.abs(vertices).max())
    if farthest > FARTHEST:
        raise UserError(f"has a vertex {farthest:.3g} m away from its origin")
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.merge_vertices(digits_vertex=JOINED_DIGITS)
    mesh.update_faces(mesh.unique_faces() & mesh.nondegenerate_faces())
    mesh.remove_unreferenced_vertices()
    if not len(mesh.faces):
        raise UserError("is not a mesh: none of its triangles has an area")
    return mesh


def _collect(pieces: Iterator[Triangles]) -> Triangles:
    vertices, faces, count, total = [], [], 0, 0
    for points, corners in pieces:
        if np.shape(points)[1:] != (3,):
            raise UserError("is not a mesh: it has vertices without three coordinates")
        vertices.append(np.asarray(points, dtype=float))
        faces.append(np.asarray(corners, dtype=np.int64) + count)
        count, total = count + len(points), total + len(corners)
        if total > MOST_FACES:
            raise UserError(f"has more than {MOST_FACES:,} triangles; simplify it")
    if total == 0:
        raise UserError("is not a mesh: it holds no triangles")
    return np.concatenate(vertices), np.concatenate(faces)


def _read(path: Path, data: bytes) -> Iterator[Triangles]:
    """Vertices and faces of each mesh in a file, whatever is wrong with it as a UserError."""
    suffix = path.suffix.lower() if path.suffix else path.name.lower()
    try:
        with warnings.catch_warnings():
            # NumPy only warns of text that is no number, and leaves out all that follows.
            warnings.filterwarnings("error", "string or file could not be read", DeprecationWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            yield from read_gltf(data, path.parent) if suffix in GLTF else _read_plain(suffix[1:], data)
    except UserError:
        raise
    except Exception as error:  # readers raise whatever a broken file leads them to
        raise UserError(f"is not a mesh ({_reason(error)}){_looks_like(suffix, data)}") from None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")


def _looks_like(suffix: str, data: bytes) -> str:
    for beginning, kind in BEGINNINGS.items():
        if data.startswith(beginning) and suffix[1:].upper() not in kind:
            return f"; it looks like {kind}"
    return ""


def _read_plain(kind: str, data: bytes) -> Iterator[Triangles]:
    """The meshes of an STL, OBJ or PLY file, which have no axis that is up."""
    import trimesh

    if kind == "ply":
        _check_ply(data)
    if kind == "obj":
        data = _count_from_the_start(re.sub(rb"#.*", b"", data))
    scene = trimesh.load_scene(io.BytesIO(data), file_type=kind, process=False, skip_materials=True)
    for piece in scene.geometry.values():
        if isinstance(piece, trimesh.Trimesh):
            yield np.asarray(piece.vertices), np.asarray(piece.faces)


def _check_ply(data: bytes) -> None:
    """Refuse a header that claims more than there is: memory is made for what it claims."""
    header = data[: data.find(b"end_header") + 1]
    for name, count in re.findall(rb"^\s*element\s+(\S+)\s+(\S+)", header, re.MULTILINE):
        if not 0 <= int(count) <= len(data):
            claimed = f"{int(count)} of {name.decode(errors='replace')!r}"
            raise UserError(f"claims {claimed}, and has {len(data)} bytes")


def _count_from_the_start(data: bytes) -> bytes:
    """An OBJ file whose faces name vertices by their numbers, where they count back from the last one so far.

    trimesh counts back from the last of the file.
    """
    if not re.search(rb"^\s*f\s.*-", data, re.MULTILINE):
        return data
    lines, counts = [], {b"v": 0, b"vt": 0, b"vn": 0}
    for line in data.splitlines():
        word, *rest = line.split() or [b""]
        if word in counts:
            counts[word] += 1
        elif word == b"f":
            corners = (corner.split(b"/") for corner in rest)
            line = b" ".join([b"f", *(b"/".join(map(_absolute, corner, counts.values())) for corner in corners)])
        lines.append(line)
    return b"\n".join(lines)


def _absolute(index: bytes, count: int) -> bytes:
    return b"%d" % (count + 1 + int(index)) if index.startswith(b"-") else index
