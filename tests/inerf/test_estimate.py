"""The whole estimation, in a room that is known by hand: each way to begin, each reason to refuse."""

from dataclasses import replace

import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.inerf.config import PRESETS, PoseConfig
from nerfseg_plugins.inerf.estimate import Estimator
from nerfseg_plugins.inerf.matching import References
from nerfseg_plugins.inerf.query import Query

from .scenes import displaced, look, pose_errors
from .textured import PINHOLE, PosterScene, RoomScene, posed, query_of, shot

TRUTH = look((0.3, -0.2, 0.9), (-0.2, 0.3, -1.5), roll=10.0)
VIEWS = torch.stack([look((0.4 * x, 0.3 * y, 1.0), (0.1 * x, 0.0, -1.5)) for x in (-1, 0, 1) for y in (-1, 1)])


def photo() -> Query:
    return query_of(PINHOLE, TRUTH, shot(RoomScene(), posed(PINHOLE, TRUTH)))


def estimator(config: PoseConfig, cameras: torch.Tensor = VIEWS, matching: bool = True) -> Estimator:
    room = RoomScene()

    def references() -> References:
        views = [(shot(room, posed(PINHOLE, pose)), posed(PINHOLE, pose)) for pose in VIEWS]
        return References.build(room, views, config.matching)

    return Estimator(room, config, [], cameras, references if matching else None)


@pytest.mark.parametrize("init", ["auto", "match", "start"])
def test_a_camera_is_found_and_said_to_be(init):
    start = displaced(TRUTH, 1.0, 0.01, 0)
    found = estimator(replace(PRESETS["best"], init=init)).estimate(photo(), start)
    degrees, distance = pose_errors(found.c2w, TRUTH)
    assert found.converged and degrees[0] < 0.1 and distance[0] < 0.005
    seconds = [step.seconds for step in found.trajectory]
    assert seconds == sorted(seconds) and seconds[-1] <= found.seconds
    torch.testing.assert_close(found.covariance, found.covariance.T)
    assert float(torch.linalg.eigvalsh(found.covariance.double()).min()) > 0


def test_the_covariance_tells_the_scatter():
    """Noise on the photo moves the estimate by about what the covariance says: within a factor of three."""
    config = replace(PRESETS["lm"], rays=512)
    found = []
    for seed in range(8):
        query = photo()
        noise = 0.05 * torch.randn(query.image.shape, generator=torch.Generator().manual_seed(seed))
        found.append(estimator(config).estimate(replace(query, image=query.image + noise), TRUTH))
    scatter = torch.stack([estimate.c2w[:, 3] for estimate in found]).std(dim=0).norm()
    said = torch.stack([estimate.covariance.diagonal()[:3].sum().sqrt() for estimate in found]).mean()
    assert 1 / 3 < float(said / scatter) < 3


def test_hypotheses_around_a_start():
    """From a start that is too far off for a single way down."""
    config = replace(PRESETS["lm"], coarse=False, rays=512, pivot="camera", hypotheses=48, spread=12.0)
    start = displaced(TRUTH, 10.0, 0.0, 3)
    found = estimator(replace(config, init="around")).estimate(photo(), start)
    assert len(found.hypotheses) == 48
    torch.testing.assert_close(found.hypotheses[0], start)
    degrees, distance = pose_errors(found.c2w, TRUTH)
    assert degrees[0] < 0.5 and distance[0] < 0.02
    alone = estimator(replace(config, init="start")).estimate(photo(), start)
    assert pose_errors(alone.c2w, TRUTH)[0][0] > 2
    with pytest.raises(InputError, match="no pose to start from"):
        estimator(replace(config, init="around")).estimate(photo())


def test_equal_seeds_find_equal_poses():
    config = replace(PRESETS["best"], init="match")
    first, second = (estimator(config).estimate(photo()) for _ in range(2))
    assert torch.equal(first.c2w, second.c2w)


def test_a_far_start_is_not_said_to_converge():
    found = estimator(PRESETS["lm"]).estimate(photo(), look((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
    assert pose_errors(found.c2w, TRUTH)[0][0] > 5
    assert not found.converged


def test_nothing_to_start_from():
    with pytest.raises(InputError, match=r"photo\.png: it has no pose to start from; give one"):
        estimator(PRESETS["lm"]).estimate(photo())


def test_a_start_outside_that_sees_nothing():
    """A poster hangs behind the camera."""
    poster = PosterScene()
    away = look((0.0, 0.0, 2.0), (0.0, 0.0, 5.0))
    blind = Estimator(poster, PRESETS["lm"], [], VIEWS)
    with pytest.raises(InputError, match=r"photo\.png: the pose to start from sees nothing of the scene"):
        blind.estimate(photo(), away)


def test_matching_without_views():
    with pytest.raises(InputError, match="no views to match features with"):
        estimator(replace(PRESETS["best"], init="match"), matching=False).estimate(photo())


def test_no_features_to_match():
    """A smooth photo: matching alone says why it fails."""
    query = photo()
    smooth = torch.linspace(0.2, 0.8, 160)[None, :, None].expand(120, 160, 3).contiguous()
    with pytest.raises(InputError, match=r"photo\.png: "):
        estimator(replace(PRESETS["best"], init="match")).estimate(replace(query, image=smooth))


def test_the_nearest_view_is_where_a_search_may_begin():
    near = torch.cat([VIEWS, displaced(TRUTH, 1.0, 0.01, 3)[None]])
    found = estimator(replace(PRESETS["best"], init="nearest"), cameras=near).estimate(photo())
    assert found.converged and pose_errors(found.c2w, TRUTH)[0][0] < 0.2
