"""Exponential and logarithm of motions against scipy, everywhere from no turn to a half turn."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm, logm
from scipy.spatial.transform import Rotation
from torch import Tensor

from nerfseg_plugins.inerf.se3 import exp_se3, exp_so3, log_se3, log_so3, orthonormal, skew

ANGLES = [0.0, 1e-9, 1e-5, 0.99e-4, 1.01e-4, 1e-3, 0.1, 1.0, 3.0, np.pi - 1e-5, np.pi]


def rotation_vectors(angle: float) -> np.ndarray:
    """(9, 3) of one length: along the axes, and anywhere."""
    axes = np.vstack([np.eye(3), -np.eye(3), np.random.default_rng(0).normal(size=(3, 3))])
    return angle * axes / np.linalg.norm(axes, axis=-1, keepdims=True)


def twists(angle: float) -> Tensor:
    """(9, 6) float64."""
    velocity = np.random.default_rng(1).normal(size=(9, 3))
    return torch.from_numpy(np.hstack([velocity, rotation_vectors(angle)]))


def generator(twist: np.ndarray) -> np.ndarray:
    """(4, 4) matrix of a twist (v, omega)."""
    v, (x, y, z) = twist[:3], twist[3:]
    return np.array([[0, -z, y, v[0]], [z, 0, -x, v[1]], [-y, x, 0, v[2]], [0, 0, 0, 0]])


def test_skew_is_the_cross_product():
    a, b = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close((skew(a) @ b[..., None])[..., 0], torch.linalg.cross(a, b))


@pytest.mark.parametrize("angle", [*ANGLES, 2 * np.pi, 10.0])
def test_exponentials_are_scipys(angle: float):
    omega = rotation_vectors(angle)
    expected = Rotation.from_rotvec(omega).as_matrix()
    np.testing.assert_allclose(exp_so3(torch.from_numpy(omega)), expected, atol=1e-14)
    np.testing.assert_allclose(exp_so3(torch.from_numpy(omega).float()), expected, atol=2e-6)
    moving = twists(angle)
    motions = np.stack([expm(generator(twist))[:3] for twist in moving.numpy()])
    # (t - sin t)/t^3 loses digits to cancellation where t is small; its part of the motion is t^2 of that.
    np.testing.assert_allclose(exp_se3(moving), motions, atol=1e-11)
    np.testing.assert_allclose(exp_se3(moving.float()), motions, atol=5e-6)


@pytest.mark.parametrize("angle", ANGLES[:-1])
def test_logarithms_are_scipys(angle: float):
    omega = rotation_vectors(angle)
    matrices = Rotation.from_rotvec(omega).as_matrix()
    np.testing.assert_allclose(log_so3(torch.from_numpy(matrices)), omega, atol=1e-13)
    single = log_so3(torch.from_numpy(matrices).float()).numpy()
    # Near half turns rounding may cross over to the opposite axis.
    nearest = np.where(np.sum(single * omega, axis=-1, keepdims=True) < 0, -single, single)
    np.testing.assert_allclose(nearest, omega, atol=2e-6)
    if angle < 3.1:  # beyond, logm takes the square root of a matrix that nearly has none
        motion = np.concatenate([matrices, np.random.default_rng(2).normal(size=(9, 3, 1))], axis=-1)
        square = np.concatenate([motion, np.broadcast_to([[[0.0, 0, 0, 1]]], (9, 1, 4))], axis=1)
        expected = np.stack([logm(matrix).real for matrix in square])
        found = log_se3(torch.from_numpy(motion))
        np.testing.assert_allclose(found[:, :3], expected[:, :3, 3], atol=1e-8)
        np.testing.assert_allclose(found[:, 3:], omega, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_half_turns_have_a_logarithm(dtype: torch.dtype):
    """A half turn about an axis is one about the opposite axis; either is right."""
    omega = rotation_vectors(np.pi)
    axis = omega / np.pi
    matrices = 2 * axis[:, :, None] * axis[:, None] - np.eye(3)
    found = log_so3(torch.from_numpy(matrices).to(dtype)).double().numpy()
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), np.pi, atol=2 * tolerance)
    np.testing.assert_allclose(np.abs(np.sum(found * axis, axis=-1)), np.pi, atol=2 * tolerance)


@pytest.mark.parametrize("angle", ANGLES)
def test_logarithms_invert_exponentials(angle: float):
    motions = exp_se3(twists(angle))
    torch.testing.assert_close(exp_se3(log_se3(motions)), motions, atol=1e-9, rtol=0)
    torch.testing.assert_close(exp_so3(log_so3(motions[..., :3])), motions[..., :3], atol=1e-13, rtol=0)


def test_batches_of_any_shape():
    moving = twists(1.0)[:6].view(2, 3, 6)
    assert exp_se3(moving).shape == (2, 3, 3, 4) and log_se3(exp_se3(moving)).shape == (2, 3, 6)
    torch.testing.assert_close(exp_se3(moving)[1, 2], exp_se3(moving[1, 2]))
    motion = torch.eye(4)
    motion[:3] = exp_se3(moving[0, 0]).float()
    torch.testing.assert_close(log_se3(motion), moving[0, 0].float(), atol=1e-5, rtol=0)  # a 4x4 matrix as well


@pytest.mark.parametrize("angle", [0.0, 1e-6, 3e-4, 0.5, 3.0])
def test_derivatives(angle: float):
    """By finite differences; at zero, too, where closed forms divide by zero."""
    moving = twists(angle).requires_grad_()
    assert torch.autograd.gradcheck(exp_se3, (moving,), atol=1e-6)
    assert torch.autograd.gradcheck(exp_so3, (moving.detach()[:, 3:].requires_grad_(),), atol=1e-6)
    motions = exp_se3(twists(angle)).requires_grad_()
    (slope,) = torch.autograd.grad(log_se3(motions).sum(), motions)
    assert bool(slope.isfinite().all())


def test_the_derivative_at_zero_is_the_generator():
    (*columns,) = torch.autograd.functional.jacobian(exp_se3, torch.zeros(6, dtype=torch.float64)).unbind(-1)
    for k, column in enumerate(columns):
        np.testing.assert_array_equal(column, generator(np.eye(6)[k])[:3])


@pytest.mark.parametrize("angle", [0.1, 1.0, 2.5])
def test_a_logarithm_can_be_differentiated(angle: float):
    """Through the twist, as a rotation matrix has no free entries."""
    moving = twists(angle).requires_grad_()
    assert torch.autograd.gradcheck(lambda twist: log_se3(exp_se3(twist)), (moving,), atol=1e-6)


def test_worn_rotations_are_mended():
    exact = exp_se3(twists(2.0))
    worn = exact + 1e-3 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mended = orthonormal(worn)
    torch.testing.assert_close(mended[..., 3], worn[..., 3])
    eye = torch.eye(3, dtype=torch.float64).expand(9, 3, 3)
    torch.testing.assert_close(mended[..., :3] @ mended[..., :3].transpose(-1, -2), eye, atol=1e-13, rtol=0)
    assert bool((torch.det(mended[..., :3]) > 0).all())
    expected = Rotation.from_matrix(worn[..., :3].numpy()).as_matrix()
    np.testing.assert_allclose(mended[..., :3], expected, atol=1e-5)
    torch.testing.assert_close(orthonormal(exact), exact, atol=1e-13, rtol=0)


def test_a_mirror_becomes_a_rotation():
    """The nearest rotation to diag(1, 1, -0.1) flips the axis that is shortest (Umeyama 1991)."""
    mirror = torch.cat([torch.diag(torch.tensor([1.0, 1.0, -0.1])), torch.ones(3, 1)], dim=-1)
    torch.testing.assert_close(orthonormal(mirror)[:, :3], torch.eye(3), atol=1e-6, rtol=0)
