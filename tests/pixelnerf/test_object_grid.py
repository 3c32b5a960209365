"""An object copied on a grid: what it is filled with, and how it is rendered."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import normalize

from nerfseg_plugins.image_based.views import SourceViews
from nerfseg_plugins.inerf.object_grid import ObjectGrid, ObjectGridConfig, can_copy, copy_object
from nerfseg_plugins.inerf.scene import FrozenScene
from nerfseg_plugins.pixelnerf.model import PixelNerfModel

from .test_model import Around

BOX = torch.tensor([[-1.0, -0.5, -1.0], [1.0, 0.5, 1.0]])


def test_a_block_of_one_colour_by_hand():
    """Density 0.7 in a box that is two units deep along x, and one along y."""
    color = torch.tensor([0.2, 0.4, 0.9])
    cells = torch.cat([color * 0.7, torch.tensor([0.7])])[:, None, None, None].expand(4, 20, 20, 20)
    grid = ObjectGrid(cells, BOX, 1.0, 5.0, torch.tensor([1.0, 1.0, 0.0]), 400)
    origins = torch.tensor([[-3.0, 0.0, 0.0], [0.0, 3.0, 0.1], [0.0, 3.0, 2.0]])
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, -1.0, 0.0]])
    found = grid.render(origins, directions)
    opacity = torch.tensor([1 - math.exp(-0.7 * 2), 1 - math.exp(-0.7), 0.0])
    torch.testing.assert_close(found.opacity, opacity, atol=0.02, rtol=0)
    expected = opacity[:, None] * color + (1 - opacity[:, None]) * torch.tensor([1.0, 1.0, 0.0])
    torch.testing.assert_close(found.values, expected, atol=0.02, rtol=0)
    # The mean of an exponential that is cut off after a length: from x = -1, two units of 0.7.
    within = 1 / 0.7 - 2 * math.exp(-1.4) / (1 - math.exp(-1.4))
    assert float(found.depth[0]) == pytest.approx(2 + within, abs=0.02)


def test_cells_are_what_the_network_says(
    make_model: Callable[..., PixelNerfModel], make_views: Callable[..., SourceViews]
):
    model, views = make_model(), make_views(views=1)
    assert not can_copy(FrozenScene(model)), "no scene is open"
    model.open_scene(Around(views))  # type: ignore[arg-type]
    scene = FrozenScene(model)
    assert can_copy(scene)
    grid = copy_object(scene, ObjectGridConfig(resolution=6, samples_per_ray=10))
    x, y, z = 1, 4, 3
    point = torch.tensor([[(index + 0.5) / 3 - 1 for index in (x, y, z)]])  # cells of a third in a box of two
    eye = views.c2w[0, 0, :, 3]
    with torch.no_grad():
        density, color = model.field(point[None], normalize(point - eye, dim=-1)[None], model.sources([0]), True)
    cell = grid.cells[:, z, y, x]
    torch.testing.assert_close(cell[3], density[0, 0])
    torch.testing.assert_close(cell[:3], color[0, 0] * density[0, 0])
    # White shines through where a ray misses the box.
    missed = grid.render(torch.tensor([[0.0, 0.0, 4.0]]), torch.tensor([[0.0, 1.0, 0.0]]))
    torch.testing.assert_close(missed.values, torch.ones(1, 3))


def test_a_source_view_is_encoded_once(
    make_model: Callable[..., PixelNerfModel], make_views: Callable[..., SourceViews]
):
    around = Around(make_views(views=1))
    model = make_model()
    model.open_scene(around)  # type: ignore[arg-type]
    scene = FrozenScene(model)
    for _ in range(2):
        copy_object(scene, ObjectGridConfig(resolution=4))
        scene.render(torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[0.0, 0.0, -1.0]]))
    assert around.taken == [0]
