"""Looking around in a scene: a wall with two kinds of features, before a model that is not trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.survey import (
    FOLDER,
    SurveyConfig,
    kept_surfels,
    lift,
    look_around,
    made_for,
    picture_of,
    spread,
    together,
)
from nerfseg_plugins.gsn.words import Text, marks_of_words, text_of
from nerfseg_plugins.image_based.rendering import ViewsInMemory

from .scenes import CHANNELS, SIZE, gsn, pixel_rays, row, wall_views
from .things import surfels

CONFIG = SurveyConfig(views=2, resolution=12)


@pytest.fixture(scope="module")
def model() -> Any:
    """With the wall open in it."""
    found = gsn(eval_num_rays_per_chunk=200).eval()
    found.open_scene(ViewsInMemory("wall", wall_views(features=True)))
    return found


def test_views_are_spread_over_all():
    assert spread(10, 4) == [0, 3, 6, 9] and spread(3, 8) == [0, 1, 2] and spread(5, 1) == [0]


def test_a_picture_is_what_is_rendered_and_where_it_lies(model: Any):
    cameras = model.scene.cameras
    seen = picture_of(model, cameras[0:1], 12)
    assert int(cameras.width[0]) == SIZE, "the camera stays as it is"
    assert seen.features.shape == (12, 12, CHANNELS) and seen.rgb.shape == seen.points.shape == (12, 12, 3)
    origins, directions = pixel_rays(row()[0], 12)
    expected = origins + seen.depth.reshape(-1, 1) * directions
    torch.testing.assert_close(seen.points.reshape(-1, 3), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.size, seen.depth / 12)  # the focal length is the size of the image
    assert picture_of(model, cameras[0:1], 500).depth.shape == (SIZE, SIZE), "never finer than the view"


def test_rays_are_lifted_as_pixels_are(model: Any):
    seen = picture_of(model, model.scene.cameras[0:1], 500)
    origins, directions = pixel_rays(row()[0])
    # All at once: which views are sources depends on where rays are.
    found = lift(model, origins, 3 * directions, 2)
    assert len(found) == SIZE * SIZE and found.labels.unique().tolist() == [2]
    torch.testing.assert_close(found.points, seen.points.reshape(-1, 3), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.features, seen.features.reshape(-1, CHANNELS), atol=1e-3, rtol=0)


def test_rays_that_meet_nothing_are_said(model: Any):
    origins, directions = pixel_rays(row()[0])
    with pytest.raises(InputError, match="lies on empty space"):
        lift(model, origins[:9], -directions[:9], 1)


def test_a_survey_has_the_pixels_of_its_views(model: Any):
    found = look_around(model, CONFIG)
    assert found.place[:, 0].unique().tolist() == [0, 1]
    assert len(found) == 2 * 12 * 12 and found.features.dtype == torch.float16
    twice = together([found, found])
    assert len(twice) == 2 * len(found) and twice.place[:, 0].unique().tolist() == [0, 1, 2, 3]
    assert torch.equal(twice.points[: len(found)], found.points)


def test_a_survey_is_kept_until_something_changes(model: Any, tmp_path: Path):
    said: list[str] = []
    first = kept_surfels(model, CONFIG, tmp_path, said.append)
    second = kept_surfels(model, CONFIG, tmp_path, said.append)
    assert len(said) == 1 and all(torch.equal(getattr(first, name), getattr(second, name)) for name in vars(first))
    (path,) = (tmp_path / FOLDER).iterdir()
    kept_surfels(model, SurveyConfig(views=1, resolution=12), tmp_path, said.append)
    assert len(said) == 3 and "it is made anew" in said[1]
    path.write_bytes(path.read_bytes()[:100])
    kept_surfels(model, CONFIG, tmp_path, said.append)
    assert len(said) == 5 and str(path) in said[3]
    before = made_for(model)
    with torch.no_grad():
        model.semantics.feature_fc.bias += 1e-3
    assert made_for(model) != before
    with torch.no_grad():
        model.semantics.feature_fc.bias -= 1e-3


def test_another_scene_is_another_survey(model: Any, tmp_path: Path):
    kept_surfels(model, CONFIG, tmp_path, lambda _: None)
    other = gsn(eval_num_rays_per_chunk=200).eval()
    other.open_scene(ViewsInMemory("other", wall_views(features=True)))
    assert made_for(other).split()[0] == made_for(model).split()[0] and made_for(other) != made_for(model)
    kept_surfels(other, CONFIG, tmp_path, lambda _: None)
    assert len(list((tmp_path / FOLDER).iterdir())) == 2


def test_what_cannot_be_looked_at_is_said(model: Any, tmp_path: Path):
    with pytest.raises(InputError, match="0 views"):
        look_around(model, SurveyConfig(views=0))
    with pytest.raises(InputError, match="no scene is open"):
        look_around(gsn().eval(), CONFIG)
    (tmp_path / FOLDER).write_text("a file where a folder must be")
    with pytest.raises(InputError, match="could not be written"):
        kept_surfels(model, CONFIG, tmp_path, lambda _: None)


# Words ---------------------------------------------------------------------------------------------------------------


def test_words_mark_what_is_like_them():
    thing, wall = torch.eye(4)[1], torch.eye(4)[0]
    text = Text(("a cup", "a wall"), torch.stack([thing, wall]), 0.3 * torch.ones(1, 4))
    seen = surfels(0)
    for index, features in enumerate((thing, wall)):
        marks = marks_of_words(seen, text, index, 3)
        assert marks.labels.unique().tolist() == [3]
        torch.testing.assert_close(marks.features, features.expand(len(marks), 4), atol=1e-3, rtol=0)
        assert np.isclose(len(marks), 60 if index == 0 else 180)


def test_a_scene_without_features_knows_no_words():
    class Data:
        class shown:
            features = None

    with pytest.raises(InputError, match="the scene has no features"):
        text_of(Data, ["a cup"], None, "cpu")
