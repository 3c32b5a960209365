"""The mean of the poses that a photo allows, on scenes whose answers are known by hand."""

import math
from dataclasses import replace

import pytest
import torch
from pytorch_msssim import ssim
from scipy.spatial.transform import Rotation
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.inerf.average import AverageConfig, Averaged, Picture, average
from nerfseg_plugins.inerf.config import PRESETS
from nerfseg_plugins.inerf.estimate import Estimator
from nerfseg_plugins.inerf.poses import moved
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.scene import Rendered

from .scenes import GreyScene, look, pose_errors
from .textured import PINHOLE, PosterScene, posed, query_of, shot

ORIGIN = torch.zeros(3)
TRUTH = look((0.4, -0.3, 2.5), (0.0, 0.0, 0.0))


class Screen:
    """Shows one picture (H, W, 3), whatever the rays."""

    def __init__(self, picture: Tensor) -> None:
        self.picture = picture.reshape(-1, 3)

    def render(self, origins: Tensor, directions: Tensor) -> Rendered:
        """See `Scene.render`."""
        values = self.picture.repeat(len(origins) // len(self.picture), 1)
        return Rendered(values, values[:, 0], values[:, 0])


def turned(pose: Tensor, *degrees: float) -> Tensor:
    """A pose turned about the origin by Euler angles."""
    vector = torch.from_numpy(Rotation.from_euler("xyz", degrees, degrees=True).as_rotvec()).float()
    return moved(pose[None], torch.cat([torch.zeros(3), vector])[None], ORIGIN[None])[0]


def photo() -> Query:
    return query_of(PINHOLE, TRUTH, shot(PosterScene(), posed(PINHOLE, TRUTH)))


def mean_of(scene, query: Query, start: Tensor, config: AverageConfig, count: int = 300, seed: int = 0) -> Averaged:
    return average(scene, query, start, ORIGIN, config, count, 40.0, torch.Generator().manual_seed(seed))


def test_structure_is_compared_as_another_library_does():
    """Noise in the middle of grey: the library leaves a border of five pixels out, where all windows are grey."""
    generator = torch.Generator().manual_seed(0)
    pair = torch.full((2, 40, 40, 3), 0.5)
    pair[:, 10:30, 10:30] = torch.rand(2, 20, 20, 3, generator=generator)
    square = replace(PINHOLE, width=40, height=40)
    picture = Picture(query_of(square, TRUTH, pair[0]), AverageConfig(side=40, window=5 / 3))  # reaches five pixels
    found = picture.dissimilarity(Screen(pair[1]), TRUTH.expand(3, 3, 4), chunk=2)
    first, second = (one.permute(2, 0, 1)[None] for one in pair)
    inner = float(ssim(first, second, data_range=1.0, win_size=11, win_sigma=5 / 3))
    torch.testing.assert_close(found, torch.full((3,), (1 - inner) * 30**2 / 40**2), atol=1e-5, rtol=1e-4)
    assert float(picture.dissimilarity(Screen(pair[0]), TRUTH[None])[0]) == pytest.approx(0, abs=1e-6)


def test_two_greys_by_hand():
    query = query_of(PINHOLE, TRUTH, torch.full((120, 160, 3), 0.6))
    found = Picture(query, AverageConfig()).dissimilarity(Screen(torch.full((24, 32, 3), 0.2)), TRUTH[None])
    assert float(found[0]) == pytest.approx(1 - (2 * 0.6 * 0.2 + 1e-4) / (0.6**2 + 0.2**2 + 1e-4), abs=1e-4)


def test_hidden_pixels_do_not_count():
    query = photo()
    mask = torch.ones_like(query.mask)
    mask[:, :80] = False
    image = query.image.clone()
    image[:, :80] = torch.rand(120, 80, 3, generator=torch.Generator().manual_seed(1))
    poses = torch.stack([TRUTH, turned(TRUTH, 5, 5, 5)])
    config = AverageConfig(side=40)
    clean = Picture(replace(query, mask=mask), config).dissimilarity(PosterScene(), poses)
    torch.testing.assert_close(
        Picture(replace(query, image=image, mask=mask), config).dissimilarity(PosterScene(), poses), clean
    )
    assert clean[0] < clean[1] / 2


def test_where_the_photo_says_nothing_the_start_is_the_mean():
    """What is left is the prior: 10 degrees about each axis, and the camera's shift that goes with it."""
    start = look((0.0, 0.0, 2.0), (0.0, 0.0, 0.0))
    found = mean_of(GreyScene(), photo(), start, AverageConfig(refined=800), count=2000)
    assert pose_errors(found.c2w, start)[0][0] < 1.5
    assert found.scatter == pytest.approx(math.sqrt(3) * 10, rel=0.1)
    expected = torch.tensor([2.0, 2.0, 0.0, 1.0, 1.0, 1.0]) * math.radians(10)  # nothing shifts along the axis of view
    torch.testing.assert_close(found.covariance.diagonal().clamp_min(0).sqrt(), expected, rtol=0.15, atol=0.03)
    assert int(torch.linalg.matrix_rank(found.covariance.double(), atol=1e-6)) == 3


def test_a_turned_camera_is_found():
    start = turned(TRUTH, 12, -8, 10)
    found = mean_of(PosterScene(), photo(), start, AverageConfig(temperature=0.002))
    degrees, distance = pose_errors(found.c2w, TRUTH)
    assert degrees[0] < 1.5 and distance[0] < 0.08 and found.scatter < 4
    assert float(found.c2w[:, 3].norm()) == pytest.approx(float(TRUTH[:, 3].norm()), rel=1e-5)
    torch.testing.assert_close(found.poses[0], start)
    assert len(found.poses) == 300 + 2 * 250 and len(found.history) == 3
    losses = [float(visit.cost[0]) for visit in found.history]
    assert losses[2] < losses[1] < losses[0]
    assert torch.equal(mean_of(PosterScene(), photo(), start, AverageConfig(temperature=0.002)).c2w, found.c2w)


def test_the_preset():
    start = turned(TRUTH, 8, -5, 12)
    config = replace(PRESETS["category"], hypotheses=300)
    found = Estimator(PosterScene(), config, [], TRUTH[None]).estimate(photo(), start)
    assert found.converged and pose_errors(found.c2w, TRUTH)[0][0] < 3
    assert [step.phase for step in found.trajectory] == ["mean"] * 3 and len(found.hypotheses) == 800
    torch.testing.assert_close(found.trajectory[0].c2w, start)
    unsure = replace(config, average=replace(config.average, limit=0.01))
    found = Estimator(PosterScene(), unsure, [], TRUTH[None]).estimate(photo(), start)
    assert not found.converged and "degrees from their mean (0.01 are allowed)" in found.reason
    with pytest.raises(InputError, match="init cannot be 'global'"):
        Estimator(PosterScene(), replace(config, init="global"), [], TRUTH[None]).estimate(photo(), start)
    with pytest.raises(InputError, match=r"photo\.png: it has no pose to start from"):
        Estimator(PosterScene(), config, [], TRUTH[None]).estimate(photo())
