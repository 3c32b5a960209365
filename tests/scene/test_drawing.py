"""Clicks and rectangles in a viewer become the rays under a brush."""

import math

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.drawing import MAX_RAYS, Click, Rays, brush_rays, pixel_size, rectangle_rays
from nerfseg_plugins.segments.strokes import stamp_points, stamp_polyline

PIXEL = 0.01
ORIGIN = (1.0, 2.0, 3.0)


def click(x: float, y: float = 0.0, origin: tuple[float, float, float] = ORIGIN) -> Click:
    """A click x pixels to the right of -z and y above it; of a length that is not 1."""
    return Click(origin, (2 * x * PIXEL, 2 * y * PIXEL, -2.0))


def across(rays: Rays) -> torch.Tensor:
    """(P, 2) where rays cross the plane z = -1 before their origin, pixels."""
    return rays.directions[:, :2] / -rays.directions[:, 2:] / PIXEL


def test_a_pixel_of_a_camera_that_sees_90_degrees():
    assert pixel_size(math.radians(90), 200) == pytest.approx(0.01)


def test_a_click_with_the_finest_brush_is_the_ray_through_it():
    rays = brush_rays([click(20, 5)], PIXEL, 0, stamp_polyline)
    assert rays.origins.tolist() == [list(ORIGIN)]
    assert rays.directions.norm(dim=-1) == pytest.approx(1)
    assert (across(rays) - torch.tensor([20.0, 5.0])).norm() < 1


def test_a_brush_of_radius_3_marks_29_pixels_around_a_click():
    rays = brush_rays([click(0)], PIXEL, 3, stamp_polyline)
    assert len(rays) == 29 and across(rays).norm(dim=-1).max() == pytest.approx(3, abs=0.75)
    assert across(rays).mean(dim=0).norm() < 0.75


def test_clicks_are_joined_or_not():
    clicks = [click(-20), click(20), click(20, 30)]
    line, points = (brush_rays(clicks, PIXEL, 0, stamp) for stamp in (stamp_polyline, stamp_points))
    assert len(points) == 3 and len(line) == pytest.approx(70, abs=8)
    steps = torch.cdist(across(line), across(line)).fill_diagonal_(torch.inf).amin(dim=0)
    assert steps.max() < 1.6  # no gap
    ends = torch.cdist(torch.tensor([[-20.0, 0], [20, 0], [20, 30]]), across(line)).amin(dim=1)
    assert ends.max() < 0.8
    assert ((across(line)[:, 1].abs() < 1.5) | ((across(line)[:, 0] - 20).abs() < 1.5)).all()


def test_clicks_from_different_places_are_not_joined():
    clicks = [click(-20), click(20), click(0, 0, (5.0, 5.0, 5.0))]
    rays = brush_rays(clicks, PIXEL, 0, stamp_polyline)
    elsewhere = rays.origins[:, 0] == 5
    assert int(elsewhere.sum()) == 1 and int((~elsewhere).sum()) == pytest.approx(41, abs=2)


def test_very_many_rays_are_thinned_from_end_to_end():
    rays = brush_rays([click(-60), click(60)], PIXEL, 30, stamp_polyline)
    assert len(rays) == MAX_RAYS
    assert across(rays)[:, 0].min() < -85 and across(rays)[:, 0].max() > 85
    few = Rays(rays.origins[:5], rays.directions[:5])
    assert few.thinned() is few and torch.equal(few.thinned(2).directions, few.directions[[0, 4]])


@pytest.mark.parametrize(
    ("clicks", "says"),
    [
        ([], "nothing was drawn"),
        ([Click(ORIGIN, (0.0, 0.0, 0.0))], "without a direction"),
        ([Click(ORIGIN, (math.nan, 0.0, 1.0))], "without a direction"),
        ([Click(ORIGIN, (1.0, 0.0, 0.0)), Click(ORIGIN, (-1.0, 0.0, 0.1))], "too far apart"),
        ([Click(ORIGIN, (1.0, 0.0, 0.0)), Click(ORIGIN, (-1.0, 0.0, 0.0))], "too far apart"),
    ],
)
def test_what_cannot_be_drawn(clicks, says):
    with pytest.raises(InputError, match=says):
        brush_rays(clicks, PIXEL, 3, stamp_polyline)


def test_a_negative_radius_is_refused():
    with pytest.raises(InputError, match="radius -1"):
        brush_rays([click(0)], PIXEL, -1, stamp_polyline)


CAMERA = Cameras(torch.eye(4)[None, :3], fx=10.0, fy=10.0, cx=5.0, cy=4.0, width=10, height=8)


def test_a_rectangle_is_the_rays_through_its_pixels():
    everything = rectangle_rays(CAMERA, (0, 0), (1, 1))
    every_pixel = CAMERA.generate_rays(camera_indices=0).flatten()
    assert torch.allclose(everything.directions, every_pixel.directions)
    corner = rectangle_rays(CAMERA, (-0.1, 0), (0.3, 0.25))
    assert len(corner) == 3 * 2
    # Left of the middle is -x, above it +y; the camera looks along -z.
    assert (corner.directions[:, 0] < 0).all() and (corner.directions[:, 1] > 0).all()


def test_a_rectangle_between_pixels_is_refused():
    with pytest.raises(InputError, match="too small"):
        rectangle_rays(CAMERA, (0.26, 0.3), (0.28, 0.32))


def test_a_large_rectangle_is_thinned():
    camera = Cameras(torch.eye(4)[None, :3], fx=100.0, fy=100.0, cx=50.0, cy=50.0, width=100, height=100)
    rays = rectangle_rays(camera, (0, 0), (1, 1))
    assert len(rays) == MAX_RAYS
    assert torch.allclose(rays.directions.mean(dim=0)[:2], torch.zeros(2), atol=0.02)
