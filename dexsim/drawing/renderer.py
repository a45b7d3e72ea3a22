"""Pictures and videos by ray casting on the CPU: no graphics driver, no display.

MuJoCo finds what each pixel's ray meets, the light is ours (`dexsim.drawing.shading`). Goals and contact markers are
laid over the picture and shine faintly through what is in front of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dexsim.backends.mujoco.object_fields import ObjectGeoms
from dexsim.cameras.pinhole import Camera, View
from dexsim.drawing import marks, shading
from dexsim.drawing.marks import Sphere
from dexsim.drawing.scenery import (
    FLOOR,
    MARKER_COLOR,
    MARKER_RADIUS,
    Frame,
    drawable_model,
    find_folder,
    find_view,
    outline,
)
from dexsim.files import atomic_path

if TYPE_CHECKING:
    from dexsim.backends import Backend
    from dexsim.env.env import Env

SHADOW_STEP = 2  # a shadow ray for every so many pixels
FLOOR_ID, SKY_ID = -2, -1  # what a ray meets, besides geoms


class RayRenderer:
    """Draws the environments of a backend, each with its own objects; for an `Env` also its goal and markers.

    Args:
        source: an environment or a backend.
        env_id: which copy `render` draws if not told otherwise.
        width: pixels.
        height: pixels.
        meshes: the vendor's meshes: True (UserError where not installed), False or "auto", for where they are.
        view: a camera, or the name of one of `VIEWS`.
        antialias: cast four rays where edges are.
        shadows: cast shadows.
        threads: that share the rays, 0 for one a core.
    """

    def __init__(
        self,
        source: Env | Backend,
        env_id: int = 0,
        width: int = 640,
        height: int = 480,
        meshes: bool | str = "auto",
        view: str | View = "third_person",
        antialias: bool = True,
        shadows: bool = True,
        threads: int = 0,
    ) -> None:
        import mujoco
        from mujoco.batch import Batch

        self.env: Any | None = source if hasattr(source, "backend") else None
        self.backend: Any = self.env.backend if self.env else source
        self.env_id, self.antialias, self.shadows = env_id, antialias, shadows
        self.objects = self.backend.scene.objects
        self.camera = Camera(find_view(view), width, height)
        self.meshes = find_folder(meshes)
        model = drawable_model(self.backend.scene, self.meshes)
        self._colors = shading.decode(model.geom_rgba[:, :3])
        self._flat = model.geom_type != mujoco.mjtGeom.mjGEOM_MESH
        copies = threads or os.cpu_count() or 1
        self._batch = Batch(model, copies, copies)
        self._qpos = self._batch.bind("qpos")
        self._object_geoms = ObjectGeoms(model, self._batch, self.objects)

    def render(self, env_id: int | None = None) -> np.ndarray:
        """Draw an environment as it is now, (height, width, 3) uint8."""
        return self.draw(self.frame(self.env_id if env_id is None else env_id))

    def frame(self, env_id: int) -> Frame:
        """What is to be drawn of an environment now; keeps no view of it."""
        state = self.backend.state
        pose = state.object_pose[env_id].numpy()
        qpos = np.concatenate([state.joint_position[env_id].numpy(), pose.ravel()])
        values = self.env.world.parameters if self.env else self.backend.values
        sizes = values["object_size"][env_id].numpy().reshape(len(self.objects), 3).copy()
        choices = values["object_choice"][env_id].numpy().copy()
        if self.env is None:
            return Frame(qpos, sizes, choices)
        world, points = self.env.world, self.env.task.marker_positions(self.env.world)[env_id].tolist()
        goal, turn = world.goal[env_id].numpy(), world.initial_object[env_id, 0, 3:].numpy()
        spheres = tuple(Sphere((x, y, z), MARKER_RADIUS, MARKER_COLOR) for x, y, z in points)
        return Frame(qpos, sizes, choices, spheres, outline(goal, turn, sizes[0]))

    def draw(self, frame: Frame) -> np.ndarray:
        """Draw a frame, (height, width, 3) uint8."""
        self._place(frame)
        shape = (self.camera.height, self.camera.width)
        rays = self.camera.pixel_rays
        ids, depth, normal = self._cast(rays)
        sunlight = self._sunlight(rays, ids, depth, normal) if self.shadows else np.ones(len(ids), dtype=np.float32)
        image = self._light(rays, ids, depth, normal, sunlight)
        if self.antialias:
            # Faces of a mesh are too small to look for edges between them.
            flat = (ids >= 0) & self._flat[ids]
            edges = shading.find_edges(ids.reshape(shape), normal.reshape(*shape, 3), flat.reshape(shape))
            self._smooth(image, edges, sunlight)
        image = image.reshape(*shape, 3)
        depth = depth.reshape(shape)
        marks.draw_segments(image, depth, self.camera, frame.segments)
        marks.draw_spheres(image, depth, self.camera, frame.spheres)
        return shading.encode(image)

    def _place(self, frame: Frame) -> None:
        self._qpos[:] = frame.qpos
        copies = self._batch.nsim
        choice, size = (np.repeat(values[None], copies, axis=0) for values in (frame.choices, frame.sizes))
        self._object_geoms.apply(np.arange(copies), choice, size, np.ones(choice.shape))

    def _trace(self, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distance, geom and normal where rays (n, 3) meet one, shared out among identical copies of the scene."""
        copies, count = self._batch.nsim, len(rays)
        pad = ((0, -count % copies), (0, 0))
        starts, rays = (np.pad(x, pad, mode="edge").reshape(copies, -1, 3) for x in (origin, rays))
        distance, geom, normal = self._batch.ray(starts, rays, normal=True)
        return distance.reshape(-1)[:count], geom.reshape(-1)[:count], normal.reshape(-1, 3)[:count]

    def _cast(self, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What rays (n, 3) meet: geom, `FLOOR_ID` or `SKY_ID`; how far; the normal there."""
        distance, geom, normal = self._trace(np.broadcast_to(self.camera.origin, rays.shape), rays)
        ids, depth = geom.astype(np.int32), np.where(geom >= 0, distance, np.inf)
        down = (ids < 0) & (rays[:, 2] < -1e-6)
        ids[down], normal[down] = FLOOR_ID, (0.0, 0.0, 1.0)
        depth[down] = (FLOOR - self.camera.origin[2]) / rays[down, 2]
        # Meshes are shells: a face may be met from behind.
        normal[np.einsum("ij,ij->i", normal, rays) > 0] *= -1.0
        return ids, depth.astype(np.float32), normal.astype(np.float32)

    def _sunlight(self, rays: np.ndarray, ids: np.ndarray, depth: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Share of the sun that reaches each pixel, (n,)."""
        shape, step = (self.camera.height, self.camera.width), SHADOW_STEP
        pick = np.arange(len(ids)).reshape(shape)[::step, ::step]
        some = pick.ravel()
        facing = (ids[some] != SKY_ID) & (normal[some] @ shading.SUN > 0) & (depth[some] < 6.0)
        lit = some[facing]
        points = self.camera.origin + rays[lit] * depth[lit, None] + normal[lit] * 2e-3
        light = np.ones(len(some), dtype=np.float32)
        light[facing] = self._trace(points, np.broadcast_to(shading.SUN, points.shape))[1] < 0
        return shading.upsample(light.reshape(pick.shape), ids.reshape(shape), step).ravel()

    def _light(
        self, rays: np.ndarray, ids: np.ndarray, depth: np.ndarray, normal: np.ndarray, sunlight: np.ndarray
    ) -> np.ndarray:
        """Linear colours (n, 3)."""
        rays = rays.astype(np.float32)
        image = shading.sky(rays)
        hit, floor = ids >= 0, ids == FLOOR_ID
        image[hit] = shading.shade(self._colors[ids[hit]], normal[hit], rays[hit], sunlight[hit])
        point = self.camera.origin.astype(np.float32) + rays[floor] * depth[floor, None]
        matte = shading.shade(shading.floor_color(point), normal[floor], rays[floor], sunlight[floor])
        image[floor] = shading.fade(matte, point)
        return image

    def _smooth(self, image: np.ndarray, edges: np.ndarray, sunlight: np.ndarray) -> None:
        """Replace the pixels at edges (H, W) by the mean of four rays each."""
        rows, columns = np.nonzero(edges)
        index = rows * self.camera.width + columns
        corners = [(x, y) for x in (0.25, 0.75) for y in (0.25, 0.75)]
        rays = np.concatenate([self.camera.rays(columns + x, rows + y) for x, y in corners])
        colors = self._light(rays, *self._cast(rays), np.tile(sunlight[index], 4))
        image[index] = colors.reshape(4, -1, 3).mean(axis=0)


def save_png(path: str | Path, image: np.ndarray) -> Path:
    """Write a picture (height, width, 3) uint8."""
    import imageio.v3 as iio

    with atomic_path(path) as temporary:
        iio.imwrite(temporary, image)
    return Path(path)
