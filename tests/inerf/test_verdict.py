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
from .textured import PINHOLE, PosterScene, RoomScene, posed, query_of, shot

TRUTH = look((0.3, -0.2, 0.9), (-0.2, 0.3, -1.5), roll=10.0)
CONFIG = PRESETS["best"]


def verdict(c2w: torch.Tensor, scene: Any = None, image: Any = None, **options: Any):
    room = RoomScene()
    image = shot(room, posed(PINHOLE, TRUTH)) if image is None else image
    config = replace(CONFIG, **options)
    photo = PhotoRays(query_of(PINHOLE, TRUTH, image), config.sampler)
    return judge(scene or room, scene or room, photo, c2w, 2.0, config, torch.Generator().manual_seed(0))


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


def test_a_rough_occluder_does_not_draw_the_rays():
    """A fifth of the photo is grain: as many of the rays fall on it, not more, since the scene tells where to look."""
    image = shot(RoomScene(), posed(PINHOLE, TRUTH))
    image[:, :32] = torch.rand(120, 32, 3, generator=torch.Generator().manual_seed(0)).round()
    assert verdict(TRUTH, image=image).converged
    assert not verdict(displaced(TRUTH, 5.0, 0.05, 1), image=image).converged


def test_a_small_thing_before_nothing_is_not_outvoted_by_the_nothing():
    """A poster fills an eighth of the photo; where it is decides, not the grey around it."""
    poster = PosterScene(half=0.45)
    truth = look((0.1, -0.1, 2.2), (0.0, 0.0, 0.0))
    photo = PhotoRays(query_of(PINHOLE, truth, shot(poster, posed(PINHOLE, truth))), CONFIG.sampler)
    for pose, right in ((truth, True), (displaced(truth, 2.0, 0.0, 1), False), (displaced(truth, 0.0, 0.15, 2), False)):
        found = judge(poster, poster, photo, pose, 2.2, CONFIG, torch.Generator().manual_seed(0))
        assert found.converged == right
