"""What MuJoCo's models promise of objects with a choice of shapes, for other engines that share them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from dexsim import parameters
from dexsim.backends.mujoco.backend import MujocoBackend
from dexsim.backends.mujoco.model import TINY
from dexsim.scene import ObjectSpec, Scene
from tests.dexsim.backends.scenes import BOX, MIXED, ROBOT

ITEM = replace(BOX, alternatives=MIXED[1:])


@pytest.fixture(scope="module")
def backend() -> MujocoBackend:
    """One environment for each choice."""
    scene = Scene(ROBOT, objects=(ITEM,))
    backend = MujocoBackend(scene, len(MIXED), threads=1)
    ids = torch.arange(len(MIXED))
    backend.set_parameters(ids, parameters.Choices(scene).values(ids[:, None]))
    return backend


def test_types_and_collision_bits_are_the_same_in_every_environment(backend: MujocoBackend) -> None:
    import mujoco

    for name in ("geom_type", "geom_contype", "geom_conaffinity"):
        assert backend.batch.expanded(name) is None, name
    geoms = backend.model.geom_type[_geoms(backend)]
    kinds = mujoco.mjtGeom
    one_each = [kinds.mjGEOM_BOX, kinds.mjGEOM_SPHERE, kinds.mjGEOM_CYLINDER]
    assert geoms.tolist() == [*one_each, kinds.mjGEOM_MESH, kinds.mjGEOM_MESH]


@pytest.mark.parametrize("number", range(len(MIXED)))
def test_what_is_not_chosen_is_a_point_inside_of_what_is(backend: MujocoBackend, number: int) -> None:
    model, chosen = backend.batch.get_model(number), MIXED[number]
    geoms = _geoms(backend)
    used = model.geom_rbound[geoms] > 2 * TINY
    assert used.sum() == max(1, len(chosen.parts))
    hidden = geoms[~used]
    assert (np.abs(model.geom_aabb[hidden]) <= TINY * (1 + 1e-6)).all()
    assert len(np.unique(model.geom_pos[hidden], axis=0)) == 1
    parts = [trimesh.Trimesh(vertices=part).convex_hull for part in chosen.parts]
    parts = parts or [trimesh.creation.icosphere(radius=0.02)]  # inside of all the primitives
    point = model.geom_pos[hidden[0]]
    depth = [((part.triangles_center - point) * part.face_normals).sum(axis=1).min() for part in parts]
    assert max(depth) > 0.005


@pytest.mark.parametrize("item", MIXED, ids=lambda item: item.name)
def test_an_object_without_alternatives_has_no_geoms_but_its_own(item: ObjectSpec) -> None:
    model = MujocoBackend(Scene(ROBOT, objects=(replace(item, name="box"),)), 1, threads=1).model
    body = model.body("box")
    assert body.geomnum[0] == max(1, len(item.parts)) == model.ngeom - body.geomadr[0]
    assert model.nmesh == len(item.parts)


def _geoms(backend: MujocoBackend) -> np.ndarray:
    body = backend.model.body(BOX.name)
    return np.arange(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
