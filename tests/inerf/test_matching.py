"""Poses from matched features, in scenes that are known by hand."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfseg_plugins.inerf.keypoints import Keypoints
from nerfseg_plugins.inerf.matching import (
    Match,
    MatchingConfig,
    NoMatch,
    Reference,
    References,
    _mutual,
    match,
    pixel_angle,
    rendered_views,
    spread_views,
)
from nerfseg_plugins.inerf.query import Query

from .scenes import GreyScene, look, pose_errors
from .textured import DISTORTED, FISHEYE, HALF, PINHOLE, PosterScene, RoomScene, posed, query_of, shot

CONFIG = MatchingConfig(keypoints=300)
EYES = [(0.3 * x, 0.25 * y, 1.1) for x in (-1, 0, 1) for y in (-1, 0, 1)]
TRUTH = look((0.2, -0.1, 0.95), (-0.1, 0.1, -HALF), roll=12.0)


def reference_poses() -> list[Tensor]:
    return [look(eye, (0.1 * eye[0], 0.0, -HALF)) for eye in EYES]


@cache
def room() -> tuple[RoomScene, References]:
    """The room, and references seen through a lens with distortion."""
    scene = RoomScene()
    cameras = [posed(DISTORTED, pose) for pose in reference_poses()]
    return scene, References.build(scene, [(shot(scene, camera), camera) for camera in cameras], CONFIG)


def photo(lens=PINHOLE, truth: Tensor = TRUTH) -> Query:
    return query_of(lens, truth, shot(room()[0], posed(lens, truth)))


def found(query: Query, references: References | None = None, seed: int = 0) -> Match:
    result = match(query, room()[1] if references is None else references, CONFIG, seed)
    assert isinstance(result, Match), result
    return result


def refused(query: Query, references: References | None = None) -> str:
    result = match(query, room()[1] if references is None else references, CONFIG)
    assert isinstance(result, NoMatch)
    return result.reason


def assert_right(result: Match, truth: Tensor = TRUTH, degrees: float = 0.3, distance: float = 0.01) -> None:
    turned, moved = pose_errors(result.c2w, truth)
    assert turned[0] < degrees
    assert moved[0] < distance


@pytest.mark.parametrize("lens", [PINHOLE, DISTORTED, FISHEYE], ids=["pinhole", "distorted", "fisheye"])
def test_the_pose_of_a_photo_is_found_through_any_lens(lens):
    result = found(photo(lens))
    assert_right(result, degrees=0.5 if lens is FISHEYE else 0.3, distance=0.02 if lens is FISHEYE else 0.01)
    assert 12 <= result.inliers <= result.matches
    assert 0 < result.reprojection_rms < 1.5


@pytest.mark.parametrize("factor", [0.6, 1.2, 2.6])
def test_a_photo_of_another_size_than_the_references_has_a_pose(factor):
    width, height = round(160 * factor), round(120 * factor)
    lens = replace(
        PINHOLE, fx=130 * factor, fy=132 * factor, cx=78 * factor, cy=61.5 * factor, width=width, height=height
    )
    result = found(photo(lens))
    assert_right(result, degrees=0.5, distance=0.02)
    assert result.reprojection_rms < 1.5 * factor


def test_a_large_photo_is_masked_as_well():
    lens = replace(PINHOLE, fx=260.0, fy=264.0, cx=156.0, cy=123.0, width=320, height=240)
    query = photo(lens)
    mask = torch.zeros(240, 320, dtype=torch.bool)
    mask[:, :220] = True
    result = found(replace(query, mask=mask))
    assert_right(result, degrees=0.5, distance=0.02)
    assert result.matches < found(query).matches


def test_the_covariance_tells_the_size_of_the_error():
    """A chi-square of six degrees of freedom exceeds 30 once in 25 000 draws; ten times that is left for what the
    references err by in common."""
    result = found(photo())
    turned, moved = pose_errors(result.c2w, TRUTH)
    spread = result.covariance.diagonal().sqrt()
    assert moved[0] < 4 * float(spread[:3].norm())
    assert np.radians(turned[0]) < 4 * float(spread[3:].norm())


def test_equal_seeds_give_equal_poses_and_others_nearly_so():
    query = photo()
    first, again, other = found(query, seed=3), found(query, seed=3), found(query, seed=4)
    assert torch.equal(first.c2w, again.c2w)
    assert torch.equal(first.covariance, again.covariance)
    assert_right(other)


def test_darker_photos_with_a_green_cast_have_the_same_pose():
    query = photo()
    cast = query.image * torch.tensor([0.48, 0.66, 0.48])
    assert_right(found(replace(query, image=cast)))


def test_an_occluder_does_not_mislead():
    query = photo()
    image = query.image.clone()
    image[:, 100:] = shot(RoomScene(seed=5), posed(PINHOLE, TRUTH))[:, 100:]
    assert_right(found(replace(query, image=image)), degrees=0.5, distance=0.02)


def test_masked_keypoints_take_no_part():
    query = photo()
    mask = torch.zeros(120, 160, dtype=torch.bool)
    mask[:, :110] = True
    result = found(replace(query, mask=mask))
    assert_right(result, degrees=0.5, distance=0.02)
    assert result.matches < found(query).matches
    assert "no keypoints" in refused(replace(query, mask=torch.zeros_like(mask)))


# No pose -------------------------------------------------------------------------------------------------------------


def test_a_photo_without_keypoints_has_no_pose():
    query = photo()
    for image in (torch.zeros(120, 160, 3), torch.full((120, 160, 3), 0.4)):
        assert refused(replace(query, image=image)) == "the photo has no keypoints"


def test_a_photo_that_is_all_blur_has_no_pose():
    query = photo()
    small = torch.nn.functional.interpolate(query.image.permute(2, 0, 1)[None], size=(3, 4), mode="area")
    blurred = torch.nn.functional.interpolate(small, size=(120, 160), mode="bicubic")[0].permute(1, 2, 0).clamp(0, 1)
    assert "keypoints" in refused(replace(query, image=blurred))


def test_a_photo_of_something_else_has_no_pose():
    other = query_of(PINHOLE, TRUTH, shot(RoomScene(seed=9), posed(PINHOLE, TRUTH)))
    assert "of the 12 needed" in refused(other)


def test_noise_has_no_pose():
    image = torch.rand(120, 160, 3, generator=torch.Generator().manual_seed(0))
    assert "needed" in refused(query_of(PINHOLE, TRUTH, image))


def test_references_without_keypoints_give_no_pose():
    camera = posed(PINHOLE, TRUTH)
    grey = References.build(GreyScene(), [(shot(GreyScene(), camera), camera)], CONFIG)
    assert len(grey) == 1
    assert refused(photo(), grey) == "only 0 keypoints of the photo match the scene, of the 12 needed"
    assert "only 0 keypoints" in refused(photo(), References([]))


def test_a_strip_of_a_photo_gives_no_pose():
    query = photo()
    mask = torch.zeros(120, 160, dtype=torch.bool)
    mask[58:68] = True
    assert "keypoints of the photo" in refused(replace(query, mask=mask))


# A flat scene --------------------------------------------------------------------------------------------------------


@cache
def poster() -> tuple[PosterScene, References]:
    scene = PosterScene()
    cameras = [posed(PINHOLE, look(eye, (0, 0, 0))) for eye in ((0.5, 0.2, 2.2), (-0.6, 0.1, 2.0), (0.1, -0.7, 2.1))]
    return scene, References.build(scene, [(shot(scene, camera), camera) for camera in cameras], CONFIG)


def test_a_flat_scene_seen_from_near_has_one_pose():
    scene, references = poster()
    truth = look((0.9, -0.3, 1.5), (0.1, 0, 0), roll=-20.0)
    assert_right(found(query_of(PINHOLE, truth, shot(scene, posed(PINHOLE, truth))), references), truth)


def test_keypoints_on_empty_space_lie_nowhere():
    """A camera above the middle of the poster, which fills the middle of its image."""
    camera = posed(PINHOLE, torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4]]))
    places = torch.tensor([[61.5, 78.0], [1.0, 1.0], [61.5 - 33.0 / 4, 78.0 + 65.0 / 4]])
    points = Reference(PosterScene(), Keypoints(places, torch.zeros(3, 128)), camera).points
    assert torch.allclose(points[0], torch.zeros(3), atol=1e-6)
    assert not points[1].isfinite().any()
    assert torch.allclose(points[2], torch.tensor([0.5, 0.25, 0.0]), atol=1e-5)


# References ----------------------------------------------------------------------------------------------------------


def test_the_points_of_references_lie_on_the_walls():
    _, references = room()
    assert len(references) == len(EYES)
    for view in references.views:
        assert torch.allclose(view.points.abs().amax(dim=1), torch.tensor(HALF), atol=1e-5)


def test_only_views_that_take_part_are_rendered():
    scene = RoomScene()
    apart = [*reference_poses(), look((0, 0, 0), (0, 0, 1))]
    cameras = [posed(PINHOLE, pose) for pose in apart]
    references = References.build(scene, [(shot(scene, camera), camera) for camera in cameras], CONFIG)
    assert_right(found(photo(), references))
    assert ["points" in vars(view) for view in references.views].count(True) == CONFIG.views
    assert "points" not in vars(references.views[-1]), "it looks the other way"


def test_building_reports_progress():
    scene = RoomScene()
    camera = posed(PINHOLE, TRUTH)
    done: list[int] = []
    References.build(scene, [(shot(scene, camera), camera)] * 3, CONFIG, done.append)
    assert done == [1, 2, 3]


def test_rendered_views_show_what_their_cameras_see():
    scene = RoomScene()
    cameras = posed(DISTORTED, torch.stack(reference_poses()[:2])[0])
    views = list(rendered_views(scene, cameras, max_side=80))
    assert len(views) == 1
    image, camera = views[0]
    assert image.shape == (60, 80, 3)
    assert (float(camera.fx), float(camera.fy)) == (65.0, 66.0)
    assert (int(cameras.width), float(cameras.fx)) == (160, 130.0), "the cameras given are left as they are"
    assert torch.equal(image, shot(scene, camera).clamp(0, 1))
    assert next(rendered_views(scene, cameras, max_side=500))[0].shape == (120, 160, 3)


def test_rendered_views_serve_as_references():
    scene = RoomScene()
    views = [view for pose in reference_poses() for view in rendered_views(scene, posed(PINHOLE, pose), 120)]
    assert_right(found(photo(), References.build(scene, views, CONFIG)))


def test_views_far_apart_are_chosen():
    poses = torch.eye(4)[:3].repeat(7, 1, 1)
    poses[:, 0, 3] = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert spread_views(poses, 3) == [0, 3, 6]
    assert spread_views(poses, 7) == spread_views(poses, 20) == list(range(7))
    turned = poses.clone()
    turned[:, 0, 3] = 0
    turned[5, :, 2] = torch.tensor([1.0, 0.0, 0.0])
    assert 5 in spread_views(turned, 2)


# Parts ---------------------------------------------------------------------------------------------------------------


def test_the_angle_of_a_pixel_is_one_part_of_the_focal_length():
    assert pixel_angle(posed(PINHOLE, TRUTH)) == pytest.approx((1 / 130 + 1 / 132) / 2, rel=1e-3)
    assert pixel_angle(posed(FISHEYE, TRUTH)) == pytest.approx(1 / 60, rel=0.01)


def test_mutual_matches_are_those_that_a_plain_search_finds():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(40, 8)), rng.normal(size=(30, 8))
    second[:10] = first[:10] + 0.1 * rng.normal(size=(10, 8))
    first, second = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (first, second))
    distance = np.linalg.norm(first[:, None] - second[None], axis=2)
    expected = [
        (i, j)
        for i in range(40)
        for j in range(30)
        if distance[i].argmin() == j and distance[:, j].argmin() == i and distance[i, j] < 0.8 * np.sort(distance[i])[1]
    ]
    rows, partners = _mutual(torch.from_numpy(first), torch.from_numpy(second), 0.8)
    assert list(zip(rows.tolist(), partners.tolist(), strict=True)) == expected
    assert len(expected) >= 8


def test_a_reference_with_a_single_keypoint_gives_no_match():
    keypoints = Keypoints(torch.full((1, 2), 9.0), torch.full((1, 128), 128**-0.5))
    lone = References([Reference(room()[0], keypoints, posed(PINHOLE, TRUTH))])
    assert "only 0 keypoints" in refused(photo(), lone)
