"""Cuts meshes into convex parts, in a process of its own: `tasks.objects.convex` runs this file, nobody imports it.

CoACD is C++: it writes to the standard output, and ends the process where a mesh is too broken for it. Standard input
and output are NumPy archives: of meshes, `vertices_i` and `faces_i`, with `threshold_i`; of parts, `part_i_j`.
"""

from __future__ import annotations

import io
import os
import sys

# Numbers do not depend on the threads; a process that simulates beside this one does.
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))

import coacd
import numpy as np

SEED = 0
# CoACD's search for the best cuts: less of it than by its defaults, three times as fast, parts as good.
NODES, ITERATIONS = 10, 20


def main() -> None:
    """Read meshes, write their parts."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever the library prints goes elsewhere
    coacd.set_log_level("error")
    given = np.load(io.BytesIO(sys.stdin.buffer.read()))
    most, parts = int(given["most"]), {}
    for i in range(int(given["count"])):
        mesh = coacd.Mesh(given[f"vertices_{i}"], given[f"faces_{i}"])
        found = coacd.run_coacd(
            mesh, float(given[f"threshold_{i}"]), most, mcts_nodes=NODES, mcts_iterations=ITERATIONS, seed=SEED
        )
        parts |= {f"part_{i}_{j}": vertices for j, (vertices, _) in enumerate(found)}
    archive = io.BytesIO()
    np.savez(archive, **parts)
    with os.fdopen(out, "wb") as stream:
        stream.write(archive.getvalue())


if __name__ == "__main__":
    main()
