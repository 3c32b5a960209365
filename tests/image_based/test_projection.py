"""Where points lie in source views, and what is found there."""

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from scipy.ndimage import map_coordinates

from nerfseg_plugins.image_based.projection import _grid_sample, _weighted_cells, lookup, project
from nerfseg_plugins.image_based.views import SourceViews


def views_of(c2w: torch.Tensor, size: tuple[int, int], focal: tuple[float, float], center: tuple[float, float]):
    """Black views of one scene."""
    count = len(c2w)
    return SourceViews(
        images=torch.zeros(1, count, 3, *size),
        c2w=c2w[None],
        focal=torch.tensor(focal).expand(1, count, 2),
        center=torch.tensor(center).expand(1, count, 2),
        near=torch.ones(1),
        far=torch.ones(1) * 4,
    )


def turned(seed: int, count: int) -> torch.Tensor:
    """(count, 3, 4) arbitrary poses."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(count, 3, 3)))
    rotation[np.linalg.det(rotation) < 0, :, 0] *= -1
    return torch.tensor(np.concatenate([rotation, rng.normal(size=(count, 3, 1))], 2), dtype=torch.float32)


def test_by_hand():
    """A camera at (1, 0, 0) that looks along -z, with a principal point that is not the middle."""
    c2w = torch.eye(4)[None, :3].clone()
    c2w[0, 0, 3] = 1.0
    views = views_of(c2w, (30, 40), (10.0, 20.0), (18.0, 15.0))
    points = torch.tensor([[[1.0, 0, -2], [2.0, 0, -2], [1.0, 1, -2], [1.0, 0, 3], [9.0, 0, -2], [1.0, 0, 0]]])
    found = project(points, views)
    # x: 18 + 10 * 1 / 2; y: a point above the axis lies in a smaller row, 15 - 20 * 1 / 2.
    assert found.pixels[0, 0, :3].tolist() == [[18, 15], [23, 15], [18, 5]]
    assert found.depth[0, 0].tolist() == [2, 2, 2, -3, 2, 0]
    assert found.inside[0, 0].tolist() == [True, True, True, False, False, False]
    assert found.pixels.isfinite().all()


def test_agrees_with_the_rays_of_nerfstudio():
    poses = turned(0, 3)
    cameras = Cameras(poses, 21.0, 19.0, 17.5, 11.25, 36, 24, camera_type=CameraType.PERSPECTIVE)
    views = views_of(poses, (24, 36), (21.0, 19.0), (17.5, 11.25))
    for view in range(3):
        rays = cameras.generate_rays(view, keep_shape=True)
        points = (rays.origins + 2.5 * rays.directions).reshape(1, -1, 3)
        found = project(points, views)
        rows, columns = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(36) + 0.5, indexing="ij")
        expected = torch.stack([columns, rows], -1).reshape(-1, 2)
        torch.testing.assert_close(found.pixels[0, view], expected, atol=2e-4, rtol=0)
        assert found.inside[0, view].all()


def test_gradient_is_finite_behind_a_camera():
    points = torch.tensor([[[0.0, 0, 1], [0, 0, 0], [0, 0, -1]]], requires_grad=True)
    project(points, views_of(torch.eye(4)[None, :3], (8, 8), (4.0, 4.0), (4.0, 4.0))).pixels.sum().backward()
    assert points.grad is not None and points.grad.isfinite().all()


@pytest.mark.parametrize("resolution", [(12, 16), (6, 8), (3, 16)])
def test_lookup_agrees_with_scipy(resolution: tuple[int, int]):
    """Bilinear between the centres of cells, whatever part of the image's resolution a map has."""
    torch.manual_seed(1)
    maps = torch.rand(2, 3, 4, *resolution)
    pixels = torch.rand(2, 3, 50, 2) * torch.tensor([16.0, 12.0]) * 1.2 - 1.0
    found = lookup(maps, pixels, (12, 16))
    assert found.shape == (2, 3, 50, 4)
    x = (pixels[..., 0] / 16 * resolution[1] - 0.5).numpy()
    y = (pixels[..., 1] / 12 * resolution[0] - 0.5).numpy()
    for scene, view, channel in np.ndindex(2, 3, 4):
        places = np.stack([y[scene, view], x[scene, view]])
        expected = map_coordinates(maps[scene, view, channel].numpy(), places, order=1, mode="nearest")
        np.testing.assert_allclose(found[scene, view, :, channel], expected, atol=1e-5)


def test_lookup_can_fade_to_nothing():
    maps = torch.ones(1, 1, 1, 4, 4)
    pixels = torch.tensor([[[[2.0, 2], [0, 2], [-3, 2]]]])
    assert lookup(maps, pixels, (4, 4), "zeros").flatten().tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_the_fast_lookup_agrees_with_torchs_own(padding: str):
    """Values and gradients, of a map of a single row too, and of pixels far outside."""
    rng = torch.Generator().manual_seed(2)
    size = (12, 16)
    for resolution in ((12, 16), (5, 7), (1, 4)):
        maps = torch.rand(1, 3, 6, *resolution, generator=rng, dtype=torch.float64)
        pixels = torch.rand(1, 3, 40, 2, generator=rng, dtype=torch.float64) * 24 - 4
        pixels[0, 0, :3] = torch.tensor([[1e7, 3.0], [-1e7, -1e7], [16.0, 12.0]])
        answers = []
        for way in (_weighted_cells, _grid_sample):
            inputs = [maps[0].clone().requires_grad_(), pixels[0].clone().requires_grad_()]
            found = way(*inputs, size, padding)
            slopes = torch.linspace(0.5, 1.5, found.numel(), dtype=torch.float64).view_as(found)
            answers.append([found, *torch.autograd.grad((found * slopes).sum(), inputs)])
        for ours, theirs in zip(*answers, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_pixels_keep_their_digits_where_maps_have_few():
    """Columns of 0 and 1 in turn, read a quarter past the middle of one; bfloat16 holds 100.5 and 101 only."""
    stripes = (torch.arange(128) % 2).expand(1, 1, 2, 128).to(torch.bfloat16)
    pixels = torch.tensor([[[100.75, 1.0]]])
    for way in (_weighted_cells, _grid_sample):
        found = way(stripes, pixels, (2, 128), "border")
        assert found.dtype == torch.bfloat16 and found.item() == 0.25
