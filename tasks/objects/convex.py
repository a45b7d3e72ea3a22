"""Convex parts of an object: what engines can let hands touch.

Each of its solids is a part if its convex hull fits it; one that is hollow, or bent, is cut.
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
from scipy.spatial import ConvexHull, KDTree

from dexsim.errors import UserError
from tasks.objects.solids import Solids, is_flat

if TYPE_CHECKING:
    from trimesh import Trimesh

# A hull does not fit where it has so many times the solid's volume and, as a share of the object's largest extent, is
# so far from its surface somewhere. Scans of boxes come to 1.19 and 0.06, a banana to 1.55 and 0.17.
TOO_LARGE, TOO_FAR = 1.1, 0.08
# How exactly it is cut: what each part may differ from the solid, as a share of the object's largest extent.
EXACT = 0.04
# Parts of one solid and of an object, and vertices of all of its parts and of one, at most: contacts cost time, and
# checkpoints keep them.
MOST_CUT, MOST_PARTS, MOST_VERTICES, MOST_OF_ONE = 16, 32, 1024, 256
SLOW, LEAST = 60, 0.9  # s that cutting may take; share of a solid's volume that its parts have
INSIDE = 1e-4  # what sticks out of other parts by less is one part too many, m
SAMPLES = (2000, 20_000)  # points on a hull, and on a surface
NEIGHBOURS = 6  # how many parts a part may be joined with, the nearest


@dataclass(frozen=True)
class Parts:
    """An object as convex parts.

    Attributes:
        hulls: the parts.
        volume: of all of them, m^3; twice where two overlap.
        solid: of the solids that they stand for, m^3; likewise.
    """

    hulls: tuple[Trimesh, ...]
    volume: float
    solid: float


def convex_parts(solids: Solids) -> Parts:
    """The convex parts of solids in m.

    Raises:
        UserError: one of them cannot be cut.
    """
    hulls = [mesh.convex_hull for mesh in solids.meshes]
    pairs = [pair for i, pair in enumerate(zip(solids.meshes, hulls, strict=True)) if not _is_hollow(i, solids, hulls)]
    extent = float(np.ptp(np.concatenate([hull.bounds for hull in hulls]), axis=0).max())
    fit = [_fits(hull, mesh, TOO_FAR * extent) for mesh, hull in pairs]
    whole = [hull for (_, hull), fits in zip(pairs, fit, strict=True) if fits]
    unfit = [
        i for i, (_, hull) in enumerate(pairs) if not fit[i] and not any(_is_inside(hull, other) for other in whole)
    ]
    groups = [[hull] for _, hull in pairs]
    for i, cut in zip(unfit, _cut([pairs[i][0] for i in unfit], extent), strict=True):
        groups[i] = cut
    parts = _few(_without_inner([part for group in groups for part in group]))
    most = min(MOST_OF_ONE, MOST_VERTICES // len(parts))
    thinned = tuple(_thinned(part, most) for part in parts)
    return Parts(thinned, sum(part.volume for part in thinned), sum(abs(mesh.volume) for mesh, _ in pairs))


def _is_hollow(number: int, solids: Solids, hulls: Sequence[Trimesh]) -> bool:
    """Whether a solid is none, but the inside of a wall: turned inside out, in another one that is not."""
    if solids.meshes[number].volume >= 0:
        return False
    others = [hull for mesh, hull in zip(solids.meshes, hulls, strict=True) if mesh.volume > 0]
    return any(_is_inside(hulls[number], hull) for hull in others)


def _fits(hull: Trimesh, mesh: Trimesh, far: float) -> bool:
    """Whether a solid is as good as its hull: of about the same volume, or nowhere farther than `far` m from it."""
    import trimesh

    if hull.volume < TOO_LARGE * abs(mesh.volume):
        return True
    shell, surface = (
        trimesh.sample.sample_surface(body, count, seed=0)[0] for body, count in zip((hull, mesh), SAMPLES, strict=True)
    )
    distance, _ = KDTree(np.concatenate([surface, mesh.vertices])).query(shell)
    return bool(distance.max() < far)


def _is_inside(hull: Trimesh, other: Trimesh) -> bool:
    low, high = other.bounds[0] < hull.bounds[0] + INSIDE, other.bounds[1] > hull.bounds[1] - INSIDE
    return bool(low.all() and high.all() and _outside(hull.vertices, other).max() < INSIDE)


def _outside(points: np.ndarray, hull: Trimesh) -> np.ndarray:
    """How far outside of a convex part points (n, 3) are, negative inside, (n,) m; beside an edge, less."""
    planes = ConvexHull(hull.vertices).equations
    return (points @ planes[:, :3].T + planes[:, 3]).max(axis=1)


# -- cutting -----------------------------------------------------------------------------------------------------------


def _cut(meshes: Sequence[Trimesh], extent: float) -> list[list[Trimesh]]:
    """The parts of each of some solids of an object of this extent in m: by CoACD, in a process of its own.

    A surface that crosses itself, or has edges of three triangles, may be too much for it; it is made anew then.
    """
    if not meshes:
        return []
    given: dict[str, object] = {"count": len(meshes), "most": MOST_CUT}
    for i, mesh in enumerate(meshes):
        # CoACD measures in halves of a solid's own largest extent.
        threshold = np.clip(2 * EXACT * extent / mesh.extents.max(), 0.01, 1.0)
        given |= {f"vertices_{i}": mesh.vertices, f"faces_{i}": mesh.faces, f"threshold_{i}": threshold}
    parts, problem = _run({**given, "remesh": False}, len(meshes))
    if problem or not all(map(_covers, parts, meshes)):
        parts, problem = _run({**given, "remesh": True}, len(meshes))
    if not problem and not all(parts):
        problem = "nothing is left of it"
    if problem:
        advice = "simplify it, or make each convex part a component of its own"
        raise UserError(f"cannot be cut into convex parts ({problem}); {advice}")
    return parts


def _run(given: dict[str, object], count: int) -> tuple[list[list[Trimesh]], str]:
    """What `tasks.objects.cut` makes of its arguments: parts of each of `count` solids, or what went wrong."""
    archive = io.BytesIO()
    np.savez(archive, **given)  # pyright: ignore[reportArgumentType]
    command = [sys.executable, "-P", str(Path(__file__).with_name("cut.py"))]
    try:
        done = subprocess.run(command, input=archive.getvalue(), capture_output=True, timeout=SLOW, check=False)
    except subprocess.TimeoutExpired:
        return [], f"more than {SLOW} s"
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return [], lines[-1] if lines else f"exit status {done.returncode}"
    parts: list[list[Trimesh]] = [[] for _ in range(count)]
    with np.load(io.BytesIO(done.stdout)) as found:
        for name, vertices in found.items():
            if not is_flat(vertices):
                parts[int(name.split("_")[1])].append(_hull(vertices))
    return parts, ""


def _covers(parts: Sequence[Trimesh], mesh: Trimesh) -> bool:
    """Whether parts are as large as the solid that they were cut from."""
    if not parts:
        return False
    bounds = np.array([part.bounds for part in parts])
    ends = np.stack([bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)])
    near = np.abs(ends - mesh.bounds).max() < EXACT * mesh.extents.max()
    return bool(near and sum(part.volume for part in parts) > LEAST * abs(mesh.volume))


# -- parts -------------------------------------------------------------------------------------------------------------


def _without_inner(parts: list[Trimesh]) -> list[Trimesh]:
    """The parts but for those that lie inside of what the others fill; the smallest go first."""
    bounds, kept = np.array([part.bounds for part in parts]), np.ones(len(parts), dtype=bool)
    for i in sorted(range(len(parts)), key=lambda i: parts[i].volume):
        low, high = bounds[i]
        meet = kept & (bounds[:, 0] < high).all(axis=1) & (bounds[:, 1] > low).all(axis=1)
        meet[i] = False
        if meet.any():
            part = parts[i]
            middle, points = part.vertices.mean(axis=0), np.concatenate([part.vertices, part.triangles_center])
            points = np.concatenate([points, (points + middle) / 2, middle[None]])
            outside = np.min([_outside(points, parts[j]) for j in np.flatnonzero(meet)], axis=0)
            kept[i] = outside.max() > INSIDE
    return [part for part, keep in zip(parts, kept, strict=True) if keep]


def _few(parts: list[Trimesh]) -> list[Trimesh]:
    """At most `MOST_PARTS`: neighbours are joined whose common hull has the least volume beside them."""
    parts = list(parts)
    costs: dict[tuple[int, int], tuple[float, Trimesh]] = {}
    alive = set(range(len(parts)))

    def look(i: int) -> None:
        """Find what joining a part with its neighbours would cost."""
        others = np.array(sorted(alive - {i}))
        middles = np.array([parts[j].bounds.mean(axis=0) for j in others])
        near = np.linalg.norm(middles - parts[i].bounds.mean(axis=0), axis=1).argsort(kind="stable")[:NEIGHBOURS]
        for j in others[near].tolist():
            pair = min(i, j), max(i, j)
            if pair not in costs:
                joined = _hull(np.concatenate([parts[i].vertices, parts[j].vertices]))
                costs[pair] = joined.volume - parts[i].volume - parts[j].volume, joined

    if len(parts) > MOST_PARTS:
        for i in range(len(parts)):
            look(i)
    while len(alive) > MOST_PARTS:
        pair = min(costs, key=lambda pair: (costs[pair][0], pair))
        parts.append(costs[pair][1])
        alive -= set(pair)
        costs = {key: value for key, value in costs.items() if alive.issuperset(key)}
        alive.add(len(parts) - 1)
        look(len(parts) - 1)
    return [parts[i] for i in sorted(alive)]


def _hull(points: np.ndarray) -> Trimesh:
    import trimesh

    return trimesh.Trimesh(points).convex_hull


def _thinned(hull: Trimesh, most: int) -> Trimesh:
    """A convex part with as many vertices at most: those that stick out farthest, and the outermost along each axis."""
    points = np.asarray(hull.vertices)
    if len(points) <= most:
        return hull
    outermost = np.concatenate([points.argmin(axis=0), points.argmax(axis=0)])
    # Qhull takes the farthest point in each turn; TA says how many beside the first four.
    farthest = ConvexHull(points, qhull_options=f"Qt Pp TA{most - 4 - len(outermost)}").vertices
    return _hull(points[np.union1d(farthest, outermost)])
