import mujoco
import numpy as np
import pytest
import torch

from dexsim.rotations import quat_from_rpy, quat_from_yaw, quat_multiply, quat_rotate, tilt_cosine

random = np.random.default_rng(0)
QUATS = random.normal(size=(2, 50, 4))
QUATS /= np.linalg.norm(QUATS, axis=-1, keepdims=True)
VECTORS = random.normal(size=(50, 3))


def by_mujoco(function, size, *arguments):
    """A MuJoCo function of single arrays, over their rows."""
    rows = []
    for row in zip(*arguments, strict=True):
        result = np.zeros(size)
        function(result, *row)
        rows.append(result)
    return np.array(rows)


@pytest.fixture(params=["numpy", "torch"])
def array(request):
    """Makes the kind of array that a case is about."""
    return torch.from_numpy if request.param == "torch" else np.array


def test_multiply(array):
    product = quat_multiply(array(QUATS[0]), array(QUATS[1]))
    assert type(product) is type(array(QUATS[0]))
    assert np.allclose(np.asarray(product), by_mujoco(mujoco.mju_mulQuat, 4, *QUATS))


def test_rotate(array):
    rotated = np.asarray(quat_rotate(array(QUATS[0]), array(VECTORS)))
    assert np.allclose(rotated, by_mujoco(lambda r, v, q: mujoco.mju_rotVecQuat(r, v, q), 3, VECTORS, QUATS[0]))
    assert np.allclose(np.linalg.norm(rotated, axis=1), np.linalg.norm(VECTORS, axis=1))


def test_rotate_broadcasts_over_leading_axes(array):
    one, many = array(QUATS[0][:1]), array(VECTORS)
    rotated = np.asarray(quat_rotate(one, many))
    assert np.allclose(rotated, np.asarray(quat_rotate(array(np.repeat(QUATS[0][:1], 50, axis=0)), many)))


def test_rotating_by_a_product_is_rotating_twice(array):
    a, b, v = array(QUATS[0]), array(QUATS[1]), array(VECTORS)
    once, twice = quat_rotate(quat_multiply(a, b), v), quat_rotate(a, quat_rotate(b, v))
    assert np.allclose(np.asarray(once), np.asarray(twice))


def test_roll_pitch_yaw_are_about_fixed_axes():
    for rpy in random.uniform(-3, 3, size=(20, 3)):
        expected = np.zeros(4)
        mujoco.mju_euler2Quat(expected, rpy, "XYZ")
        assert np.allclose(quat_from_rpy(rpy), expected)
    assert np.allclose(quat_rotate(quat_from_rpy((np.pi / 2, 0.0, np.pi / 2)), np.array([0.0, 1.0, 0.0])), [0, 0, 1])


def test_yaw(array):
    yaw = random.uniform(-3, 3, size=7)
    assert np.allclose(np.asarray(quat_from_yaw(array(yaw))), [quat_from_rpy((0, 0, y)) for y in yaw])


def test_tilt(array):
    up = quat_rotate(QUATS[0], np.tile([0.0, 0.0, 1.0], (50, 1)))
    assert np.allclose(np.asarray(tilt_cosine(array(QUATS[0]))), up[:, 2])
    assert np.asarray(tilt_cosine(array(quat_from_yaw(np.array([2.0]))))) == pytest.approx(1.0)
