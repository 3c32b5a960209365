"""Pictures that need no learning."""

import math

import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation.image_baselines import (
    Pinhole,
    best_plane_blend,
    nearest_view,
    on_plane,
    plane_blend,
)


def camera(x: float = 0.0, turn: float = 0.0, size: tuple[int, int] = (4, 6), focal: float = 6.0) -> Pinhole:
    """At (x, 0, 0), looking along -z but for a turn about y in degrees."""
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    rotation = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c2w = torch.cat([rotation, torch.tensor([[x], [0.0], [0.0]])], 1)
    return Pinhole(c2w, (focal, focal), (size[1] / 2, size[0] / 2), size)


def flat(value: float, size: tuple[int, int] = (4, 6)) -> torch.Tensor:
    return torch.full((*size, 3), value)


def stripes(shift: int = 0, size: tuple[int, int] = (4, 6)) -> torch.Tensor:
    """Columns that are 0, 0.1, 0.2 ... from left to right, moved to the left."""
    return ((torch.arange(size[1]) + shift) / 10)[None, :, None].expand(*size, 3).clone()


def test_nearest_of_some():
    sources = [camera(2.0), camera(-0.5), camera(0.5)]
    assert nearest_view(camera(), sources, [flat(0.1), flat(0.2), flat(0.3)])[0, 0, 0].item() == pytest.approx(0.2)
    with pytest.raises(InputError, match="there is none"):
        nearest_view(camera(), [], [])
    with pytest.raises(InputError, match="8x3 pixels and the view itself 6x4"):
        nearest_view(camera(), sources, [flat(0.1), flat(0.2, (3, 8)), flat(0.3)])


def test_a_camera_sees_its_own_picture_on_any_plane():
    for depth in (1.0, 7.5):
        colors, inside = on_plane(camera(), depth, camera(), stripes())
        assert torch.allclose(colors, stripes(), atol=1e-6) and inside.all()


def test_parallax_by_hand():
    """At depth 3, half a unit to the right is 6 * 0.5 / 3 = 1 pixel: the source sees all of it 1 pixel farther left."""
    colors, inside = on_plane(camera(), 3.0, camera(0.5), stripes())
    assert torch.allclose(colors[:, 1:], stripes()[:, :-1], atol=1e-6)
    assert inside[:, 1:].all() and not inside[:, 0].any()
    assert torch.allclose(colors[:, 0], stripes()[:, 0], atol=1e-6)  # the border is repeated


def test_a_camera_that_looks_away_sees_nothing():
    _, inside = on_plane(camera(), 3.0, camera(turn=180), stripes())
    assert not inside.any()


def test_blend_takes_the_mean_of_those_that_see():
    sources, images = [camera(), camera(0.5)], [flat(0.2), flat(0.6)]
    found = plane_blend(camera(), 3.0, sources, images)
    assert found[:, 0].unique().tolist() == pytest.approx([0.2])
    assert found[:, 1:].unique().tolist() == pytest.approx([0.4])
    # Where none sees a pixel, it is the mean of all borders.
    away = plane_blend(camera(), 3.0, [camera(turn=180), camera(turn=180)], images)
    assert away.unique().tolist() == pytest.approx([0.4])


def test_finds_the_plane_of_a_flat_scene():
    """A wall at depth 3 with stripes, seen by two cameras one pixel of parallax to either side."""
    sources = [camera(0.5), camera(-0.5)]
    images = [stripes(1), stripes(-1)]
    found = best_plane_blend(camera(), stripes(), sources, images, near=1.5, far=6.0, planes=4)
    # 1/1.5, 1/2, 1/3, 1/6
    assert found.depth == pytest.approx(3.0)
    assert found.error == pytest.approx(0, abs=1e-9)
    assert torch.allclose(found.image, stripes(), atol=1e-5)


def test_bad_bounds():
    with pytest.raises(InputError, match=r"between the depths 2\.0 and 1\.0"):
        best_plane_blend(camera(), stripes(), [camera()], [stripes()], near=2.0, far=1.0)
    with pytest.raises(InputError, match="there is none"):
        best_plane_blend(camera(), stripes(), [], [], near=1.0, far=2.0)
