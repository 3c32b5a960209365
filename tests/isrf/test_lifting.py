"""Rays of strokes in a scene of known boxes."""

import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.edits import Edit
from nerfseg_plugins.isrf.lifting import StrokePoints, lift, lift_pixels

from .boxes import ASIDE, FRONT, MIDDLE, WALL, box_model, voxels_of
from .views import FRONT_VIEW, cameras

ALONG = torch.tensor([1.0, 0.0, 0.0])


def rays(*origins: tuple[float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(origins), ALONG.expand(len(origins), 3)


def test_rays_end_on_what_they_meet_first():
    found = lift(box_model(), *rays(MIDDLE, ASIDE))
    assert len(found) == 2 and found.features.dtype == found.points.dtype == torch.float32
    torch.testing.assert_close(found.points, torch.tensor([[-0.4, 0, 0], [0.7, 0.6, 0]]), atol=5e-3, rtol=0)
    torch.testing.assert_close(found.features, torch.eye(3)[[FRONT, WALL]], atol=1e-4, rtol=0)


def test_directions_of_any_length_will_do():
    origins, directions = rays(MIDDLE)
    found = lift(box_model(), origins, 3 * directions)
    torch.testing.assert_close(found.points, torch.tensor([[-0.4, 0, 0]]), atol=5e-3, rtol=0)


def test_features_have_length_one():
    found = lift(box_model(), *rays(MIDDLE, ASIDE, (-0.9, 0.1499, 0.0)))
    torch.testing.assert_close(found.features.norm(dim=-1), torch.ones(3))


def test_rays_that_meet_nothing_are_left_out():
    """A ray along -x leaves the scene."""
    origins = torch.tensor([MIDDLE, MIDDLE, ASIDE])
    directions = torch.stack([-ALONG, ALONG, ALONG])
    found = lift(box_model(), origins, directions)
    torch.testing.assert_close(found.points[:, 0], torch.tensor([-0.4, 0.7]), atol=5e-3, rtol=0)


def test_a_stroke_on_empty_space_is_refused():
    with pytest.raises(InputError, match="empty space") as caught:
        lift(box_model(), torch.tensor([MIDDLE]), -ALONG[None])
    assert "\n" not in str(caught.value)


def test_what_is_selected_or_edited_plays_no_part():
    model = box_model()
    model.edits, model.selected = [Edit("gone", voxels_of(FRONT), action="remove")], voxels_of(WALL)
    found = lift(model, *rays(MIDDLE))
    torch.testing.assert_close(found.points, torch.tensor([[-0.4, 0, 0]]), atol=5e-3, rtol=0)
    assert len(model.edits) == 1 and model.selected is not None


def test_more_rays_than_are_rendered_at_once():
    model = box_model(eval_num_rays_per_chunk=8)
    origins = torch.tensor([MIDDLE, ASIDE] * 10)
    found = lift(model, origins, ALONG.expand(20, 3))
    assert found.features.argmax(dim=-1).tolist() == [FRONT, WALL] * 10


def test_pixels_are_rows_and_columns():
    """Row 30, column 40 lies right below and right of the axis: x forward, y to the left, z up."""
    camera = cameras(FRONT_VIEW)
    found = lift_pixels(box_model(), camera, torch.tensor([[30, 40], [30, 60], [50, 40]]))
    expected = torch.tensor([[-0.4, -0.5 * 0.0125, -0.5 * 0.0125], [0.7, -1.6 * 20.5 / 40, -1.6 * 0.0125]])
    torch.testing.assert_close(found.points[:2], expected, atol=6e-3, rtol=0)
    torch.testing.assert_close(found.points[2], torch.tensor([0.7, -1.6 * 0.0125, -1.6 * 20.5 / 40]), atol=6e-3, rtol=0)
    assert found.features.argmax(dim=-1).tolist() == [FRONT, WALL, WALL]


def test_strokes_come_together():
    one, two = (lift(box_model(), *rays(place)) for place in (MIDDLE, ASIDE))
    both = StrokePoints.cat([one, two])
    assert len(both) == 2
    assert torch.equal(both.points, torch.cat([one.points, two.points]))
    assert torch.equal(both.features, torch.cat([one.features, two.features]))
