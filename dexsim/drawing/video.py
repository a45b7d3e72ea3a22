"""Videos of a policy at work: several copies side by side, with what they have reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from dexsim.env.env import Env

from dexsim.drawing.renderer import RayRenderer
from dexsim.drawing.scenery import interpolate
from dexsim.errors import require
from dexsim.files import atomic_path

CRF = "18"  # x264's constant quality: visually lossless


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
