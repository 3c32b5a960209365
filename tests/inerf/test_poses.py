"""Cameras turn about the pivot that was asked for, and the derivatives of what they see follow."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from nerfseg_plugins.inerf.poses import moved, pivot_points, twist_jacobian, world_rays

from .scenes import displaced, look, pixel_directions
from .test_se3 import generator

ABOVE = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2]])
"""At (0, 0, 2), looking down at the origin."""
QUARTER_Y = torch.tensor([0, 0, 0, 0, np.pi / 2, 0], dtype=torch.float32)
"""A quarter turn about y, which takes z to x."""


def test_pivots_by_hand():
    c2w = torch.stack([ABOVE, torch.tensor([[0.0, 0, 1, 5], [0, 1, 0, 6], [-1, 0, 0, 7]])])  # the second looks to -x
    assert pivot_points(c2w, "camera").tolist() == [[0, 0, 2], [5, 6, 7]]
    assert pivot_points(c2w, "origin").tolist() == [[0, 0, 0], [0, 0, 0]]
    assert pivot_points(c2w, "scene", torch.tensor([2.0, 3.0])).tolist() == [[0, 0, 0], [2, 6, 7]]
    assert pivot_points(c2w, "scene", 1.0).tolist() == [[0, 0, 1], [4, 6, 7]]
    assert pivot_points(c2w[1], "scene", 1.0).tolist() == [4, 6, 7]


def test_a_quarter_turn_about_the_camera():
    c2w = moved(ABOVE, QUARTER_Y, pivot_points(ABOVE, "camera"))
    torch.testing.assert_close(c2w, torch.tensor([[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 2]]), atol=1e-6, rtol=0)


def test_a_quarter_turn_about_the_scene():
    """The camera goes round to (2, 0, 0) and keeps looking at the origin."""
    c2w = moved(ABOVE, QUARTER_Y, pivot_points(ABOVE, "scene", 2.0))
    torch.testing.assert_close(c2w, torch.tensor([[0.0, 0, 1, 2], [0, 1, 0, 0], [-1, 0, 0, 0]]), atol=1e-6, rtol=0)


def test_a_quarter_turn_about_the_origin():
    aside = ABOVE.clone()
    aside[0, 3] = 1.0  # (1, 0, 2) goes to (2, 0, -1)
    c2w = moved(aside, QUARTER_Y, pivot_points(aside, "origin"))
    torch.testing.assert_close(c2w[:, 3], torch.tensor([2.0, 0, -1]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("pivot", ["camera", "origin", "scene"])
def test_without_a_turn_all_pivots_are_one(pivot):
    twist = torch.tensor([0.1, -0.2, 0.3, 0, 0, 0])
    c2w = look((1, 2, 3), (0, 0, 0))
    found = moved(c2w, twist, pivot_points(c2w, pivot, 1.5))
    torch.testing.assert_close(found, torch.cat([c2w[:, :3], c2w[:, 3:] + twist[:3, None]], dim=-1))


@pytest.mark.parametrize("pivot", ["camera", "origin", "scene"])
def test_motions_are_matrix_products(pivot):
    c2w = torch.stack([displaced(ABOVE, 50.0, 1.0, seed) for seed in range(5)]).double()
    twist = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = pivot_points(c2w, pivot, 1.5)
    for pose, xi, point, found in zip(
        c2w.numpy(), twist.numpy(), points.numpy(), moved(c2w, twist, points), strict=True
    ):
        there, back = np.eye(4), np.eye(4)
        there[:3, 3], back[:3, 3] = point, -point
        expected = there @ expm(generator(xi)) @ back @ np.vstack([pose, [0, 0, 0, 1]])
        np.testing.assert_allclose(found, expected[:3], atol=1e-12)


def test_a_camera_that_orbits_keeps_its_scene_point_in_the_middle():
    c2w = torch.stack([look((1.0, 2.0, 3.0), (0.2, -0.1, 0.4), roll=20.0)] * 4)
    depth = torch.tensor([0.5, 1.0, 2.0, 4.0])
    points = pivot_points(c2w, "scene", depth)
    turns = torch.cat([torch.zeros(4, 3), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))], dim=-1)
    after = moved(c2w, turns, points)
    in_camera = (after[..., :3].transpose(-1, -2) @ (points - after[..., 3])[..., None])[..., 0]
    expected = torch.stack([torch.zeros(4), torch.zeros(4), -depth], dim=-1)
    torch.testing.assert_close(in_camera, expected, atol=3e-6, rtol=0)


def test_rays_of_a_camera():
    c2w = torch.tensor([[[0.0, 0, 1, 5], [0, 1, 0, 6], [-1, 0, 0, 7]], ABOVE.tolist()])  # the first looks to -x
    directions = torch.tensor([[0.0, 0, -1], [1, 0, 0], [0, 0.6, -0.8]])
    origins, turned = world_rays(c2w, directions)
    assert origins.tolist() == [[[5, 6, 7]] * 3, [[0, 0, 2]] * 3]
    torch.testing.assert_close(turned[0], torch.tensor([[-1.0, 0, 0], [0, 0, -1], [-0.8, 0.6, 0]]))
    torch.testing.assert_close(turned[1], directions)


def seen(origins: Tensor, directions: Tensor) -> Tensor:
    """(..., 2) any smooth function of rays."""
    x, y, z = origins.unbind(-1)
    a, b, c = directions.unbind(-1)
    return torch.stack([(x * a + 2 * y).sin() + z * c**2, (x - b) * (y + z * a).exp()], dim=-1)


@pytest.mark.parametrize("pivot", ["camera", "origin", "scene"])
def test_the_jacobian_is_that_of_finite_differences(pivot):
    c2w = displaced(ABOVE, 50.0, 1.0, seed=3).double()
    camera_rays = pixel_directions(3, 4, 4.0).double()
    point = pivot_points(c2w, pivot, 1.5)
    origins, directions = (part.clone().requires_grad_() for part in world_rays(c2w, camera_rays))
    values = seen(origins, directions)
    slopes = [torch.autograd.grad(values[:, c].sum(), (origins, directions), retain_graph=True) for c in (0, 1)]
    by_origin, by_direction = (torch.stack(parts, dim=1) for parts in zip(*slopes, strict=True))
    found = twist_jacobian(origins.detach(), directions.detach(), point, by_origin, by_direction)
    assert found.shape == (12, 2, 6)
    there, back, pose = np.eye(4), np.eye(4), np.vstack([c2w.numpy(), [0, 0, 0, 1]])
    there[:3, 3], back[:3, 3] = point, -point

    def after(twist: np.ndarray) -> Tensor:
        moved_pose = there @ expm(generator(twist)) @ back @ pose
        return seen(*world_rays(torch.from_numpy(moved_pose[:3]), camera_rays))

    for k, unit in enumerate(np.eye(6)):
        slope = (after(1e-5 * unit) - after(-1e-5 * unit)) / 2e-5
        torch.testing.assert_close(found[..., k], slope, atol=1e-8, rtol=1e-7)
