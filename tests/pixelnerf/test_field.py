"""What the networks are given: coordinates in the frames of the views, and what the views show."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
import torch

from nerfseg_plugins.image_based.views import SourceViews
from nerfseg_plugins.pixelnerf.encoder import EncoderConfig
from nerfseg_plugins.pixelnerf.field import FieldConfig, PixelNerfField
from nerfseg_plugins.pixelnerf.mlp import MlpConfig

# A camera at (3, 0, 0) that looks along -x: its right is +y, its up +z, its back +x.
FROM_X = torch.tensor([[0.0, 0.0, 1.0, 3.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])


def small(normalize_z: bool) -> PixelNerfField:
    sizes = MlpConfig(width=4, num_blocks=1, pool_before=1)
    encoder = EncoderConfig(blocks=(1,), width=2, num_stages=1, norm="group")
    return PixelNerfField(FieldConfig(encoder, sizes, sizes, num_frequencies=0, normalize_z=normalize_z))


def one_view(images: torch.Tensor) -> SourceViews:
    size = images.shape[-1]
    return SourceViews(
        images=images,
        c2w=FROM_X[None, None],
        focal=torch.full((1, 1, 2), 2.0 * size),
        center=torch.full((1, 1, 2), size / 2),
        near=torch.ones(1),
        far=torch.full((1,), 5.0),
    )


def test_coordinates_by_hand():
    points = torch.tensor([[[0.5, 0.25, -1.0]]])
    directions = torch.tensor([[[-1.0, 0.0, 0.0]]])
    views = one_view(torch.zeros(1, 1, 3, 8, 8))
    # Along right (y), up (z) and back (x): (0.25, -1, 0.5); the direction looks along the axis: (0, 0, -1).
    found = small(normalize_z=True).inputs(points, directions, views)
    torch.testing.assert_close(found, torch.tensor([0.25, -1.0, 0.5, 0.0, 0.0, -1.0]).view(1, 1, 1, 6))
    # From the camera, 3 units along its back: 0.5 - 3.
    found = small(normalize_z=False).inputs(points, directions, views)
    torch.testing.assert_close(found, torch.tensor([0.25, -1.0, -2.5, 0.0, 0.0, -1.0]).view(1, 1, 1, 6))


def test_features_are_looked_up_where_points_are_projected_to():
    size = 8
    views = one_view(torch.zeros(1, 1, 3, size, size))
    # A map of half the resolution whose channels are the columns and rows of its cells.
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    views = views.with_maps(torch.stack([columns, rows])[None, None])
    # The origin is 3 away on the axis: pixel (4, 4). A map whose first cell lies over the first pixel's centre has
    # cell (4 - 0.5) / 2 = 1.75 there.
    points = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.1875, 0.0], [0.0, 0.0, 0.1875], [0.0, 9.0, 0.0]]])
    found = small(True).features(points, views)[0, 0]
    # 0.1875 to the right or up at a depth of 3 and a focal length of 16 is one pixel, so half a cell.
    wanted = torch.tensor([[1.75, 1.75], [2.25, 1.75], [1.75, 1.25], [3.0, 1.75]])  # the last lies beyond the border
    torch.testing.assert_close(found, wanted)


def test_images_reach_the_encoder_between_minus_one_and_one():
    field = small(True)
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(field.encode(images), field.encoder(images * 2 - 1))


def test_the_order_of_views_does_not_matter(make_views: Callable[..., SourceViews]):
    torch.manual_seed(0)
    field = small(True).eval()
    views = make_views(scenes=2, views=3)
    views = views.with_maps(field.encode(views.images.flatten(0, 1)).unflatten(0, (2, 3)))
    points, directions = torch.randn(2, 5, 3) * 0.3, torch.nn.functional.normalize(torch.randn(2, 5, 3), dim=-1)
    found = field(points, directions, views, fine=True)
    other = field(points, directions, views.select([2, 0, 1]), fine=True)
    for one, two in zip(found, other, strict=True):
        torch.testing.assert_close(one, two)
    # It does matter which image belongs to which camera.
    wrong = replace(views, maps=views.select([1, 2, 0]).maps)
    assert not torch.allclose(field(points, directions, wrong, fine=True)[1], found[1])


def test_the_scene_s_own_frame_is_told_only_when_asked_for():
    """Then come the point as it is in the scene, and the axes of the view."""
    views = one_view(torch.zeros(1, 1, 3, 8, 8))
    points, directions = torch.tensor([[[0.5, 0.25, -1.0]]]), torch.tensor([[[-1.0, 0.0, 0.0]]])
    published = small(normalize_z=True)
    told = PixelNerfField(replace(published.config, canonical=True))
    found = told.inputs(points, directions, views)[0, 0, 0]
    assert torch.equal(found[:6], published.inputs(points, directions, views)[0, 0, 0])
    assert found[6:9].tolist() == [0.5, 0.25, -1.0]
    assert found[9:].tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 0]
    density, color = told(points, directions, views.with_maps(told.encode(views.images[0])[None]), fine=True)
    assert density.shape == (1, 1) and color.shape == (1, 1, 3)


def test_mirror_images_are_points_that_mirrored_cameras_see(make_views: Callable[..., SourceViews]):
    """A network that ignores which is which answers as one that has a mirrored camera beside each, with its image."""
    torch.manual_seed(0)
    plain = small(True).eval()
    told = PixelNerfField(replace(plain.config, symmetric=True)).eval()
    weights = plain.state_dict()
    for name in ("mlp_coarse.lin_in.weight", "mlp_fine.lin_in.weight"):
        weights[name] = torch.cat([weights[name], torch.zeros(4, 1)], dim=1)
    told.load_state_dict(weights)
    views = make_views(scenes=2, views=2)
    views = views.with_maps(plain.encode(views.images.flatten(0, 1)).unflatten(0, (2, 2)))
    points, directions = torch.randn(2, 5, 3) * 0.3, torch.nn.functional.normalize(torch.randn(2, 5, 3), dim=-1)
    found = told(points, directions, views, fine=True)
    mirrored = torch.diag(torch.tensor([-1.0, 1.0, 1.0])) @ views.c2w
    assert views.maps is not None
    doubled = SourceViews(
        images=torch.cat([views.images] * 2, dim=1),
        c2w=torch.cat([views.c2w, mirrored], dim=1),
        focal=torch.cat([views.focal] * 2, dim=1),
        center=torch.cat([views.center] * 2, dim=1),
        near=views.near,
        far=views.far,
        maps=torch.cat([views.maps] * 2, dim=1),
    )
    for one, two in zip(found, plain(points, directions, doubled, fine=True), strict=True):
        torch.testing.assert_close(one, two)
    # Which is which does matter to a network that heeds it.
    told.mlp_fine.lin_in.weight.data[:, -1] = 1.0
    assert not torch.allclose(told(points, directions, views, fine=True)[1], found[1])


def test_densities_by_hand():
    """With a silent last layer the answer is its bias: log(e^3 - 1) is 3 behind a softplus."""
    field = small(True)
    views = one_view(torch.zeros(1, 1, 3, 8, 8))
    views = views.with_maps(field.encode(views.images[0])[None])
    points, directions = torch.zeros(1, 1, 3), torch.tensor([[[-1.0, 0.0, 0.0]]])
    field.mlp_fine.lin_out.weight.data.zero_()
    field.mlp_fine.lin_out.bias.data = torch.tensor([0.0, 0.0, 0.0, float(torch.tensor(3.0).exp().sub(1).log())])
    relu = field(points, directions, views, fine=True)[0].item()
    field.config.density = "softplus"
    density, color = field(points, directions, views, fine=True)
    assert density.item() == pytest.approx(3.0, abs=1e-5) and relu == pytest.approx(2.948, abs=1e-3)
    torch.testing.assert_close(color, torch.full((1, 1, 3), 0.5))
    field.mlp_fine.lin_out.bias.data[3] = -4.0
    assert field(points, directions, views, fine=True)[0].item() > 0
    field.config.density = "relu"
    assert field(points, directions, views, fine=True)[0].item() == 0


def test_short_numbers_are_for_training_alone(make_views: Callable[..., SourceViews]):
    torch.manual_seed(0)
    field = small(True)
    views = make_views(scenes=2, views=1)
    points, directions = torch.randn(2, 5, 3) * 0.3, torch.nn.functional.normalize(torch.randn(2, 5, 3), dim=-1)

    def answer(kind: Literal["never", "always"]) -> torch.Tensor:
        field.config.bfloat16 = kind
        with_maps = views.with_maps(field.encode(views.images.flatten(0, 1))[:, None])
        density, color = field(points, directions, with_maps, fine=True)
        assert density.dtype == color.dtype == torch.float32
        return torch.cat([density[..., None], color], dim=-1)

    exact, short = answer("never"), answer("always")
    assert not torch.equal(exact, short)
    torch.testing.assert_close(exact, short, rtol=0.1, atol=0.1)
    short.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in field.mlp_fine.parameters())
    field.eval()
    assert torch.equal(answer("never"), answer("always"))
