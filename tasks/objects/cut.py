"""Cuts solids into convex parts, in a process of its own: `tasks.objects.convex` runs this file, nobody imports it.

CoACD is C++: it writes to the standard output, and ends the process where a mesh is too broken for it. Standard input
and output are NumPy archives: of solids, `vertices_i` and `faces_i`, with `threshold_i`; of parts, `part_i_j`. Where
`remesh` says so, it makes a closed surface of each solid first, which is coarser.
"""

from __future__ import annotations

import io
import os
import sys

import coacd
import fast_simplification
import numpy as np

SEED = 0
# CoACD's search for the best cuts: less of it than by its defaults, several times as fast, parts as good.
SEARCH = {"resolution": 1000, "mcts_nodes": 6, "mcts_iterations": 10}
# A scan's triangles are reduced to these numbers, the first that leaves it closed: cutting takes time in proportion.
FACES = (1500, 2000, 2500, 3000, 4000)
VOXELS = 30  # along a solid, where its surface is made anew
CAREFUL = 3  # of 7: how readily the reduction takes edges away


def main() -> None:
    """Read solids, write their parts."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever the library prints goes elsewhere
    coacd.set_log_level("error")
    given = np.load(io.BytesIO(sys.stdin.buffer.read()))
    options: dict[str, object] = {**SEARCH, "max_convex_hull": int(given["most"]), "seed": SEED}
    options |= {"preprocess_mode": "on" if given["remesh"] else "off", "preprocess_resolution": VOXELS}
    parts = {}
    for i in range(int(given["count"])):
        mesh = coacd.Mesh(*_reduced(given[f"vertices_{i}"], given[f"faces_{i}"]))
        found = coacd.run_coacd(mesh, float(given[f"threshold_{i}"]), **options)  # pyright: ignore[reportArgumentType]
        parts |= {f"part_{i}_{j}": vertices for j, (vertices, _) in enumerate(found)}
    archive = io.BytesIO()
    np.savez(archive, **parts)
    with os.fdopen(out, "wb") as stream:
        stream.write(archive.getvalue())


def _reduced(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A mesh with fewer triangles, closed if it can be."""
    if len(faces) <= FACES[0]:
        return vertices, faces
    counts = [count for count in FACES if count < len(faces)]
    made = [_simplified(vertices, faces, count) for count in counts]
    closed = [mesh for mesh in made if _is_closed(mesh[1])]
    return closed[0] if closed else (vertices, faces) if _is_closed(faces) and len(faces) < FACES[-1] else made[-1]


def _simplified(vertices: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    points, fewer, *_ = fast_simplification.simplify(vertices.astype("f4"), faces, target_count=count, agg=CAREFUL)
    return points, fewer


def _is_closed(faces: np.ndarray) -> bool:
    """Whether each edge is of two triangles."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    return bool((np.unique(edges, axis=0, return_counts=True)[1] == 2).all())


if __name__ == "__main__":
    main()
