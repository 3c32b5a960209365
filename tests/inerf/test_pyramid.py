"""What is baked looks like what it was baked from, in a room and in contracted space."""

from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.field_components.spatial_distortions import SceneContraction
from torch import Tensor, nn

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.inerf.pyramid import (  # noqa: E402
    PyramidConfig,
    PyramidLevel,
    _from_unit,
    _halved,
    _stretch,
    _unit,
    bake,
)
from nerfseg_plugins.inerf.scene import FrozenScene, Rendered  # noqa: E402
from nerfseg_plugins.scene.run import load_run, render_views  # noqa: E402

from ..instance_nerf.slabs import slab_model  # noqa: E402
from .scenes import look, pixel_directions  # noqa: E402

BALLS = torch.tensor([[0.3, 0.1, -0.2, 0.45], [-0.4, -0.3, 0.4, 0.3], [-3.0, 4.0, 1.0, 2.5]])
"""Centres and radii; the last is outside of the box, where space is contracted."""


EYES = torch.tensor([[2.0, 1.0, 1.5], [-2.0, 1.0, 1.0], [0.0, -2.0, 2.0], [1.0, 2.0, -2.0]])
"""From where colours are averaged; these do not depend on the direction."""


def density_of(positions: Tensor) -> Tensor:
    """(..., 1) some 12 per unit in the balls, with a soft border."""
    centre, radius = BALLS[:, :3].to(positions), BALLS[:, 3].to(positions)
    outside = (positions[..., None, :] - centre).norm(dim=-1) - radius
    return (12 * torch.sigmoid(-outside / (0.1 * radius))).sum(dim=-1, keepdim=True)


def color_of(positions: Tensor) -> Tensor:
    """(..., 3) a smooth one everywhere."""
    waves = positions.new_tensor([[2.0, 1.0, -1.0], [-1.0, 3.0, 0.5], [0.5, -1.0, 2.5]])
    return 0.5 + 0.4 * (positions @ waves + 1).sin()


class BallField(nn.Module):
    """Density and colour by formula."""

    geo_feat_dim = 1

    def __init__(self, contracted: bool) -> None:
        super().__init__()
        self.spatial_distortion = SceneContraction(order=float("inf")) if contracted else None

    def get_density(self, ray_samples):
        positions = ray_samples.frustums.get_positions()
        return density_of(positions), torch.zeros_like(positions[..., :1])

    def get_outputs(self, ray_samples, density_embedding=None):
        return {FieldHeadNames.RGB: color_of(ray_samples.frustums.get_positions())}


def balls(contracted: bool) -> FrozenScene:
    """The balls as a frozen scene before white."""
    model: Any = slab_model(trained=False, background="white", bounded=not contracted)
    model.field = BallField(contracted)
    model.density_fns = [density_of]
    return FrozenScene(model, samples_per_ray=128)


def views() -> tuple[Tensor, Tensor]:
    """Origins and directions (R, 3) of two cameras, one of which looks at the ball far off."""
    poses = [look((0.1, -0.9, 0.8), (0.0, 0.0, 0.0)), look((0.9, -0.8, 0.3), (-3.0, 4.0, 1.0))]
    directions = torch.cat([pixel_directions(12, 16, 14.0) @ pose[:, :3].T for pose in poses])
    return torch.cat([pose[:, 3].expand(192, 3) for pose in poses]), directions


def integrated(origins: Tensor, directions: Tensor, ends: np.ndarray) -> Rendered:
    """Colours and opacities of rays by sums over many small steps; `ends` are their borders."""
    edges = torch.from_numpy(ends).double()
    middle, width = (edges[1:] + edges[:-1]) / 2, edges.diff()
    positions = origins[:, None].double() + directions[:, None].double() * middle[:, None]
    thickness = density_of(positions)[..., 0] * width
    before = torch.cat([torch.zeros(len(origins), 1).double(), thickness.cumsum(-1)[:, :-1]], dim=-1)
    weights = (-before).exp() * (1 - (-thickness).exp())
    opacity = weights.sum(-1)
    colors = (weights[..., None] * color_of(positions)).sum(1) + (1 - opacity)[:, None]
    depth = (weights * middle).sum(-1) / opacity.clamp_min(1e-9)
    return Rendered(colors.float(), depth.float(), opacity.float())


