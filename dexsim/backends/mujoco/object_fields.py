"""The free objects of a batch: which shape each simulation has in an object's place, of what size and mass.

An object has one geom for each kind of shape among its choices, of a type that never changes (`geom_shapes`). Those
that a simulation's choice has no use for are shrunk to a point inside of it, where nothing gets to touch or see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dexsim.backends.masses import MassProperties, mass_properties, principal_moments
from dexsim.backends.mujoco.model import POINT, TINY, geom_shapes, geom_size, mesh_name
from dexsim.scene import ObjectSpec

if TYPE_CHECKING:
    from mujoco import MjModel
    from mujoco.batch import Batch

IDENTITY = (1.0, 0.0, 0.0, 0.0)


class _Choices:
    """What makes geoms and a body one of an object's choices: a row for each choice, a column for each geom.

    Attributes:
        column: (C,) geom of a choice that is a primitive, -1 for a mesh.
        primitives: shape -> its column.
        geoms: name of a model field -> (C, G, ...) what it is; a primitive in use gets its size from elsewhere.
        body: name of a model field -> (C, ...).
        moments: (C, 3) moments of inertia of a mesh per kg, m^2.
    """

    def __init__(self, model: MjModel, item: ObjectSpec) -> None:
        shapes, choices = list(geom_shapes(item).values()), item.choices
        self.primitives = {shape: number for number, shape in enumerate(shapes) if shape != "mesh"}
        self.column = np.array([self.primitives.get(choice.shape, -1) for choice in choices])
        masses = [mass_properties(choice) if choice.parts else MassProperties() for choice in choices]
        self.moments = np.array([each.moments for each in masses])
        self.body = {
            "body_ipos": np.array([each.centre for each in masses]),
            "body_iquat": np.array([_quat(each.axes) for each in masses]),
        }
        size = (len(choices), len(shapes))
        self.geoms = {
            "geom_dataid": np.full(size, -1),
            "geom_size": np.full((*size, 3), TINY),
            "geom_pos": np.repeat(np.array([each.inside for each in masses])[:, None], len(shapes), axis=1),
            "geom_quat": np.tile(np.array(IDENTITY), (*size, 1)),
            "geom_aabb": np.tile([0.0, 0.0, 0.0, TINY, TINY, TINY], (*size, 1)),
        }
        meshes = [number for number, shape in enumerate(shapes) if shape == "mesh"]
        for row, choice in enumerate(choices):
            for part, column in enumerate(meshes):
                if part < len(choice.parts):
                    self._place(model, model.mesh(mesh_name(item, row, part)).id, (row, column))
                else:
                    self.geoms["geom_dataid"][row, column] = model.mesh(POINT).id

    def _place(self, model: MjModel, mesh: int, where: tuple[int, int]) -> None:
        """Make a geom the mesh of a convex part."""
        geoms = self.geoms
        geoms["geom_dataid"][where] = mesh
        # MuJoCo keeps a mesh's vertices in the frame of its own inertia.
        geoms["geom_pos"][where], geoms["geom_quat"][where] = model.mesh_pos[mesh], model.mesh_quat[mesh]
        start, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        vertices = model.mesh_vert[start : start + count]
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        geoms["geom_size"][where] = np.maximum(high, -low)
        # Here, since the engine derives the boxes of primitives and of whole bodies, but not those of another mesh.
        geoms["geom_aabb"][where] = np.concatenate([high + low, high - low]) / 2


class ObjectGeoms:
    """Writes objects' shapes, sizes and masses into the per-simulation model fields of a batch.

    Args:
        model: compiled by `dexsim.backends.mujoco.model.build_spec`.
        batch: a batch of it.
        objects: the scene's.

    Attributes:
        bodies: (K,) ids of the objects' bodies.
        geoms: ids of each object's geoms, in use or not.
    """

    def __init__(self, model: MjModel, batch: Batch, objects: Sequence[ObjectSpec]) -> None:
        """See the class."""
        self.bodies = np.array([model.body(item.name).id for item in objects], dtype=int)
        self.geoms: list[list[int]] = [[model.geom(name).id for name in geom_shapes(item)] for item in objects]
        self._choices = [_Choices(model, item) for item in objects]
        self._batch = batch
        self._mass, self._inertia = batch.expand("body_mass"), batch.expand("body_inertia")
        varied = any(len(item.choices) > 1 or item.parts for item in objects)
        names = ("geom_dataid", "geom_pos", "geom_quat", "geom_aabb") if varied else ()
        self._geom_fields = {name: batch.expand(name) for name in ("geom_size", *names)}
        self._body_fields = {name: batch.expand(name) for name in (("body_ipos", "body_iquat") if varied else ())}
        shapes = {name: shape for item in objects for name, shape in geom_shapes(item).items()}
        self._meshes = np.array([model.geom(name).id for name, shape in shapes.items() if shape == "mesh"], dtype=int)
        self._radius = batch.expand("geom_rbound") if len(self._meshes) else None

    def apply(self, ids: np.ndarray, choice: np.ndarray, size: np.ndarray, mass: np.ndarray) -> None:
        """`write`, then all that follows from it."""
        self.write(ids, choice, size, mass)
        self._batch.set_const(ids.astype(np.int32))
        self.derived(ids)

    def write(self, ids: np.ndarray, choice: np.ndarray, size: np.ndarray, mass: np.ndarray) -> None:
        """Set the objects of some simulations; `Batch.set_const` is to follow, then `derived`.

        Args:
            ids: (n,) simulations.
            choice: (n, K) number of each object's choice.
            size: (n, K, 3) full extents in m; a mesh has its own.
            mass: (n, K) kg.
        """
        rows = choice.astype(int)
        for k in range(len(self._choices)):
            self._write(ids, k, rows[:, k], size[:, k], mass[:, k])

    def derived(self, ids: np.ndarray) -> None:
        """Set bounding volumes right, which the engine has just set back to those of the meshes that were compiled."""
        if self._radius is not None:
            half = self._geom_fields["geom_size"][ids[:, None], self._meshes]
            self._radius[ids[:, None], self._meshes] = np.linalg.norm(half, axis=-1)

    def _write(self, ids: np.ndarray, k: int, row: np.ndarray, size: np.ndarray, mass: np.ndarray) -> None:
        choices, body, geoms = self._choices[k], self.bodies[k], self.geoms[k]
        inertia, values = mass[:, None] * choices.moments[row], choices.geoms["geom_size"][row]
        for shape, column in choices.primitives.items():
            used = choices.column[row] == column
            values[used, column] = geom_size(shape, size[used])
            inertia[used] = principal_moments(shape, mass[used], size[used])
        self._mass[ids, body], self._inertia[ids, body] = mass, inertia
        for name, field in self._geom_fields.items():
            field[ids[:, None], geoms] = values if name == "geom_size" else choices.geoms[name][row]
        for name, field in self._body_fields.items():
            field[ids, body] = choices.body[name][row]


def _quat(rotation: np.ndarray) -> np.ndarray:
    """Quaternion of a rotation matrix, as MuJoCo rounds it."""
    import mujoco

    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, rotation.ravel())
    return quat
