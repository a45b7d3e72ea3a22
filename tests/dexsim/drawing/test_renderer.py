import importlib.util
from dataclasses import replace
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from dexsim.backends import InitialState
from dexsim.backends.mujoco.backend import MujocoBackend
from dexsim.cameras.pinhole import Camera, View
from dexsim.drawing.marks import Segment, Sphere, draw_segments, draw_spheres
from dexsim.drawing.renderer import RayRenderer, save_png
from dexsim.drawing.video import record, tile
from dexsim.errors import UserError
from dexsim.parameters import Choices
from dexsim.robots import ROBOTS, load
from dexsim.robots.meshes import PACKAGE, find_meshes, require_meshes, visuals
from dexsim.scene import ObjectSpec, Scene
from tasks import make_env
from tests.dexsim.backends.scenes import MIXED

SIZE: Any = {"width": 160, "height": 120, "threads": 1}
BOX = ObjectSpec("box", "box", (0.2, 0.2, 0.2), 0.1, position=(0.4, 0.0, 0.1))


@pytest.fixture
def backend() -> MujocoBackend:
    """Two environments, the second with a box half as large; it stands in the middle of the table."""
    backend = MujocoBackend(Scene(load("gr1t2"), objects=(BOX,)), 2, threads=1)
    backend.set_parameters(torch.tensor([1]), {"object_size": torch.full((1, 3), 0.1, dtype=torch.float64)})
    place(backend, (0.4, 0.0, 0.1))
    return backend


@pytest.fixture(scope="module")
def env():
    sections: Any = {"task": {"name": "box_lift"}, "robot": {"name": "gr1t2"}, "backend": {"threads": 1}}
    env = make_env(**sections, num_envs=2)
    env.reset()
    return env


def place(backend, position) -> None:
    count, joints = backend.num_envs, backend.state.joint_position.shape[1]
    pose = torch.tensor([[*position, 1.0, 0.0, 0.0, 0.0]]).repeat(count, 1)[:, None]
    backend.reset(torch.arange(count), InitialState(torch.zeros(count, joints), torch.zeros(count, 26), pose))


def orange(image: np.ndarray) -> np.ndarray:
    """Pixels of the box's colour, in whatever light."""
    red, green, blue = np.moveaxis(image.astype(float), -1, 0)
    return (red > 1.25 * green) & (green > 1.35 * blue)