def in_box(origins: Tensor, directions: Tensor) -> Rendered:
    """`integrated` up to where each ray leaves the box of half side 1."""
    leave = ((directions.sign() - origins) / directions).amin(dim=-1)
    rays = zip(origins, directions, leave.tolist(), strict=True)
    parts = [integrated(origin[None], way[None], np.linspace(0.01, end, 400)) for origin, way, end in rays]
    return Rendered(*(torch.cat(values) for values in zip(*parts, strict=True)))


@pytest.mark.parametrize("contracted", [False, True])
def test_levels_look_like_the_scene(contracted: bool):
    scene = balls(contracted)
    origins, directions = views()
    there = integrated(origins, directions, np.geomspace(0.01, 20, 1500)) if contracted else in_box(origins, directions)
    solid = there.opacity > 0.9
    assert 0.2 < float(solid.float().mean()) < 0.85
    levels = bake(scene, PyramidConfig(resolution=128, levels=4), EYES)
    assert [level.resolution for level in levels] == [16, 32, 64, 128]
    finest_first = [scene, *reversed(levels)]
    tolerances = (1e-3, 0.02, 0.04, 0.08, 0.16) if contracted else (1e-3, 0.005, 0.01, 0.02, 0.06)
    for rendering, tolerance in zip(finest_first, tolerances, strict=True):
        rendered = rendering.render(origins, directions)
        assert rendered.values.shape == (384, 3) and rendered.depth.shape == rendered.opacity.shape == (384,)
        assert float((rendered.values - there.values).abs().mean()) < tolerance
        assert float((rendered.opacity - there.opacity).abs().mean()) < tolerance
        assert float((rendered.depth / there.depth - 1)[solid].abs().median()) < tolerance


@pytest.mark.parametrize("contracted", [False, True])
def test_derivatives_by_rays(contracted: bool):
    """Against differences, in double precision: the grid is linear in between cells, with kinks at their middles."""
    scene = balls(contracted)
    single = bake(scene, PyramidConfig(resolution=32, levels=1), EYES)[0]
    level = PyramidLevel(scene, single.cells.double())
    rays = torch.stack([part.double() for part in views()])
    rays.requires_grad_()
    (slope,) = torch.autograd.grad(level.render(rays[0], rays[1]).values.sum(), rays)
    along = torch.randn(rays.shape, generator=torch.Generator().manual_seed(0), dtype=rays.dtype)
    ahead, behind = (level.render(*(rays.detach() + sign * 1e-6 * along)).values for sign in (1, -1))
    numeric = (ahead - behind).sum(-1) / 2e-6
    difference = ((slope * along).sum(dim=(0, -1)) - numeric).abs()
    assert float(difference.median()) < 1e-7 and float(difference.max()) < 0.1 < float(numeric.abs().mean())
    in_single = rays.detach().float().requires_grad_()
    (other,) = torch.autograd.grad(single.render(in_single[0], in_single[1]).values.sum(), in_single)
    assert float(torch.nn.functional.cosine_similarity(other.flatten(), slope.float().flatten(), dim=0)) > 0.999


def test_halving_by_hand():
    """A ray crosses two of the small cells: opacity 1 - (1 - mean)^2, and the colour of what is opaque."""
    cells = torch.zeros(4, 4, 4, 4)
    cells[:, :2, :2, :2] = torch.tensor([0.2, 0.4, 0.6, 1.0]).view(4, 1, 1, 1)  # full
    cells[:, 2:, :2, :2] = 0.5 * torch.tensor([0.2, 0.4, 0.6, 1.0]).view(4, 1, 1, 1)  # fog
    cells[:, 0, 2, 2] = torch.tensor([1.0, 0.0, 0.0, 1.0])  # one red cell of eight
    cells[:, 0, 2, 3] = torch.tensor([0.0, 0.0, 1.0, 1.0])  # and a blue one
    half = _halved(cells)
    assert half.shape == (4, 2, 2, 2)
    torch.testing.assert_close(half[:, 0, 0, 0], torch.tensor([0.2, 0.4, 0.6, 1.0]))
    torch.testing.assert_close(half[:, 1, 0, 0], 0.75 * torch.tensor([0.2, 0.4, 0.6, 1.0]))
    opacity = 1 - 0.75**2
    torch.testing.assert_close(half[:, 0, 1, 1], opacity * torch.tensor([0.5, 0.0, 0.5, 1.0]))
    assert torch.equal(half[:, 1, 1, 1], torch.zeros(4)) and torch.equal(half[:, 0, 0, 1], torch.zeros(4))


