"""What of a mesh has a volume: its connected components, without stray triangles and flat pieces, holes closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dexsim.errors import UserError

if TYPE_CHECKING:
    from trimesh import Trimesh

# A component thinner than this has no volume: a stray triangle, a flat quad; m. An open one with less volume than this
# share of the largest is debris.
FLAT, DEBRIS = 1e-4, 1e-3
# Where nothing has a volume, surfaces are joined where they are this near to each other: 0.1 mm.
COARSE_DIGITS = 4
MOST_SOLIDS = 2000


@dataclass(frozen=True)
class Solids:
    """The components of a mesh that have a volume.

    Attributes:
        meshes: them, with holes closed.
        closed: whether they had none.
        left_out: how many pieces there are beside them.
    """

    meshes: tuple[Trimesh, ...]
    closed: bool
    left_out: int


def find_solids(mesh: Trimesh) -> Solids:
    """The components of a mesh in m that have a volume.

    Raises:
        UserError: none has, or there are thousands.
    """
    components = _components(mesh)
    thick = _thick(mesh, components)
    if not thick:
        mesh = mesh.copy()
        mesh.merge_vertices(digits_vertex=COARSE_DIGITS)
        components = _components(mesh)
        thick = _thick(mesh, components)
    if not thick:
        raise UserError(f"holds nothing with a volume, only surfaces thinner than {1000 * FLAT:g} mm")
    if len(thick) > MOST_SOLIDS:
        raise UserError(f"has {len(thick):,} separate pieces; allowed: {MOST_SOLIDS:,}")
    pieces: list[Trimesh] = mesh.submesh(thick, append=False, repair=True)  # pyright: ignore[reportAssignmentType]
    sizes = [piece.convex_hull.volume for piece in pieces]
    kept = [p for p, size in zip(pieces, sizes, strict=True) if p.is_watertight or size > DEBRIS * max(sizes)]
    closed = all(piece.is_watertight for piece in kept)
    return Solids(tuple(_capped(_turned(piece)) for piece in kept), closed, len(components) - len(kept))


def is_flat(points: np.ndarray) -> bool:
    """Whether points (n, 3) in m lie on a plane, whichever way it is turned."""
    if len(points) < 4:
        return True
    middle = points - points.mean(axis=0)
    normal = np.linalg.eigh(middle.T @ middle)[1][:, 0]
    return bool(np.ptp(middle @ normal) < FLAT)


def _components(mesh: Trimesh) -> list[np.ndarray]:
    """Faces of each connected component."""
    import trimesh

    if not len(mesh.faces):
        return []
    labels = trimesh.graph.connected_component_labels(mesh.face_adjacency, node_count=len(mesh.faces))
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _thick(mesh: Trimesh, components: list[np.ndarray]) -> list[np.ndarray]:
    return [faces for faces in components if not is_flat(mesh.vertices[np.unique(mesh.faces[faces])])]


def _turned(mesh: Trimesh) -> Trimesh:
    """A surface whose triangles all face the same way, out where they did not: volumes are sums over triangles."""
    import trimesh

    if not mesh.is_winding_consistent:
        trimesh.repair.fix_normals(mesh, multibody=False)
    return mesh


def _capped(mesh: Trimesh) -> Trimesh:
    """A surface whose holes are closed, each by triangles around its middle."""
    import trimesh

    edges = mesh.edges[trimesh.grouping.group_rows(mesh.edges_sorted, require_count=1)]
    if not len(edges):
        return mesh
    labels = trimesh.graph.connected_component_labels(edges, node_count=len(mesh.vertices))[edges[:, 0]]
    _, hole = np.unique(labels, return_inverse=True)
    count = np.bincount(hole)[:, None]
    middles = np.stack([np.bincount(hole, mesh.vertices[edges[:, 0], axis]) for axis in range(3)], axis=1) / count
    caps = np.column_stack([edges[:, ::-1], len(mesh.vertices) + hole])
    return trimesh.Trimesh(np.concatenate([mesh.vertices, middles]), np.concatenate([mesh.faces, caps]), process=False)
