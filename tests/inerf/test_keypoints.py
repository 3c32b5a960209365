"""Keypoints of images made by hand."""

import numpy as np
import pytest
import torch

from nerfseg_plugins.inerf.keypoints import find_keypoints, keypoint_rays

from .scenes import look
from .textured import DISTORTED, FISHEYE, PINHOLE, posed, spotted


def blob(row: float, column: float, sigma: float = 3.0) -> torch.Tensor:
    """(64, 80, 3) a bright spot at a place, pixel centres at +0.5."""
    rows, columns = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    spot = torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2))
    return (0.2 + 0.6 * spot)[..., None].expand(-1, -1, 3)


@pytest.mark.parametrize("place", [(30.5, 41.5), (28.2, 44.9), (33.75, 37.25)])
def test_a_spot_is_found_where_it_is(place):
    keypoints = find_keypoints(blob(*place), 10)
    assert len(keypoints) >= 1
    np.testing.assert_allclose(keypoints.places[0].numpy(), place, atol=0.05)


def picture() -> torch.Tensor:
    return spotted(1, 3)[0, :, :120, :160].permute(1, 2, 0)


def test_descriptors_are_unit_vectors_and_the_strongest_are_kept():
    all_of_them, few = find_keypoints(picture(), 1000), find_keypoints(picture(), 40)
    assert torch.allclose(all_of_them.descriptors.norm(dim=1), torch.ones(len(all_of_them)), atol=1e-5)
    assert 40 <= len(few) < 50 < len(all_of_them)
    known = {tuple(place) for place in all_of_them.places.tolist()}
    assert {tuple(place) for place in few.places.tolist()} <= known


def test_brightness_and_contrast_change_nothing():
    expected = find_keypoints(picture(), 100)
    dim = find_keypoints(0.06 + 0.02 * picture(), 100)
    assert len(dim) == len(expected)
    assert torch.allclose(dim.places, expected.places, atol=1e-2)
    assert torch.allclose(dim.descriptors, expected.descriptors, atol=2e-2)


def test_masked_places_are_left_out():
    mask = torch.zeros(120, 160, dtype=torch.bool)
    mask[20:80, 30:90] = True
    keypoints = find_keypoints(picture(), 500, mask)
    assert len(keypoints) > 10
    row, column = keypoints.places.T
    assert float(row.min()) >= 19 and float(row.max()) <= 81
    assert float(column.min()) >= 29 and float(column.max()) <= 91


@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_one_colour_has_no_keypoints(grey):
    keypoints = find_keypoints(torch.full((48, 64, 3), grey), 100)
    assert len(keypoints) == 0
    assert keypoints.places.shape == (0, 2)
    assert keypoints.descriptors.shape == (0, 128)
    assert keypoint_rays(posed(PINHOLE, torch.eye(4)[:3]), keypoints.places)[1].shape == (0, 3)


def test_a_mask_that_hides_all_leaves_none():
    assert len(find_keypoints(picture(), 100, torch.zeros(120, 160, dtype=torch.bool))) == 0


@pytest.mark.parametrize("lens", [PINHOLE, DISTORTED, FISHEYE])
def test_rays_pass_through_places(lens):
    """At pixel centres they are those of the whole image."""
    camera = posed(lens, look((0.3, 0.1, 1.0), (0, 0, 0)))
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    pixels = torch.tensor([[0, 0], [17, 140], [119, 3]])
    origins, directions = keypoint_rays(camera, pixels + 0.5)
    assert torch.allclose(directions, rays.directions[pixels[:, 0], pixels[:, 1]], atol=1e-6)
    assert torch.allclose(origins, torch.tensor([0.3, 0.1, 1.0]).expand(3, 3))
