"""Scenes that are mirrored, stretched and sheared: their photos and rays."""

import dataclasses

import numpy as np
import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfseg_plugins.image_based.projection import lookup, project
from nerfseg_plugins.image_based.reshape import Reshape, ReshapeRule, mirrored, reshape_rays
from nerfseg_plugins.image_based.views import SourceViews

WARPED = Reshape(torch.tensor([[1.2, 0.1, -0.15], [0.0, 0.9, 0.2], [0.0, 0.0, 0.95]]), flip=False)


def photos(seed: int = 0, size: tuple[int, int] = (40, 60)) -> SourceViews:
    """Two views towards the origin, of a smooth picture that is different at every pixel."""
    rng = np.random.default_rng(seed)
    poses = []
    for place in rng.normal(size=(2, 3)):
        back = place / np.linalg.norm(place)
        right = np.cross([0, 0, 1], back)
        right /= np.linalg.norm(right)
        poses.append(np.column_stack([right, np.cross(back, right), back, 3 * back]))
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    picture = torch.stack([x / size[1], y / size[0], (x * y) / (size[0] * size[1])])
    return SourceViews(
        picture.expand(1, 2, 3, *size),
        torch.from_numpy(np.stack(poses)).float()[None],
        torch.tensor([[[70.0, 66.0], [80.0, 75.0]]]),
        torch.tensor([[[31.0, 19.0], [28.0, 22.0]]]),
        torch.tensor([1.5]),
        torch.tensor([4.5]),
        features=picture.expand(1, 2, 3, *size),
    )


def points(count: int = 50) -> Tensor:
    return torch.from_numpy(np.random.default_rng(5).uniform(-0.3, 0.3, (1, count, 3))).float()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("matrix", [torch.eye(3), WARPED.matrix])
def test_a_moved_point_looks_as_it_did(matrix: Tensor, flip: bool):
    """Points are moved by hand and projected into the changed views: there is what the old views showed of them."""
    views, before = photos(), points()
    change = Reshape(matrix, flip)
    changed = change.views(views)
    after = (before * torch.tensor([-1.0, 1.0, 1.0]) if flip else before) @ matrix.T
    old, new = project(before, views), project(after, changed)
    assert new.inside.all()
    for name in ("images", "features"):
        expected = lookup(getattr(views, name), old.pixels, views.size)
        torch.testing.assert_close(lookup(getattr(changed, name), new.pixels, views.size), expected, atol=4e-3, rtol=0)


def test_changed_cameras_are_cameras():
    changed = Reshape(WARPED.matrix, flip=True).views(photos())
    rotation = changed.c2w[..., :3]
    torch.testing.assert_close(rotation.transpose(-1, -2) @ rotation, torch.eye(3).expand(1, 2, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(1, 2))


def test_mirroring_twice_changes_nothing():
    views = photos()
    twice = mirrored(mirrored(views))
    for entry in dataclasses.fields(views):
        value = getattr(views, entry.name)
        if value is not None:
            torch.testing.assert_close(getattr(twice, entry.name), value)


def test_rays_pass_the_moved_points_at_the_moved_bounds():
    """By hand: of one scene of two, stretched to twice its height, and mirrored."""
    rays = RayBundle(
        origins=torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0]]),
        directions=torch.tensor([[0.0, 0.0, -1.0], [0.6, 0.0, -0.8]]),
        pixel_area=torch.ones(2, 1),
        nears=torch.tensor([[1.0], [0.5]]),
        fars=torch.tensor([[3.0], [2.5]]),
    )
    tall = Reshape(torch.diag(torch.tensor([1.0, 1.0, 2.0])), flip=False)
    side = Reshape(torch.eye(3), flip=True)
    changed = reshape_rays(rays, [tall, side])
    torch.testing.assert_close(changed.origins, torch.tensor([[0.0, 0.0, 4.0], [-1.0, 0.0, 2.0]]))
    torch.testing.assert_close(changed.directions, torch.tensor([[0.0, 0.0, -1.0], [-0.6, 0.0, -0.8]]))
    assert changed.nears is not None and changed.fars is not None
    torch.testing.assert_close(changed.nears, torch.tensor([[2.0], [0.5]]))
    torch.testing.assert_close(changed.fars, torch.tensor([[6.0], [2.5]]))


def test_bounds_hold_what_the_scene_held():
    """The nearest point of a scene is nowhere pressed nearer than by the least stretch."""
    changed = Reshape(torch.diag(torch.tensor([0.5, 1.0, 2.0])), flip=False).views(photos())
    assert changed.near.tolist() == pytest.approx([0.75]) and changed.far.tolist() == pytest.approx([9.0])


def test_what_is_drawn():
    rule = ReshapeRule(mirror=True, stretch=0.3, shear=0.2)
    drawn = [rule.draw(np.random.default_rng(seed)) for seed in range(200)]
    matrices = torch.stack([change.matrix for change in drawn])
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(200))  # volumes stay
    assert 60 < sum(change.flip for change in drawn) < 140
    assert 0.1 < matrices[:, 1, 2].abs().max() <= 0.2
    # z stays along z, and what is alike left and right stays so
    assert matrices[:, [0, 0, 1, 2, 2], [1, 2, 0, 0, 1]].abs().max() == 0
    logs = matrices.diagonal(dim1=1, dim2=2).log()
    assert 0.2 < logs.abs().max() <= 0.4  # 0.3 less the mean of the three
    assert rule.changes and not ReshapeRule().changes
