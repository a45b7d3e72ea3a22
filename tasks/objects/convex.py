"""Convex parts of a mesh: what engines can let hands touch.

Each connected component is a part if its convex hull fits it; one that is hollowed out, like a cup, is cut in several.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull

from dexsim.errors import UserError

if TYPE_CHECKING:
    from trimesh import Trimesh

# A component thinner than this has no volume: a stray triangle, a flat quad; m. An open one with less volume than this
# share of the largest is debris.
FLAT, DEBRIS = 1e-4, 1e-3
# Surfaces that meet nowhere are joined where they are this near to each other, 0.1 mm.
COARSE_DIGITS = 4
# How deep a hollow may be that is filled, as a share of the object's largest extent: 5 mm of a can.
HOLLOW = 0.04
# Parts that a component is cut into, that an object has, and vertices of all of them together, at most: contacts cost
# time, and checkpoints keep them.
MOST_CUT, MOST_PARTS, MOST_VERTICES, MOST_OF_ONE = 16, 32, 1024, 256
INSIDE = 5e-4  # what sticks out of other parts by less is one part too many, m
PROBES = 20_000  # points of a surface that are looked at
SLOW = 120  # s that cutting may take


@dataclass(frozen=True)
class Parts:
    """A mesh as convex parts.

    Attributes:
        hulls: the parts.
        volume: of all of them, m^3; twice where two overlap.
        solid: of the components that they are made of, m^3; None where one of these is not closed.
    """

    hulls: tuple[Trimesh, ...]
    volume: float
    solid: float | None


def convex_parts(solids: Sequence[Trimesh]) -> Parts:
    """The convex parts of the components of a mesh (`find_solids`).

    Raises:
        UserError: one of them cannot be cut.
    """
    hulls = [solid.convex_hull for solid in solids]
    needed = [i for i in range(len(hulls)) if not _is_inside_another(i, hulls)]
    solids, hulls = [solids[i] for i in needed], [hulls[i] for i in needed]
    extent = float(np.ptp(np.concatenate([hull.vertices for hull in hulls]), axis=0).max())
    groups = [[hull] for hull in hulls]
    hollow = [i for i, solid in enumerate(solids) if _depth(solid, hulls[i]) > HOLLOW * extent]
    if len(solids) <= MOST_PARTS:
        for i, cut in zip(hollow, _cut([solids[i] for i in hollow], extent, MOST_CUT), strict=True):
            groups[i] = cut
    parts = [part for group in groups for part in group]
    if len(parts) > MOST_PARTS:
        parts = _cut([sum(solids[1:], solids[0])], extent, MOST_PARTS)[0]
    parts = _without_inner(parts)
    most = min(MOST_OF_ONE, MOST_VERTICES // len(parts))
    thinned = tuple(_thinned(part, most) for part in parts)
    closed = all(solid.is_volume for solid in solids)
    return Parts(
        hulls=thinned,
        volume=sum(part.volume for part in thinned),
        solid=sum(abs(solid.volume) for solid in solids) if closed else None,
    )


# -- components --------------------------------------------------------------------------------------------------------


def find_solids(mesh: Trimesh) -> tuple[list[Trimesh], int]:
    """The connected components of a mesh that have a volume, and how many have none.

    Raises:
        UserError: none has.
    """
    components = _components(mesh)
    thick = [component for component in components if not _is_flat(mesh.vertices[np.unique(mesh.faces[component])])]
    if not thick and not _is_flat(mesh.vertices):
        joined = mesh.copy()
        joined.merge_vertices(digits_vertex=COARSE_DIGITS)
        components = _components(joined)
        mesh, thick = joined, [c for c in components if not _is_flat(joined.vertices[np.unique(joined.faces[c])])]
    if not thick:
        raise UserError(f"holds nothing with a volume, only surfaces thinner than {1000 * FLAT:g} mm")
    solids: list[Trimesh] = mesh.submesh(thick, append=False, repair=True)  # pyright: ignore[reportAssignmentType]
    sizes = [solid.convex_hull.volume for solid in solids]
    kept = [s for s, size in zip(solids, sizes, strict=True) if size > DEBRIS * max(sizes) or s.is_watertight]
    return kept, len(components) - len(kept)


def _components(mesh: Trimesh) -> list[np.ndarray]:
    """Faces of each connected component."""
    import trimesh

    labels = trimesh.graph.connected_component_labels(mesh.face_adjacency, node_count=len(mesh.faces))
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _is_flat(points: np.ndarray) -> bool:
    """Whether points (n, 3) lie on a plane, whichever way it is turned."""
    if len(points) < 4:
        return True
    middle = points - points.mean(axis=0)
    normal = np.linalg.eigh(middle.T @ middle)[1][:, 0]
    return bool(np.ptp(middle @ normal) < FLAT)


def _depth(solid: Trimesh, hull: Trimesh) -> float:
    """How far below its hull the surface of a component reaches, m."""
    points = np.concatenate([solid.vertices, solid.vertices[solid.edges_unique].mean(axis=1), solid.triangles_center])
    points = points[:: -(-len(points) // PROBES)]
    return float(-_outside(points, _thinned(hull, MOST_OF_ONE)).min())


def _outside(points: np.ndarray, hull: Trimesh) -> np.ndarray:
    """How far outside of a convex part points (n, 3) are, negative inside, (n,) m; more than that beside an edge."""
    planes = ConvexHull(hull.vertices).equations
    return (points @ planes[:, :3].T + planes[:, 3]).max(axis=1)


def _is_inside_another(number: int, hulls: Sequence[Trimesh]) -> bool:
    """Whether a hull lies inside another one; of two that are the same, the second does."""
    hull = hulls[number]
    for i, other in enumerate(hulls):
        if (
            i == number
            or (other.bounds[0] > hull.bounds[0] + INSIDE).any()
            or (other.bounds[1] < hull.bounds[1] - INSIDE).any()
        ):
            continue
        if other.volume < hull.volume or (other.volume == hull.volume and i > number):
            continue
        if _outside(hull.vertices, other).max() < INSIDE:
            return True
    return False


# -- cutting -----------------------------------------------------------------------------------------------------------


def _cut(solids: Sequence[Trimesh], extent: float, most: int) -> list[list[Trimesh]]:
    """The parts of each of some components, by CoACD in a process of its own (`tasks.objects.cut`).

    Args:
        solids: the components.
        extent: the object's largest, m.
        most: parts of each.
    """
    if not solids:
        return []
    import trimesh

    given: dict[str, object] = {"count": len(solids), "most": most}
    for i, solid in enumerate(solids):
        # CoACD measures in halves of a component's own largest extent.
        threshold = np.clip(2 * HOLLOW * extent / solid.extents.max(), 0.01, 1.0)
        given |= {f"vertices_{i}": solid.vertices, f"faces_{i}": solid.faces, f"threshold_{i}": threshold}
    archive = io.BytesIO()
    np.savez(archive, **given)  # pyright: ignore[reportArgumentType]
    command = [sys.executable, "-P", str(Path(__file__).with_name("cut.py"))]
    advice = "simplify it, or make each convex part a component of its own"
    try:
        done = subprocess.run(command, input=archive.getvalue(), capture_output=True, timeout=SLOW, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"cannot be cut into convex parts in {SLOW} s; {advice}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise UserError(f"cannot be cut into convex parts ({said[0]}); {advice}")
    found = np.load(io.BytesIO(done.stdout))
    parts: list[list[Trimesh]] = [[] for _ in solids]
    for name in found.files:
        if not _is_flat(found[name]):
            parts[int(name.split("_")[1])].append(trimesh.Trimesh(found[name]).convex_hull)
    return parts


# -- parts -------------------------------------------------------------------------------------------------------------


def _without_inner(parts: list[Trimesh]) -> list[Trimesh]:
    """The parts but for those that lie inside of what the others fill, smallest first."""
    kept = list(parts)
    for part in sorted(parts, key=lambda part: part.volume):
        others = [other for other in kept if other is not part]
        near = [o for o in others if (o.bounds[0] < part.bounds[1]).all() and (o.bounds[1] > part.bounds[0]).all()]
        if near:
            middle = part.vertices.mean(axis=0)
            points = np.concatenate([part.vertices, part.triangles_center])
            points = np.concatenate([points, (points + middle) / 2, middle[None]])
            if np.min([_outside(points, other) for other in near], axis=0).max() < INSIDE:
                kept = others
    return kept


def _thinned(hull: Trimesh, most: int) -> Trimesh:
    """A convex part with as many vertices at most: those that stick out farthest, and the outermost along each axis."""
    import trimesh

    points = np.asarray(hull.vertices)
    if len(points) <= most:
        return hull
    outermost = np.concatenate([points.argmin(axis=0), points.argmax(axis=0)])
    # Qhull takes the farthest point in each turn, and TA says how many beside the first four.
    spread = ConvexHull(points, qhull_options=f"Qt Pp TA{most - 4 - len(outermost)}").vertices
    return trimesh.Trimesh(points[np.union1d(spread, outermost)]).convex_hull
