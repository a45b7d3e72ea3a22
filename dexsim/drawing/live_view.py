"""Draws the running simulation in a browser: a viser scene whose frames follow the robot's links and the objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dexsim.drawing.parts import COLORS, SEGMENTS, surfaces
from dexsim.drawing.scenery import drawable_model, find_folder
from dexsim.env.env import Env

if TYPE_CHECKING:
    from mujoco import MjModel

MOVED = 1e-4  # what has moved less is not sent again; m, and as a change of a quaternion


class LiveView:
    """Robot, table and objects of an environment's first copy.

    Args:
        scene: viser's scene.
        env: the environment.
        meshes: the vendor's meshes: True (UserError where not installed), False or "auto", for where they are.
    """

    def __init__(self, scene: Any, env: Env, meshes: bool | str) -> None:
        import mujoco

        self._scene, self._env = scene, env
        self._model = drawable_model(env.backend.scene, find_folder(meshes))
        self._data = mujoco.MjData(self._model)
        self._objects: list[Any] = []
        self._sent: dict[str, np.ndarray] = {}
        self._frames: dict[int, Any] = {}
        objects = {item.name for item in env.backend.scene.objects}
        for body in range(self._model.nbody):
            name = self._model.body(body).name
            if name not in objects:
                self._add_body(body, f"/{name}")
        self.redraw_objects()

    def redraw_objects(self) -> None:
        """Draw what lies on the table now: another start may have brought another object."""
        for handle in self._objects:
            handle.remove()
        self._objects, values = [], self._env.world.parameters
        sizes = values["object_size"][0].numpy().reshape(-1, 3)
        numbers = values["object_choice"][0].long().tolist()
        for item, number, size in zip(self._env.backend.scene.objects, numbers, sizes, strict=True):
            name = f"/objects/{item.name}"
            frame = self._scene.add_frame(name, show_axes=False)
            shown = surfaces(item.choices[number], size)
            for part, (vertices, faces) in enumerate(shown):  # each in a colour of its own, where there are several
                color = np.array(item.rgba if len(shown) == 1 else COLORS[part % len(COLORS)])
                self._add_surface(f"{name}/{part}", vertices, faces, color)
            self._objects.append(frame)
            self._sent.pop(name, None)
        self.update()

    def update(self) -> None:
        """Send what has moved."""
        import mujoco

        state = self._env.backend.state
        self._data.qpos[:] = np.concatenate([state.joint_position[0].numpy(), state.object_pose[0].numpy().ravel()])
        mujoco.mj_kinematics(self._model, self._data)
        for body, frame in self._frames.items():
            self._move(frame, np.concatenate([self._data.xpos[body], self._data.xquat[body]]))
        for frame, pose in zip(self._objects, state.object_pose[0].numpy(), strict=True):
            self._move(frame, pose)

    def _move(self, frame: Any, pose: np.ndarray) -> None:
        last = self._sent.get(frame.name)
        if last is None or np.abs(pose - last).max() > MOVED:
            frame.position, frame.wxyz = pose[:3], pose[3:]
            self._sent[frame.name] = pose.copy()

    def _add_body(self, body: int, name: str) -> None:
        model = self._model
        first = model.body_geomadr[body]
        geoms = [g for g in range(first, first + model.body_geomnum[body]) if model.geom_rgba[g, 3] > 0]
        if not geoms:
            return
        self._frames[body] = self._scene.add_frame(name, show_axes=False)
        for geom in geoms:
            place = model.geom_pos[geom], model.geom_quat[geom]
            self._add_surface(f"{name}/{geom}", *_geom_surface(model, geom), model.geom_rgba[geom], *place)

    def _add_surface(
        self,
        name: str,
        vertices: np.ndarray,
        faces: np.ndarray,
        rgba: np.ndarray,
        position: Sequence[float] = (0.0, 0.0, 0.0),
        wxyz: Sequence[float] = (1.0, 0.0, 0.0, 0.0),
    ) -> None:
        color = tuple(round(255 * float(part)) for part in rgba[:3])
        self._scene.add_mesh_simple(
            name, vertices, faces, color=color, flat_shading=len(faces) < 1000, position=position, wxyz=wxyz
        )


def _geom_surface(model: MjModel, geom: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in the geom's frame and faces (F, 3)."""
    import mujoco
    import trimesh

    kinds, kind, size = mujoco.mjtGeom, model.geom_type[geom], model.geom_size[geom]
    if kind == kinds.mjGEOM_MESH:
        mesh = model.mesh(model.geom_dataid[geom])
        vertices, faces = mesh.vertadr[0], mesh.faceadr[0]
        return (
            model.mesh_vert[vertices : vertices + mesh.vertnum[0]],
            model.mesh_face[faces : faces + mesh.facenum[0]],
        )
    if kind == kinds.mjGEOM_CAPSULE:
        shape = trimesh.creation.capsule(height=2 * size[1], radius=size[0], count=[SEGMENTS, SEGMENTS])
        shape.apply_translation([0, 0, -shape.bounds.mean(axis=0)[2]])
    elif kind == kinds.mjGEOM_CYLINDER:
        shape = trimesh.creation.cylinder(radius=size[0], height=2 * size[1], sections=SEGMENTS)
    elif kind == kinds.mjGEOM_SPHERE:
        shape = trimesh.creation.icosphere(subdivisions=2, radius=size[0])
    else:
        shape = trimesh.creation.box(extents=2 * size)
    return np.asarray(shape.vertices), np.asarray(shape.faces)
