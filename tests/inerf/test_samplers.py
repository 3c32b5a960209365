"""Pixels are drawn where a photo says something, never outside its mask, and the same ones from the same seed."""

from typing import get_args

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from skimage.filters import scharr_h, scharr_v
from torch import Tensor

from nerfseg_plugins.inerf.samplers import (
    PixelSampler,
    SamplerConfig,
    Sampling,
    gradient_magnitude,
    keypoints,
    stands_out,
)

SAMPLINGS = get_args(Sampling)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(height: int = 60, width: int = 80) -> Tensor:
    """(H, W, 3) bright round blobs on grey, which are what SIFT looks for."""
    row, column = np.mgrid[:height, :width]
    image = np.full((height, width, 3), 0.4)
    for channel, (y, x) in enumerate([(15, 20), (40, 30), (25, 60)]):
        image[..., channel] += 0.6 * np.exp(-((row - y) ** 2 + (column - x) ** 2) / 18)
        image += 0.2 * np.exp(-((row - y) ** 2 + (column - x) ** 2) / 18)[..., None]
    return torch.from_numpy(image.clip(0, 1)).float()


def left_half(image: Tensor) -> Tensor:
    mask = torch.zeros(image.shape[:2], dtype=torch.bool)
    mask[:, : image.shape[1] // 2] = True
    return mask


def everywhere(image: Tensor) -> Tensor:
    return torch.ones(image.shape[:2], dtype=torch.bool)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_draws_are_distinct_usable_and_reproducible(sampling: Sampling):
    image = blobs()
    mask = left_half(image)
    sampler = PixelSampler(image, mask, SamplerConfig(sampling))
    pixels = sampler.draw(300, seeded())
    assert pixels.shape == (300, 2) and pixels.dtype == torch.long
    assert len(pixels.unique(dim=0)) == 300
    assert bool(mask[pixels[:, 0], pixels[:, 1]].all())
    assert torch.equal(pixels, PixelSampler(image, mask, SamplerConfig(sampling)).draw(300, seeded()))
    generator = seeded()
    assert torch.equal(pixels, sampler.draw(300, generator)), "a draw leaves nothing behind in the sampler"
    assert not torch.equal(pixels, sampler.draw(300, generator)), "the next draw is another one"


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_fewer_pixels_than_rays_are_repeated_evenly(sampling: Sampling):
    image, mask = blobs(), torch.zeros(60, 80, dtype=torch.bool)
    mask[10:14, 20:25] = True  # 20 pixels
    sampler = PixelSampler(image, mask, SamplerConfig(sampling))
    pixels, count = sampler.draw(47, seeded()).unique(dim=0, return_counts=True)
    assert len(pixels) == 20 and bool(mask[pixels[:, 0], pixels[:, 1]].all())
    assert sorted(count.tolist()) == [2] * 13 + [3] * 7
    assert torch.equal(sampler.draw(20, seeded()).unique(dim=0), mask.nonzero())


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("uniform_share", [0.0, 0.3])
def test_a_photo_without_anything_of_interest_is_drawn_from_evenly(sampling: Sampling, uniform_share: float):
    image = torch.full((30, 40, 3), 0.5)
    sampler = PixelSampler(image, everywhere(image), SamplerConfig(sampling, uniform_share=uniform_share))
    columns = torch.cat([sampler.draw(60, seeded(seed))[:, 1] for seed in range(100)])
    quarters = torch.bincount(columns // 10)
    # 6000 draws: 1500 in each quarter, give or take sqrt(6000 * 3/16) = 34.
    assert bool(((quarters - 1500).abs() < 5 * 34).all())


def test_interest_points_are_where_the_blobs_are():
    found = keypoints(blobs()).numpy()
    assert len(found) >= 3
    for centre in [(15, 20), (40, 30), (25, 60)]:
        assert np.linalg.norm(found - centre, axis=1).min() <= 1.5
    assert keypoints(torch.full((30, 40, 3), 0.5)).shape == (0, 2)


def test_points_come_first_and_the_rest_is_filled_up():
    image = blobs()
    expected = {tuple(pixel) for pixel in keypoints(image).tolist()}
    sampler = PixelSampler(image, everywhere(image), SamplerConfig("points", uniform_share=0.0))
    few = sampler.draw(2, seeded()).tolist()
    assert {tuple(pixel) for pixel in few} <= expected
    pixels = {tuple(pixel) for pixel in sampler.draw(200, seeded()).tolist()}
    assert len(pixels) == 200 and expected <= pixels


@pytest.mark.parametrize(("iterations", "reach"), [(1, 2), (3, 6)])
def test_regions_are_dilated_points(iterations: int, reach: int):
    image = blobs()
    points = np.zeros((60, 80), bool)
    points[tuple(keypoints(image).T.numpy())] = True
    expected = binary_dilation(points, np.ones((2 * reach + 1, 2 * reach + 1)))
    config = SamplerConfig("regions", region_iterations=iterations, uniform_share=0.0)
    drawn = np.zeros((60, 80), bool)
    drawn[tuple(PixelSampler(image, everywhere(image), config).draw(int(expected.sum()), seeded()).T.numpy())] = True
    np.testing.assert_array_equal(drawn, expected)


def test_the_gradient_is_scharrs():
    image = torch.rand(12, 17, 3, generator=seeded())
    channels = image.double().numpy().transpose(2, 0, 1)
    expected = np.max([np.hypot(scharr_h(channel), scharr_v(channel)) for channel in channels], axis=0)
    found = gradient_magnitude(image)
    # skimage's are differences over two pixels; at the border it mirrors.
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1] / 2, rtol=1e-5, atol=1e-6)
    ramp = torch.arange(9.0)[None, :, None].expand(7, 9, 3) * 0.1
    torch.testing.assert_close(gradient_magnitude(ramp)[:, 1:-1], torch.full((7, 7), 0.1))
    torch.testing.assert_close(gradient_magnitude(ramp.transpose(0, 1))[1:-1], torch.full((7, 7), 0.1))


