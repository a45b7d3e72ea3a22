"""The triangles of glTF files (`.glb`, `.gltf`), as the nodes of their scene place them, turned from y up to z up.

trimesh reads these files too, but with pictures and materials, which take long, and takes what it cannot decode for
zeros. What a hand can touch are triangles alone.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from scipy.spatial.transform import Rotation

from dexsim.errors import UserError

Triangles = tuple[np.ndarray, np.ndarray]  # vertices (V, 3) in m and faces (F, 3)

TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
COLUMNS = {"SCALAR": 1, "VEC3": 3}
POINTS_AND_LINES, TRIANGLES, STRIP, FAN = (0, 1, 2, 3), 4, 5, 6
# What a file may require of its reader, since it changes no triangle.
HARMLESS = ("KHR_mesh_quantization", "KHR_materials", "KHR_texture", "KHR_lights", "EXT_texture", "MSFT_texture")
# (x, y, z) of glTF, whose y is up, in our axes, whose z is up.
UPRIGHT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def read_gltf(data: bytes, folder: Path) -> Iterator[Triangles]:
    """The triangles of each mesh that the scene shows, once for each node that shows it.

    Args:
        data: of the file, binary or JSON.
        folder: where the files lie that it names.

    Raises:
        UserError: it needs what is not read here: compression, a file that is not there.
        Exception: whatever comes of a broken file.
    """
    header, binary = _chunks(data) if data[:4] == b"glTF" else (json.loads(data.decode("utf-8")), b"")
    required = [name for name in header.get("extensionsRequired", []) if not name.startswith(HARMLESS)]
    if required:
        raise UserError(f"needs {', '.join(map(str, required))}, which is not read; save it without")
    arrays = _Arrays(header, folder, binary)
    for mesh, place in _placed(header):
        for primitive in header["meshes"][mesh]["primitives"]:
            mode = primitive.get("mode", TRIANGLES)
            if mode not in POINTS_AND_LINES:
                vertices, faces = arrays.triangles(primitive, mode)
                turn, shift = UPRIGHT @ place[:3, :3], UPRIGHT @ place[:3, 3]
                yield vertices @ turn.T + shift, faces if np.linalg.det(turn) > 0 else faces[:, ::-1]


def other_files(path: Path, data: bytes) -> list[Path]:
    """The files that a `.gltf` has its numbers in; none for other formats, and for what is none."""
    if path.suffix.lower() != ".gltf":
        return []
    try:
        uris = [buffer["uri"] for buffer in json.loads(data.decode("utf-8"))["buffers"] if "uri" in buffer]
        return [path.parent / unquote(uri) for uri in uris if not uri.startswith("data:")]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and binary data of a `.glb`."""
    version, at, found = struct.unpack_from("<I", data, 4)[0], 12, {}
    if version != 2:
        raise UserError(f"has version {version} of glTF; must be 2")
    while at < len(data):
        length, kind = struct.unpack_from("<I4s", data, at)
        if at + 8 + length > len(data):
            raise UserError(f"ends {at + 8 + length - len(data)} bytes too early")
        found.setdefault(kind, data[at + 8 : at + 8 + length])
        at += 8 + length
    return json.loads(found[b"JSON"].decode("utf-8")), found.get(b"BIN\0", b"")


def _placed(header: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """Each mesh that the scene shows, and where, (4, 4): parents' transforms applied."""
    nodes = header.get("nodes", [])
    children = {child for node in nodes for child in node.get("children", [])}
    if "scenes" in header:
        roots = header["scenes"][header.get("scene", 0)].get("nodes", [])
    else:
        roots = [number for number in range(len(nodes)) if number not in children]
    seen, todo = set(), [(root, np.eye(4)) for root in roots]
    while todo:
        number, above = todo.pop()
        if number in seen:
            raise UserError(f"shows its node {number} twice; each may have one parent")
        seen.add(number)
        node = nodes[number]
        place = above @ _matrix(node)
        todo += [(child, place) for child in node.get("children", [])]
        if "mesh" in node:
            yield node["mesh"], place


def _matrix(node: dict[str, Any]) -> np.ndarray:
    if "matrix" in node:  # column by column
        return np.array(node["matrix"], dtype=float).reshape(4, 4).T
    place = np.eye(4)
    place[:3, :3] = Rotation.from_quat(node.get("rotation", (0, 0, 0, 1))).as_matrix()
    place[:3, :3] *= np.array(node.get("scale", (1, 1, 1)), dtype=float)
    place[:3, 3] = node.get("translation", (0, 0, 0))
    return place


class _Arrays:
    """Reads arrays of numbers out of the buffers of a file.

    Args:
        header: of the file.
        folder: where the files of its buffers lie.
        binary: the data of a `.glb`, which is the buffer that names no file.
    """

    def __init__(self, header: dict[str, Any], folder: Path, binary: bytes) -> None:
        self._header, self._folder, self._binary = header, folder, binary
        self._buffers: dict[int, bytes] = {}

    def triangles(self, primitive: dict[str, Any], mode: int) -> Triangles:
        """Vertices and faces of one primitive."""
        compressed = [name for name in primitive.get("extensions", {}) if name.startswith("KHR_draco")]
        if compressed:
            raise UserError(f"is compressed ({compressed[0]}); save it without")
        vertices = self._array(primitive["attributes"]["POSITION"])
        indices = primitive.get("indices")
        order = np.arange(len(vertices)) if indices is None else self._array(indices).astype(int).ravel()
        if mode == TRIANGLES:
            return vertices, order.reshape(-1, 3)
        if mode == FAN:
            return vertices, np.column_stack([np.full(len(order) - 2, order[0]), order[1:-1], order[2:]])
        if mode != STRIP:
            raise UserError(f"has a primitive of mode {mode}; there are 0 to 6")
        faces = np.column_stack([order[:-2], order[1:-1], order[2:]])
        faces[1::2] = faces[1::2, ::-1]
        return vertices, faces

    def _array(self, number: int) -> np.ndarray:
        """Values (count, 1 or 3) of an accessor, float64."""
        accessor = self._header["accessors"][number]
        view = self._header["bufferViews"][accessor["bufferView"]] if "bufferView" in accessor else None
        if view is None or "sparse" in accessor or "EXT_meshopt_compression" in view.get("extensions", {}):
            raise UserError("is compressed or sparse; save it without")
        kind, columns = np.dtype(TYPES[accessor["componentType"]]), COLUMNS[accessor["type"]]
        stride, first, length = (
            view.get("byteStride", columns * kind.itemsize),
            view.get("byteOffset", 0),
            view["byteLength"],
        )
        if stride < columns * kind.itemsize or first < 0:
            raise UserError("has rows that overlap")
        data = self._buffer(view["buffer"])[first : first + length]
        shape, offset = (accessor["count"], columns), accessor.get("byteOffset", 0)
        # NumPy refuses what lies outside of the data.
        values = np.ndarray(shape, kind, data, offset, (stride, kind.itemsize)).astype(float)
        return values / np.iinfo(kind).max if accessor.get("normalized") else values

    def _buffer(self, number: int) -> bytes:
        if number not in self._buffers:
            uri = self._header["buffers"][number].get("uri")
            self._buffers[number] = self._binary if uri is None else self._load(uri)
        return self._buffers[number]

    def _load(self, uri: str) -> bytes:
        if uri.startswith("data:"):
            return base64.b64decode(uri.partition(",")[2])
        path = self._folder / unquote(uri)
        if not path.is_file():
            raise UserError(f"needs the file {path}, which is not there")
        return path.read_bytes()