def test_coordinates_in_a_room():
    model = balls(contracted=False).model
    positions = torch.tensor([[-1.0, 0.0, 1.0], [0.5, -0.5, 0.0]])
    unit, stretch = _unit(model, positions)
    torch.testing.assert_close(unit, torch.tensor([[0.0, 0.5, 1.0], [0.75, 0.25, 0.5]]))
    assert stretch.tolist() == [[1.0], [1.0]]
    back, inside = _from_unit(model, unit)
    torch.testing.assert_close(back, positions)
    assert bool(inside.all())


def test_coordinates_in_contracted_space():
    model = balls(contracted=True).model
    positions = torch.tensor([[0.5, -0.5, 0.0], [4.0, 0.0, 0.0], [0.0, -2.0, 1.0]])
    unit, _ = _unit(model, positions)
    # Beyond 1, the largest coordinate r goes to 2 - 1/r and takes the others along; then -2 ... 2 goes to 0 ... 1.
    expected = torch.tensor([[0.5, -0.5, 0.0], [1.75, 0.0, 0.0], [0.0, -1.5, 0.75]]) / 4 + 0.5
    torch.testing.assert_close(unit, expected)
    anywhere = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 1.2, 500)[:, None]
    back, inside = _from_unit(model, _unit(model, anywhere)[0])
    assert bool(inside.all()) and float(anywhere.abs().max()) > 20
    torch.testing.assert_close(back, anywhere, rtol=1e-4, atol=1e-6)
    _, inside = _from_unit(model, torch.tensor([[1.0, 0.5, 0.5], [0.5, 0.001, 0.5], [0.99, 0.5, 0.5]]))
    assert inside.tolist() == [False, False, True]  # the first two are 4 and 3.9 / 4 of the way to infinity


def test_stretch_is_what_the_contraction_does_to_volumes():
    contraction = SceneContraction(order=float("inf"))
    for position in ([0.3, -0.2, 0.9], [3.0, 1.0, -0.5], [0.2, -8.0, 6.0]):
        point = torch.tensor(position, dtype=torch.float64)
        shrunk = torch.autograd.functional.jacobian(contraction, point).det().abs()
        found = _stretch(point.abs().amax(dim=-1, keepdim=True))
        torch.testing.assert_close(found[0], shrunk ** (-1 / 3))


def test_cells_are_as_large_as_they_say():
    room, space = (PyramidLevel(balls(contracted), torch.zeros(4, 16, 16, 16)) for contracted in (False, True))
    assert (room.cell_size, space.cell_size) == (2 / 16, 4 / 16)
    points = torch.tensor([[0.1, 0.2, 0.3], [2.0, 0.0, 0.0]])
    torch.testing.assert_close(room.cell_size_at(points), torch.tensor([2 / 16, 2 / 16]))
    # A point at r = 2 is drawn in to 1.5, and so is all that lies across the view there.
    torch.testing.assert_close(space.cell_size_at(points), torch.tensor([4 / 16, 4 / 16 * 2 / 1.5]))


def test_a_trained_scene_can_be_baked(tiny_run):
    """Its depth and opacity; its colour but for what depends on where one looks from, which is much so early."""
    run = load_run(tiny_run.config)
    view = next(iter(render_views(run, split="train", names=("rgb",))))
    rays = view.camera.generate_rays(camera_indices=0, keep_shape=False)
    with torch.no_grad():
        as_it_is = FrozenScene(run.pipeline.model).render(rays.origins, rays.directions)
        torch.testing.assert_close(as_it_is.values.view(view.outputs["rgb"].shape), view.outputs["rgb"])
        scene = FrozenScene(run.pipeline.model, samples_per_ray=64)  # the tiny run's own 8 are far apart
        exact = scene.render(rays.origins, rays.directions)
        eyes = run.dataset("train").cameras.camera_to_worlds[..., 3]
        for level in bake(scene, PyramidConfig(resolution=64, levels=2), eyes):
            baked = level.render(rays.origins, rays.directions)
            assert float((baked.depth - exact.depth).abs().mean()) < 0.05 * float(exact.depth.mean())
            assert float((baked.opacity - exact.opacity).abs().mean()) < 0.05
            assert float(torch.corrcoef(torch.stack([baked.values.flatten(), exact.values.flatten()]))[0, 1]) > 0.8
    assert not any(parameter.requires_grad for parameter in scene.model.parameters())
