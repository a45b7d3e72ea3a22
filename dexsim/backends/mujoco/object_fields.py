"""The free objects of a batch: which shape each simulation has in an object's place, of what size and mass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexsim.backends.mujoco.model import geom_names, geom_size, geom_type, mesh_name, principal_inertia
from dexsim.backends.mujoco.robot import ENVIRONMENT
from dexsim.scene import ObjectSpec

IDENTITY = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class _Choice:
    """What makes a geom and a body one of an object's choices.

    Attributes:
        spec: the object.
        meshes: ids of its convex parts' meshes.
        moments: (3,) principal moments of inertia of a mesh per kg, m^2.
        centre: (3,) its centre of mass, m.
        turn: (4,) its principal axes.
    """

    spec: ObjectSpec
    meshes: tuple[int, ...] = ()
    moments: tuple[float, ...] = (0.0, 0.0, 0.0)
    centre: tuple[float, ...] = (0.0, 0.0, 0.0)
    turn: tuple[float, ...] = IDENTITY


class ObjectGeoms:
    """Writes objects' shapes, sizes and masses into the per-simulation model fields of a batch.

    Args:
        model: compiled by `dexsim.backends.mujoco.model.build_spec`.
        batch: a batch of it.
        objects: the scene's.
    """

    def __init__(self, model: Any, batch: Any, objects: Sequence[ObjectSpec]) -> None:
        """See the class."""
        self._model, self._batch, self._objects = model, batch, objects
        self.bodies = np.array([model.body(item.name).id for item in objects], dtype=int)
        self.geoms: list[list[int]] = [[model.geom(name).id for name in geom_names(item)] for item in objects]
        self._size, self._mass = batch.expand("geom_size"), batch.expand("body_mass")
        self._inertia = batch.expand("body_inertia")
        self._varied = any(len(item.choices) > 1 or item.parts for item in objects)
        if self._varied:
            self._type, self._mesh = batch.expand("geom_type"), batch.expand("geom_dataid")
            self._place, self._turn = batch.expand("geom_pos"), batch.expand("geom_quat")
            self._touches = batch.expand("geom_contype"), batch.expand("geom_conaffinity")
            self._centre, self._axes = batch.expand("body_ipos"), batch.expand("body_iquat")
            self._radius, self._box = batch.expand("geom_rbound"), batch.expand("geom_aabb")
        self._choices = [[self._choice(item, number) for number in range(len(item.choices))] for item in objects]

    def apply(self, ids: np.ndarray, choice: np.ndarray, size: np.ndarray, mass: np.ndarray) -> None:
        """Set the objects of some simulations, then what the engine derives from it, bounding volumes among it.

        Args:
            ids: (n,) simulations.
            choice: (n, K) number of each object's choice.
            size: (n, K, 3) full extents in m; a mesh has its own.
            mass: (n, K) kg.
        """
        for k, choices in enumerate(self._choices):
            self._mass[ids, self.bodies[k]] = mass[:, k]
            for number, item in enumerate(choices):
                rows = choice[:, k] == number
                if rows.any():
                    self._write(ids[rows], k, item, size[rows, k], mass[rows, k])
        self._batch.set_const(ids.astype(np.int32))
        if self._varied:
            self._bound_meshes(ids)

    def _write(self, ids: np.ndarray, k: int, item: _Choice, size: np.ndarray, mass: np.ndarray) -> None:
        body, (first, *others) = self.bodies[k], self.geoms[k]
        if item.meshes:
            self._inertia[ids, body] = mass[:, None] * np.array(item.moments)
            for geom, mesh in zip((first, *others), item.meshes, strict=False):
                self._put_mesh(ids, geom, mesh)
        else:
            self._inertia[ids, body] = principal_inertia(item.spec.shape, mass, size)
            self._put_primitive(ids, first, item.spec.shape, size)
        if self._varied:
            self._centre[ids, body], self._axes[ids, body] = item.centre, item.turn
            for number, geom in enumerate(others, start=1):
                used = number < len(item.meshes)
                for flags in self._touches:
                    flags[ids, geom] = ENVIRONMENT if used else 0
                if not used:  # out of sight, too
                    self._put_primitive(ids, geom, "sphere", np.full(3, 1e-3))

    def _put_primitive(self, ids: np.ndarray, geom: int, shape: str, size: np.ndarray) -> None:
        self._size[ids, geom] = geom_size(shape, size)
        if self._varied:
            self._type[ids, geom], self._mesh[ids, geom] = geom_type(shape), -1
            self._place[ids, geom], self._turn[ids, geom] = 0.0, IDENTITY

    def _put_mesh(self, ids: np.ndarray, geom: int, mesh: int) -> None:
        model = self._model
        self._type[ids, geom], self._mesh[ids, geom] = geom_type("mesh"), mesh
        # MuJoCo keeps a mesh's vertices in the frame of its own inertia.
        self._place[ids, geom], self._turn[ids, geom] = model.mesh_pos[mesh], model.mesh_quat[mesh]
        start, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        vertices = model.mesh_vert[start : start + count]
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        self._size[ids, geom] = np.maximum(high, -low)
        # Here, since the engine derives the boxes of primitives and of whole bodies, but not those of another mesh.
        self._box[ids, geom] = np.concatenate([high + low, high - low]) / 2

    def _bound_meshes(self, ids: np.ndarray) -> None:
        """Bounding radii of meshes, which the engine has just set back to those of the mesh that was compiled."""
        geoms = np.concatenate([np.array(each, dtype=int) for each in self.geoms])
        size = self._size[ids[:, None], geoms]
        is_mesh = self._mesh[ids[:, None], geoms] >= 0
        radius = self._radius[ids[:, None], geoms]
        self._radius[ids[:, None], geoms] = np.where(is_mesh, np.linalg.norm(size, axis=-1), radius)

    def _choice(self, item: ObjectSpec, number: int) -> _Choice:
        spec = item.choices[number]
        if not spec.parts:
            return _Choice(spec)
        meshes = tuple(self._model.mesh(mesh_name(item, number, part)).id for part in range(len(spec.parts)))
        return _Choice(spec, meshes, *mass_properties(spec))


def mass_properties(spec: ObjectSpec) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Principal moments per kg (3,) in m^2, centre of mass (3,) in m and principal axes (4,) of an object's parts."""
    import mujoco
    import trimesh

    hulls = [trimesh.Trimesh(vertices=part).convex_hull for part in spec.parts]
    volume = np.array([hull.volume for hull in hulls])
    centres = np.array([hull.center_mass for hull in hulls])
    centre = volume @ centres / volume.sum()
    tensor = np.zeros((3, 3))
    for hull, size, place in zip(hulls, volume, centres - centre, strict=True):
        tensor += hull.moment_inertia + size * (place @ place * np.eye(3) - np.outer(place, place))
    moments, axes = np.linalg.eigh(tensor / volume.sum())
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    turn = np.zeros(4)
    mujoco.mju_mat2Quat(turn, axes.ravel())
    return tuple(moments), tuple(centre), tuple(turn)