@pytest.mark.parametrize("uniform_share", [0.0, 0.3])
def test_pixels_are_drawn_by_gradient(uniform_share: float):
    """Two upright edges, one thrice as strong as the other: columns 9, 10 and 29, 30 have all of the gradient."""
    image = torch.zeros(30, 40, 3)
    image[:, 10:] = 0.6
    image[:, 30:, 1] = 0.8
    sampler = PixelSampler(image, everywhere(image), SamplerConfig("gradient", uniform_share=uniform_share))
    columns = torch.cat([sampler.draw(1, seeded(seed))[:, 1] for seed in range(4000)])
    share = torch.bincount(columns, minlength=40) / 4000
    even = uniform_share / 40
    for column, part in ((9, 3 / 8), (10, 3 / 8), (29, 1 / 8), (30, 1 / 8)):
        assert abs(float(share[column]) - (even + (1 - uniform_share) * part)) < 5 * (0.24 / 4000) ** 0.5
    elsewhere = torch.ones(40, dtype=torch.bool)
    elsewhere[[9, 10, 29, 30]] = False
    assert abs(float(share[elsewhere].sum()) - 36 * even) < 5 * (0.24 / 4000) ** 0.5


def test_what_the_mask_hides_draws_no_rays():
    """The stronger edge is hidden; the weaker one gets them all."""
    image = torch.zeros(30, 40, 3)
    image[:, 10:] = 0.9
    image[:, 30:, 1] = 0.8
    sampler = PixelSampler(image, ~left_half(image), SamplerConfig("gradient", uniform_share=0.0))
    assert set(sampler.draw(60, seeded())[:, 1].tolist()) == {29, 30}


def test_the_object_and_what_is_around_it():
    """A dark square on white, the left border cut by it; two dilations by a square of three reach two pixels on."""
    image = torch.ones(20, 30, 3)
    image[5:9, 0:10] = 0.2
    image[5, 5] = 0.99  # too light to stand out
    there = torch.zeros(20, 30, dtype=torch.bool)
    there[5:9, 0:10] = True
    there[5, 5] = False
    assert torch.equal(stands_out(image), there)
    config = SamplerConfig("object", region_iterations=2, region_size=3, uniform_share=0.0)
    grown = torch.zeros(20, 30, dtype=torch.bool)
    grown[3:11, 0:12] = True
    drawn = PixelSampler(image, everywhere(image), config).draw(int(grown.sum()), seeded())
    found = torch.zeros_like(grown)
    found[drawn[:, 0], drawn[:, 1]] = True
    assert torch.equal(found, grown)


def test_a_photo_of_nothing_is_drawn_from_evenly():
    blank = torch.full((20, 30, 3), 0.7)
    weights = PixelSampler(blank, everywhere(blank), SamplerConfig("object")).weights
    torch.testing.assert_close(weights, torch.full((600,), 1 / 600))
