"""What views see as a graph: weights by hand."""

import math
from dataclasses import replace

import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.surfels import NEIGHBOURS, SIGMA_JUMP, Picture, Surfels, links, to_lab
from nerfseg_plugins.segments.select_config import WalkerConfig

from .things import HEIGHT, WIDTH, picture, surfels

CONFIG = WalkerConfig(sigma_f=0.5, sigma_c=1.0, floor=0.01)


def small(features: list[list[list[float]]], depth: float = 2.0, apart: float = 0.1) -> Picture:
    """A picture of few pixels, black, on a plane."""
    values = torch.tensor(features)
    height, width = values.shape[:2]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    points = torch.stack([columns * apart, -rows * apart, torch.zeros(height, width)], dim=-1).float()
    ones = torch.ones(height, width)
    return Picture(values, points, torch.zeros(height, width, 3), depth * ones, 0.1 * ones)


def test_pixels_that_meet_nothing_are_left_out():
    seen = picture()
    seen.features[0] = 0
    seen.points[1, 0, 0] = torch.inf
    found = Surfels.of([seen, picture(2)])
    assert len(found) == (HEIGHT - 1) * WIDTH - 1 + HEIGHT * WIDTH
    assert found.place[0].tolist() == [0, 1, 1] and found.place[-1].tolist() == [1, HEIGHT - 1, WIDTH - 1]
    order = (found.place[:, 0] * HEIGHT + found.place[:, 1]) * WIDTH + found.place[:, 2]
    assert bool((order.diff() > 0).all())


def test_views_of_nothing_and_features_that_are_none_are_refused():
    seen = picture()
    seen.features[:] = 0
    with pytest.raises(InputError, match="no view of the scene meets anything"):
        Surfels.of([seen])
    seen.features[0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        Surfels.of([seen])


def test_colours_are_in_hundreds():
    white, black = to_lab(torch.tensor([[1.0, 1, 1], [0, 0, 0]]))
    torch.testing.assert_close(white, torch.tensor([1.0, 0, 0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(black, torch.zeros(3), atol=1e-6, rtol=0)


def test_neighbouring_pixels_by_hand():
    """A square of four pixels, of which the last has features at a right angle: 2 apart in squared distance."""
    one, other = [1.0, 0.0], [0.0, 1.0]
    found = links(Surfels.of([small([[one, one], [one, other]])]), CONFIG).toarray()
    alike, apart = 1.01, math.exp(-2 / 0.5) + 0.01
    expected = torch.zeros(4, 4)
    expected[0, 1] = expected[0, 2] = alike
    expected[1, 2] = 1 / math.sqrt(2) + 0.01
    expected[0, 3] = math.exp(-2 / 0.5) / math.sqrt(2) + 0.01
    expected[1, 3] = expected[2, 3] = apart
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=0)


def test_a_pixel_before_its_neighbour_is_linked_weakly():
    seen = small([[[1.0, 0.0], [1.0, 0.0]]])
    seen.depth[0, 1] = 2.2  # a tenth behind
    found = links(Surfels.of([seen]), CONFIG)
    assert found[0, 1] == pytest.approx(math.exp(-0.1 / SIGMA_JUMP) + 0.01, abs=1e-4)


def test_colours_tell_apart_too():
    seen = small([[[1.0, 0.0], [1.0, 0.0]]])
    seen.rgb[0, 1] = 1.0
    assert links(Surfels.of([seen]), CONFIG)[0, 1] == pytest.approx(math.exp(-1) + 0.01, abs=1e-3)


def test_the_same_place_in_two_views_is_linked_once():
    """Half a pixel aside: exp(-1/2 * 0.5^2); three pixels aside there is no link."""
    seen = small([[[1.0, 0.0]]])
    beside, away = (replace(seen, points=seen.points + torch.tensor([step, 0, 0])) for step in (0.05, 0.3))
    found = links(Surfels.of([seen, beside, away]), CONFIG)
    assert found.nnz == 1 and found[0, 1] == pytest.approx(math.exp(-0.125), abs=1e-4)


def test_no_link_leads_from_one_row_to_the_next_or_from_a_view_to_itself():
    found = links(surfels(0), CONFIG).tocoo()
    columns = surfels(0).place[:, 2].numpy()
    assert abs(columns[found.row] - columns[found.col]).max() == 1
    assert found.nnz == HEIGHT * (WIDTH - 1) + (HEIGHT - 1) * WIDTH + 2 * (HEIGHT - 1) * (WIDTH - 1)
    assert (found.row < found.col).all()


def test_links_between_views_are_few():
    both = surfels(0, 2)
    found = links(both, CONFIG).tocoo()
    view = both.place[:, 0].numpy()
    across = view[found.row] != view[found.col]
    assert 0 < across.sum() <= 2 * NEIGHBOURS * HEIGHT * WIDTH
    # Each surfel of the first view that the second sees too is linked to the surfel at the very same place.
    assert (found.data[across] > 0.999).sum() == HEIGHT * (WIDTH - 2)
