"""Rotations and rigid motions: exponential and logarithm, in batches and differentiable at zero.

A twist is (v, omega): a velocity in units of length and a rotation vector in radians. Formulas as in Murray, Li and
Sastry, A Mathematical Introduction to Robotic Manipulation, 1994, chapter 2.
"""

import torch
from torch import Tensor

_SMALL = 1e-4
"""Angle below which Taylor series stand in for the closed forms, whose error in float32 would be larger."""


def skew(vectors: Tensor) -> Tensor:
    """Cross-product matrices (..., 3, 3) of vectors (..., 3): skew(a) @ b = a x b."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def exp_so3(omega: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3), radians."""
    a, b, _ = _coefficients(omega)
    generator = skew(omega)
    return torch.eye(3, dtype=omega.dtype, device=omega.device) + a * generator + b * generator @ generator


def exp_se3(twist: Tensor) -> Tensor:
    """Rigid motions (..., 3, 4) of twists (..., 6)."""
    velocity, omega = twist.split(3, dim=-1)
    a, b, c = _coefficients(omega)
    generator = skew(omega)
    square = generator @ generator
    eye = torch.eye(3, dtype=twist.dtype, device=twist.device)
    translation = (eye + b * generator + c * square) @ velocity[..., None]
    return torch.cat([eye + a * generator + b * square, translation], dim=-1)


def log_so3(rotations: Tensor) -> Tensor:
    """Rotation vectors (..., 3), radians, of length at most pi, of rotation matrices (..., 3, 3).

    By way of unit quaternions, which stay accurate at half turns, where the matrix's skew part vanishes.
    """
    quaternion = _quaternions(rotations)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    sine = imaginary.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, real)
    return imaginary * torch.where(sine < _SMALL, 2 / real.clamp_min(0.5), angle / sine.clamp_min(_SMALL))


def log_se3(motions: Tensor) -> Tensor:
    """Twists (..., 6) of rigid motions (..., 3, 4) or (..., 4, 4)."""
    omega = log_so3(motions[..., :3, :3])
    _, b, c = _coefficients(omega)
    generator = skew(omega)
    eye = torch.eye(3, dtype=motions.dtype, device=motions.device)
    left = eye + b * generator + c * generator @ generator
    velocity = torch.linalg.solve(left, motions[..., :3, 3])
    return torch.cat([velocity, omega], dim=-1)


def orthonormal(c2w: Tensor) -> Tensor:
    """Poses (..., 3, 4) with the nearest rotation in place of one that rounding has worn."""
    u, _, v = torch.linalg.svd(c2w[..., :3])
    sign = torch.det(u @ v)[..., None]
    u = torch.cat([u[..., :2], u[..., 2:] * sign[..., None]], dim=-1)
    return torch.cat([u @ v, c2w[..., 3:]], dim=-1)


def _coefficients(omega: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sin(t)/t, (1 - cos t)/t^2 and (t - sin t)/t^3 of t = |omega|, each (..., 1, 1)."""
    square = (omega * omega).sum(dim=-1)[..., None, None]
    small = square < _SMALL**2
    # The branch that is not taken must be finite as well, or its gradient at zero is not a number.
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    a = torch.where(small, 1 - square / 6, angle.sin() / angle)
    # 1 - cos t = 2 sin^2(t/2) does not cancel.
    b = torch.where(small, 0.5 - square / 24, 2 * (angle / 2).sin() ** 2 / safe)
    c = torch.where(small, 1 / 6 - square / 120, (angle - angle.sin()) / (safe * angle))
    return a, b, c


def _quaternions(rotations: Tensor) -> Tensor:
    """Unit quaternions (..., 4), real part first: the row of the outer product q q^T whose own part is largest."""
    m = rotations
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    products = torch.stack(
        [
            torch.stack(
                [1 + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1
            ),
            torch.stack(
                [
                    m[..., 2, 1] - m[..., 1, 2],
                    1 + 2 * m[..., 0, 0] - trace,
                    m[..., 0, 1] + m[..., 1, 0],
                    m[..., 0, 2] + m[..., 2, 0],
                ],
                -1,
            ),
            torch.stack(
                [
                    m[..., 0, 2] - m[..., 2, 0],
                    m[..., 0, 1] + m[..., 1, 0],
                    1 + 2 * m[..., 1, 1] - trace,
                    m[..., 1, 2] + m[..., 2, 1],
                ],
                -1,
            ),
            torch.stack(
                [
                    m[..., 1, 0] - m[..., 0, 1],
                    m[..., 0, 2] + m[..., 2, 0],
                    m[..., 1, 2] + m[..., 2, 1],
                    1 + 2 * m[..., 2, 2] - trace,
                ],
                -1,
            ),
        ],
        dim=-2,
    )  # 4 q q^T
    best = products.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    row = products.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    return row / row.norm(dim=-1, keepdim=True)
