"""Cuts solids into convex parts, in a process of its own: `tasks.objects.convex` runs this file, nobody imports it.

CoACD is C++: it writes to the standard output, and ends the process where a mesh is too broken for it. Standard input
and output are NumPy archives: of solids, `vertices_i` and `faces_i`, with `threshold_i`; of parts, `part_i_j`.
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
SEARCH = {"resolution": 1000, "mcts_nodes": 10, "mcts_iterations": 20}
# A scan's triangles are reduced to these numbers, the first that leaves it closed: cutting takes time in proportion.
FACES = (2500, 3000, 4000, 6000)
CAREFUL = 3  # of 7: how readily the reduction takes edges away


def main() -> None:
    """Read solids, write their parts."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever the library prints goes elsewhere
    coacd.set_log_level("error")
    given = np.load(io.BytesIO(sys.stdin.buffer.read()))
    most, parts = int(given["most"]), {}
    for i in range(int(given["count"])):
        mesh = coacd.Mesh(*_reduced(given[f"vertices_{i}"], given[f"faces_{i}"]))
        options: dict[str, object] = {**SEARCH, "max_convex_hull": most, "seed": SEED}
        found = coacd.run_coacd(mesh, float(given[f"threshold_{i}"]), **options)  # pyright: ignore[reportArgumentType]
        parts |= {f"part_{i}_{j}": vertices for j, (vertices, _) in enumerate(found)}
    archive = io.BytesIO()
    np.savez(archive, **parts)
    with os.fdopen(out, "wb") as stream:
        stream.write(archive.getvalue())


def _reduced(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for count in FACES:
        if len(faces) > count:
            points, fewer, *_ = fast_simplification.simplify(
                vertices.astype("f4"), faces, target_count=count, agg=CAREFUL
            )
            if _is_closed(fewer):
                return points, fewer
    return vertices, faces


def _is_closed(faces: np.ndarray) -> bool:
    """Whether each edge is of two triangles."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    return bool((np.unique(edges, axis=0, return_counts=True)[1] == 2).all())


if __name__ == "__main__":
    main()