def pink(image: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(image.astype(float), -1, 0)
    return (red > 1.7 * green) & (blue > 1.05 * green)


def green(image: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(image.astype(float), -1, 0)
    return (green > 1.1 * red) & (green > 1.1 * blue)


@pytest.mark.parametrize("view", ["third_person", "front"])
def test_the_box_is_where_it_projects(backend, view):
    renderer = RayRenderer(backend, meshes=False, view=view, **SIZE)
    image = renderer.render()
    assert image.shape == (120, 160, 3)
    assert image.dtype == np.uint8
    ((column, row),), _ = renderer.camera.project(np.array([[0.4, 0.0, 0.1]]))
    rows, columns = np.nonzero(orange(image))
    assert len(rows) > 50
    assert np.hypot(rows.mean() - row, columns.mean() - column) < 4
    place(backend, (0.4, 0.3, 0.1))
    assert orange(renderer.render()).any()
    place(backend, (5.0, 9.0, -5.0))
    assert not orange(renderer.render()).any()


def test_each_environment_has_its_own_box(backend):
    renderer = RayRenderer(backend, env_id=1, meshes=False, **SIZE)
    small, large = orange(renderer.render()).sum(), orange(renderer.render(0)).sum()
    assert 0.15 * large < small < 0.35 * large
    assert orange(renderer.render()).sum() == small


def test_of_objects_with_a_choice_only_the_chosen_shape_is_seen():
    item, count = replace(MIXED[0], alternatives=MIXED[1:]), len(MIXED)
    mixed = MujocoBackend(Scene(load("gr1t2"), objects=(item,)), count, threads=1)
    mixed.set_parameters(torch.arange(count), Choices(mixed.scene).values(torch.arange(count)[:, None]))
    place(mixed, (0.4, 0.0, 0.1))
    renderer, seen = RayRenderer(mixed, meshes=False, **SIZE), []
    for number, each in enumerate(MIXED):
        alone = MujocoBackend(Scene(load("gr1t2"), objects=(each,)), 1, threads=1)
        place(alone, (0.4, 0.0, 0.1))
        seen.append(renderer.render(number))
        assert np.array_equal(seen[-1], RayRenderer(alone, meshes=False, **SIZE).render()), each.name
    assert len({image.tobytes() for image in seen}) == count


def test_rendering_changes_nothing_and_repeats_itself(backend):
    before = backend.get_state()["rows"]
    first, second = (RayRenderer(backend, meshes=False, **SIZE).render() for _ in range(2))
    three = RayRenderer(backend, meshes=False, width=160, height=120, threads=3).render()
    assert torch.equal(before, backend.get_state()["rows"])
    assert np.array_equal(first, second)
    assert np.array_equal(first, three)


def test_markers_and_goal_are_drawn(env):
    renderer = RayRenderer(env, meshes=False, width=320, height=240, view="third_person", threads=1)
    bare = RayRenderer(env.backend, meshes=False, width=320, height=240, view="third_person", threads=1).render()
    image = renderer.render()
    assert not pink(bare).any()
    assert pink(image).any()
    assert green(image).sum() > green(bare).sum() + 50
    markers = env.task.marker_positions(env.world)[0].numpy()
    pixels, _ = renderer.camera.project(markers)
    rows, columns = np.nonzero(pink(image))
    distance = np.hypot(columns[:, None] - pixels[:, 0], rows[:, None] - pixels[:, 1]).min(axis=1)
    assert distance.max() < 6


def test_a_mark_behind_something_is_faint():
    camera = Camera(View((2.0, 0.0, 0.0), (0.0, 0.0, 0.0)), 41, 41)
    sphere = Sphere((0.0, 0.0, 0.0), 0.2, (1.0, 0.0, 0.0, 1.0))
    line = Segment((0.0, -0.5, 0.3), (0.0, 0.5, 0.3), 3.0, (1.0, 0.0, 0.0, 1.0))
    strength = {}
    for depth in (10.0, 1.0):
        image, far = np.ones((41, 41, 3), dtype=np.float32), np.full((41, 41), depth)
        draw_spheres(image, far, camera, (sphere,))
        assert image[0, 0].tolist() == [1, 1, 1]
        strength[depth] = [1 - image[20, 20, 1]]
        draw_segments(image, far, camera, (line,))
        strength[depth].append(1 - image[:20, 20, 1].min())
    for hidden, seen in zip(strength[1.0], strength[10.0], strict=True):
        assert 0.05 < hidden < 0.4 < seen


def test_unknown_views_and_meshes_are_refused(backend):
    with pytest.raises(UserError, match=r"no view named 'frnt'.*did you mean 'front'"):
        RayRenderer(backend, meshes=False, view="frnt")
    with pytest.raises(UserError, match="meshes = 'yes'"):
        RayRenderer(backend, meshes="yes")


def test_meshes_that_are_not_installed(backend, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == PACKAGE else find(name, *a))
    with pytest.raises(UserError, match=r"dexsim\[meshes\]"):
        require_meshes()
    with pytest.raises(UserError, match=r"dexsim\[meshes\]"):
        RayRenderer(backend, meshes=True)
    assert RayRenderer(backend, meshes="auto", **SIZE).meshes is None


@pytest.mark.parametrize("name", ROBOTS)
def test_meshes_are_drawn_and_change_no_physics(name):
    folder = find_meshes()
    if folder is None:
        pytest.skip("fourier-robot-descriptions is not installed")
    from dexsim.backends.mujoco.model import build_spec

    scene = Scene(load(name))
    plain, drawn = build_spec(scene).compile(), build_spec(scene, folder).compile()
    found = visuals(scene.robot, folder)
    assert drawn.ngeom == plain.ngeom + len(found)
    assert len(found) > 40
    for field in ("body_mass", "body_inertia", "body_ipos", "dof_M0", "actuator_gainprm"):
        assert np.array_equal(getattr(plain, field), getattr(drawn, field)), field
    new = [drawn.geom(i) for i in range(drawn.ngeom) if "_mesh_" in drawn.geom(i).name]
    assert all(geom.contype == 0 and geom.conaffinity == 0 for geom in new)
    palm = next(v for v in found if v.link == "L_hand_base_link")
    assert (palm.quat == (1.0, 0.0, 0.0, 0.0)) == (name == "gr1t2")

    backend = MujocoBackend(scene, 1, threads=1)
    pictures = [RayRenderer(backend, meshes=on, **SIZE).render().astype(int) for on in (False, True)]
    assert np.abs(pictures[0] - pictures[1]).max(axis=-1).mean() > 5


def test_a_video_has_the_right_pictures(env, tmp_path):
    seen = []

    def policy(obs: torch.Tensor) -> torch.Tensor:
        seen.append(obs.shape)
        return torch.zeros(len(obs), env.num_actions)

    options: Any = {"meshes": False, "antialias": False, "shadows": False, **SIZE}
    path = record(
        env, policy, tmp_path / "video.mp4", seconds=0.5, fps=2 * env.control.policy_hz, env_ids=(0, 1), **options
    )
    steps = round(0.5 * env.control.policy_hz)
    frames = list(iio.imiter(path))
    assert len(frames) == 2 * steps
    assert frames[0].shape == (120, 320, 3)
    assert seen == [(2, env.num_obs)] * steps
    assert [p.name for p in tmp_path.iterdir()] == ["video.mp4"]
    with pytest.raises(UserError, match="a multiple of the policy's"):
        record(env, policy, tmp_path / "odd.mp4", fps=1.5 * env.control.policy_hz)


def test_save_png_and_tile(tmp_path):
    images = [np.full((4, 6, 3), value, dtype=np.uint8) for value in (10, 20, 30)]
    grid = tile(images)
    assert grid.shape == (8, 12, 3)
    assert [int(grid[r, c, 0]) for r, c in ((0, 0), (0, 6), (4, 0), (4, 6))] == [10, 20, 30, 128]
    assert np.array_equal(iio.imread(save_png(tmp_path / "a.png", grid)), grid)
