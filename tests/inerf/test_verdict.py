"""What is trusted and what is not, in scenes that are known by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nerfseg_plugins.inerf.config import PRESETS
from nerfseg_plugins.inerf.pixels import PhotoRays
from nerfseg_plugins.inerf.scene import Rendered
from nerfseg_plugins.inerf.verdict import correlation, judge

from .scenes import GreyScene, displaced, look
from .textured import PINHOLE, RoomScene, posed, query_of, shot

TRUTH = look((0.3, -0.2, 0.9), (-0.2, 0.3, -1.5), roll=10.0)
CONFIG = PRESETS["best"]


def verdict(c2w: torch.Tensor, scene: Any = None, image: Any = None, **options: Any):
    room = RoomScene()
    image = shot(room, posed(PINHOLE, TRUTH)) if image is None else image
    config = replace(CONFIG, **options)
    photo = PhotoRays(query_of(PINHOLE, TRUTH, image), config.sampler)
    return judge(scene or room, photo, c2w, 2.0, config, torch.Generator().manual_seed(0))


def test_the_truth_is_trusted():
    found = verdict(TRUTH)
    assert found.converged and found.score > 0.999 and found.residual < 0.01
    assert "agree" in found.reason


def test_the_truth_is_trusted_under_another_exposure_and_behind_an_occluder():
    image = shot(RoomScene(), posed(PINHOLE, TRUTH))
    found = verdict(TRUTH, image=image * torch.tensor([0.5, 0.7, 0.5]))
    assert found.converged
    torch.testing.assert_close(found.exposure[0], torch.tensor([0.5, 0.7, 0.5]), atol=0.02, rtol=0)
    covered = image.clone()
    covered[:, :30] = torch.rand(120, 30, 3, generator=torch.Generator().manual_seed(0))
    assert verdict(TRUTH, image=covered).converged


@pytest.mark.parametrize("degrees", [3.0, 10.0, 60.0, 180.0])
def test_a_wrong_pose_is_not(degrees: float):
    found = verdict(displaced(TRUTH, degrees, 0.05, 1))
    assert not found.converged and "do not look alike" in found.reason


def test_a_search_that_was_cut_off_is_not_at_rest():
    found = verdict(displaced(TRUTH, 0.6, 0.0, 2), verdict=replace(CONFIG.verdict, correlation=0.0, step=0.2))
    assert not found.converged and "has not come to rest" in found.reason


def test_a_scene_of_one_colour_proves_nothing():
    found = verdict(TRUTH, scene=GreyScene())
    assert not found.converged


class BrokenScene:
    """Renders what is not a number."""

    def render(self, origins: torch.Tensor, directions: torch.Tensor) -> Rendered:
        """See `Scene.render`."""
        nothing = (origins + directions) * torch.nan
        return Rendered(nothing, nothing[:, 0], nothing[:, 0])


def test_what_is_not_a_number_is_not_trusted():
    found = verdict(TRUTH, scene=BrokenScene())
    assert not found.converged and "not finite" in found.reason and found.score == -1


def test_correlation_is_that_of_numpy():
    first, second = torch.randn(2, 50, 1, generator=torch.Generator().manual_seed(0))
    assert correlation(first, second) == pytest.approx(np.corrcoef(first[:, 0], second[:, 0])[0, 1], abs=1e-6)
    assert correlation(torch.ones(5, 3), torch.rand(5, 3)) == 0


def test_an_occluder_is_left_out_by_its_area():
    """A fifth of the photo is grain, which has more than its share of the gradients and so of the rays."""
    image = shot(RoomScene(), posed(PINHOLE, TRUTH))
    image[:, :32] = torch.rand(120, 32, 3, generator=torch.Generator().manual_seed(0)).round()
    photo = PhotoRays(query_of(PINHOLE, TRUTH, image), CONFIG.sampler)
    rays = photo.rays(1024, 0.0, torch.Generator().manual_seed(0))
    assert rays.area is not None
    covered = (rays.directions[:, 0] / -rays.directions[:, 2]) < (32 - PINHOLE.cx) / PINHOLE.fx
    assert float(covered.float().mean()) > 0.25
    assert 0.15 < float(rays.area[covered].sum()) < 0.25
    assert verdict(TRUTH, image=image).converged
    assert not verdict(displaced(TRUTH, 5.0, 0.05, 1), image=image).converged
