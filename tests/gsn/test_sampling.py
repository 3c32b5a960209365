"""Points on rays and what views hold of them."""

import math
from dataclasses import replace

import pytest
import torch

from nerfseg_plugins.gsn.sampling import (
    direction_differences,
    inverse_depths,
    points_on,
    positions_along,
    scaled_at_random,
    see,
)
from nerfseg_plugins.image_based.views import SourceViews

from .scenes import CHANNELS, SIZE, random_rays, turned_away, wall_color, wall_features, wall_views


def test_even_in_inverse_distance():
    found = inverse_depths(torch.tensor([[1.0], [2.0]]), torch.tensor([[4.0], [8.0]]), 4, jitter=False)
    assert torch.allclose(found, torch.tensor([[1, 4 / 3, 2, 4], [2, 8 / 3, 4, 8]]))


def test_jitter_stays_between_the_midpoints():
    torch.manual_seed(0)
    near, far = torch.ones(500, 1), torch.full((500, 1), 4.0)
    found = inverse_depths(near, far, 4, jitter=True)
    edges = [1, 7 / 6, 5 / 3, 3, 4]
    for index in range(4):
        low, high = edges[index], edges[index + 1]
        column = found[:, index]
        assert low <= column.min() and column.max() <= high
        assert column.mean().item() == pytest.approx((low + high) / 2, abs=0.1 * (high - low))


def test_positions_along_rays_by_hand():
    found = positions_along(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[1.0]]), torch.tensor([[4.0]]))
    assert torch.allclose(found, torch.tensor([[[0, 1, 0.25], [2 / 3, 0.5, 0.5], [1, 0.25, 1]]]))
    # The same in another unit.
    again = positions_along(torch.tensor([[3.0, 6.0, 12.0]]), torch.tensor([[3.0]]), torch.tensor([[12.0]]))
    assert torch.allclose(again, found)


def test_bounds_of_a_scene_are_scaled_together():
    torch.manual_seed(0)
    found = scaled_at_random(torch.full((3000, 1), 2.0), (0.5, 4.0), 1000).view(1000, 3)
    assert torch.equal(found[:, 0], found[:, 2])
    assert found.min() >= 1 and found.max() <= 8
    assert (found[:, 0] < 2 * math.sqrt(2)).float().mean().item() == pytest.approx(0.5, abs=0.07)
    assert torch.equal(scaled_at_random(torch.ones(2, 1), (1.0, 1.0), 2), torch.ones(2, 1))


def test_direction_differences_by_hand():
    points = torch.tensor([[[0.0, 0.0, -1.0]]])
    origins = torch.tensor([[0.0, 0.0, 0.0]])
    centers = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, -1.0], [0.0, 0.0, -2.0], [0.0, 0.0, 5.0]]])
    found = direction_differences(points, origins, centers)[0, 0]
    half = math.sqrt(0.5)
    expected = [[0, 0, 0, 1], [-half, 0, half, 0], [0, 0, 1, -1], [0, 0, 0, 1]]
    assert torch.allclose(found, torch.tensor(expected), atol=1e-6)


def test_all_views_agree_where_the_wall_is():
    views = wall_views(features=True)
    rays, targets = random_rays()
    distances = (targets - rays.origins).norm(dim=-1, keepdim=True)
    points = points_on(rays.origins, rays.directions, distances)
    assert torch.allclose(points[:, 0], targets, atol=1e-5)
    seen = see(points, rays.origins, views.with_maps(views.images[:, :, :1]), with_features=True)
    assert seen.colors.shape == (64, 1, 3, 4) and seen.mask.all()
    colors, features = wall_color(targets), wall_features(targets)
    assert seen.features is not None and seen.features.shape == (64, 1, 3, CHANNELS)
    away = targets[:, 0].abs() > 0.1  # from where the features change
    for view in range(3):
        assert (seen.colors[:, 0, view, :3] - colors).abs().max() < 0.02
        torch.testing.assert_close(seen.colors[:, 0, view, 3], seen.colors[:, 0, view, 0])
        assert torch.allclose(seen.features[away, 0, view], features[away], atol=1e-5)
    assert see(points, rays.origins, views.with_maps(views.images)).features is None


def test_what_a_view_does_not_see_is_zero():
    views = turned_away(wall_views(features=True), 1)
    rays, targets = random_rays()
    seen = see(targets[:, None], rays.origins, views.with_maps(views.images + 1), with_features=True)
    assert seen.mask[0, 0].tolist() == [True, False, True]
    assert seen.features is not None
    assert not seen.colors[:, :, 1].any() and not seen.features[:, :, 1].any()


def test_scenes_of_a_batch_do_not_mix():
    one, two = wall_views(), replace(wall_views(), images=1 - wall_views().images)
    both = SourceViews.together([one, two])
    rays, targets = random_rays()
    apart = [see(targets[:, None], rays.origins, views.with_maps(views.images)) for views in (one, two)]
    found = see(targets.repeat(2, 1)[:, None], rays.origins.repeat(2, 1), both.with_maps(both.images))
    assert torch.allclose(found.colors, torch.cat([part.colors for part in apart]), atol=1e-6)
    assert not torch.allclose(apart[0].colors, apart[1].colors, atol=0.1)
    assert both.size[0] == SIZE
