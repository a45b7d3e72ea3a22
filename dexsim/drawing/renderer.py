"""Pictures and videos by ray casting on the CPU: no graphics driver, no display.

MuJoCo finds what each pixel's ray meets, the light is ours (`dexsim.drawing.shading`). Goals and contact markers are
laid over the picture and shine faintly through what is in front of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dexsim.backends.mujoco.object_fields import ObjectGeoms
from dexsim.drawing import shading as imaging
from dexsim.drawing.scenery import (
    FLOOR,
    MARKER_COLOR,
    MARKER_RADIUS,
    Frame,
    drawable_model,
    find_folder,
    find_view,
    interpolate,
    outline,
)
from dexsim.drawing.shading import Camera, Sphere, View
from dexsim.errors import require
from dexsim.runs import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

    from dexsim.backends import Backend
    from dexsim.env.env import Env

SHADOW_STEP = 2  # a shadow ray for every so many pixels
FLOOR_ID, SKY_ID = -2, -1  # what a ray meets, besides geoms
CRF = "18"  # x264's constant quality: visually lossless


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
        self._colors = imaging.decode(model.geom_rgba[:, :3])
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
            edges = imaging.find_edges(ids.reshape(shape), normal.reshape(*shape, 3), flat.reshape(shape))
            self._smooth(image, edges, sunlight)
        image = image.reshape(*shape, 3)
        depth = depth.reshape(shape)
        imaging.draw_segments(image, depth, self.camera, frame.segments)
        imaging.draw_spheres(image, depth, self.camera, frame.spheres)
        return imaging.encode(image)

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
        facing = (ids[some] != SKY_ID) & (normal[some] @ imaging.SUN > 0) & (depth[some] < 6.0)
        lit = some[facing]
        points = self.camera.origin + rays[lit] * depth[lit, None] + normal[lit] * 2e-3
        light = np.ones(len(some), dtype=np.float32)
        light[facing] = self._trace(points, np.broadcast_to(imaging.SUN, points.shape))[1] < 0
        return imaging.upsample(light.reshape(pick.shape), ids.reshape(shape), step).ravel()

    def _light(
        self, rays: np.ndarray, ids: np.ndarray, depth: np.ndarray, normal: np.ndarray, sunlight: np.ndarray
    ) -> np.ndarray:
        """Linear colours (n, 3)."""
        rays = rays.astype(np.float32)
        image = imaging.sky(rays)
        hit, floor = ids >= 0, ids == FLOOR_ID
        image[hit] = imaging.shade(self._colors[ids[hit]], normal[hit], rays[hit], sunlight[hit])
        point = self.camera.origin.astype(np.float32) + rays[floor] * depth[floor, None]
        matte = imaging.shade(imaging.floor_color(point), normal[floor], rays[floor], sunlight[floor])
        image[floor] = imaging.fade(matte, point)
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


def record(
    env: Env,
    policy: Callable[[Tensor], Tensor],
    path: str | Path,
    seconds: float = 5.0,
    fps: float | None = None,
    env_ids: Sequence[int] = (0,),
    **options: Any,
) -> Path:
    """Reset an environment, let a policy act and write what some of its copies do as an mp4, tiled.

    Args:
        env: the environment; it is reset first, and goes on from episode to episode.
        policy: observations (N, num_obs) -> actions (N, num_actions).
        path: of the video.
        seconds: of simulated time.
        fps: pictures a second, a multiple of the policy's rate; None for that rate. Pictures between policy steps are
            interpolated.
        env_ids: the copies to show.
        options: of `RayRenderer`: width, height (of a tile), view, meshes ...
    """
    import imageio
    import torch

    rate = fps or env.control.policy_hz
    steps = round(rate / env.control.policy_hz)
    require(
        steps >= 1 and abs(rate - steps * env.control.policy_hz) < 1e-6,
        "fps", rate, f"a multiple of the policy's {env.control.policy_hz:g} Hz",
    )  # fmt: skip
    renderer = RayRenderer(env, **options)
    with atomic_path(path) as temporary, torch.inference_mode():
        writer = imageio.get_writer(
            temporary, fps=rate, codec="libx264", quality=None, macro_block_size=2, ffmpeg_params=["-crf", CRF]
        )
        with writer:
            obs = env.reset()["obs"]
            before = [renderer.frame(i) for i in env_ids]
            for _ in range(round(seconds * env.control.policy_hz)):
                captions = [_caption(env, i) for i in env_ids]
                result = env.step(policy(obs))
                obs = result.obs["obs"]
                after = [renderer.frame(i) for i in env_ids]
                ended = (result.terminated | result.truncated)[list(env_ids)].tolist()
                for k in range(steps):
                    frames = [
                        interpolate(a, a if end else b, k / steps)
                        for a, b, end in zip(before, after, ended, strict=True)
                    ]
                    tiles = [
                        _write_on(renderer.draw(frame), text) for frame, text in zip(frames, captions, strict=True)
                    ]
                    writer.append_data(tile(tiles))
                before = after
    return Path(path)


def _caption(env: Env, env_id: int) -> str:
    """Which copy, the time in its episode and the stages that it is in."""
    stages = [name.replace("_", " ") for name, now in env.task.stages(env.world).items() if bool(now[env_id])]
    return f"#{env_id}  {float(env.world.step[env_id]) * env.dt:.1f} s  {', '.join(stages)}"


def _write_on(image: np.ndarray, text: str) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(image)
    font = ImageFont.load_default(size=max(10, image.shape[0] // 26))
    ImageDraw.Draw(picture).text((8, 6), text, fill=(20, 24, 30), font=font)
    return np.asarray(picture)


def tile(images: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures (n) of one size (height, width, 3) side by side in a grid, row by row; what is left over is grey."""
    columns = int(np.ceil(np.sqrt(len(images))))
    rows = int(np.ceil(len(images) / columns))
    height, width, _ = images[0].shape
    grid = np.full((rows * height, columns * width, 3), 128, dtype=np.uint8)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        grid[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    return grid
