"""The cache: which voxels of a scene of known boxes it holds, what it knows of them, and its file."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.field_components.spatial_distortions import SceneContraction
from nerfstudio.model_components.scene_colliders import NearFarCollider

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import CacheConfig, VoxelCache, build_cache
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.isrf.surface import near_surface
from nerfseg_plugins.isrf.voxels import VoxelGrid
from nerfseg_plugins.scene.depth_pictures import DepthPicture, depth_pictures, places_seen

from . import boxes
from .boxes import BLUE, BOXES, GRID, RED, box_model
from .caches import random_cache
from .views import FRONT_VIEW, SIDE_VIEW, cameras

CONFIG = CacheConfig(resolution=40, depth_downscale=1.0)


@pytest.fixture(scope="module")
def front() -> VoxelCache:
    """What a single camera on the axis sees."""
    return build_cache(box_model(), cameras(FRONT_VIEW), CONFIG)


def bytes_of(color: tuple[float, float, float]) -> list[int]:
    return [round(255 * value) for value in color]


# Which voxels --------------------------------------------------------------------------------------------------------


def test_voxels_lie_on_the_surfaces_that_the_camera_sees(front: VoxelCache):
    """The front of the red box, x in [-0.4, -0.35], and of the wall, [0.7, 0.75]; nothing in the air or behind."""
    assert front.grid == GRID and len(front) > 1000
    centres = front.centres()
    red = centres[:, 0] < 0
    torch.testing.assert_close(centres[red][:, 0], torch.full_like(centres[red][:, 0], -0.375))
    torch.testing.assert_close(centres[~red][:, 0], torch.full_like(centres[~red][:, 0], 0.725))
    assert int(red.sum()) == 36, "6 x 6 voxels on a square of side 0.3"
    assert torch.equal(front.keys, front.keys.sort().values) and len(front.keys.unique()) == len(front)


def test_what_is_hidden_is_left_out(front: VoxelCache):
    """The red box, at 0.5 from the camera, hides a square of the wall, at 1.6: its half side is 0.15 / 0.5 * 1.6."""
    centres = front.centres()
    aside = centres[centres[:, 0] > 0][:, 1:].abs().amax(dim=-1)
    edge = front.grid.edge
    shadow = 0.15 / 0.5 * 1.6
    assert shadow - 2 * edge < float(aside.min()) < shadow + edge
    # Nor is anything kept beyond the picture: 60 pixels at a focal length of 40 are 0.75 to each side.
    assert float(centres[:, 2].abs().max()) < 0.75 * 1.65 + 2 * edge


def test_another_view_adds_what_it_sees(front: VoxelCache):
    both = build_cache(box_model(), cameras(FRONT_VIEW, SIDE_VIEW), CONFIG)
    assert bool(torch.isin(front.keys, both.keys).all())
    centres = both.centres()
    glossy = (centres[:, 0] > 0.05) & (centres[:, 0] < 0.25)
    assert int(glossy.sum()) > 20
    # Its front and one side, not the other side: the view looks along +y.
    assert float(centres[glossy][:, 1].max()) < 0.16 and float(centres[glossy][:, 1].min()) < -0.12
    back = glossy & (centres[:, 0] > 0.15) & (centres[:, 1] > 0)
    assert int(back.sum()) == 0


def test_every_voxel_says_what_it_is(front: VoxelCache):
    """Features by the head, the latent (which box it is) scaled to 0..1, the colour and the density of the field."""
    red = front.centres()[:, 0] < 0
    for mask, feature, latent, color in ((red, [1.0, 0, 0], 0.0, RED), (~red, [0, 0, 1.0], 1.0, BLUE)):
        count = int(mask.sum())
        assert front.features[mask].tolist() == [feature] * count
        assert front.latents[mask].tolist() == [[latent]] * count
        assert front.colors[mask].tolist() == [bytes_of(color)] * count
        assert front.density[mask].tolist() == [1e4] * count
    assert [getattr(front, name).dtype for name in ("features", "latents", "colors", "density", "keys")] == [
        torch.float16,
        torch.float16,
        torch.uint8,
        torch.float16,
        torch.long,
    ]


def test_colours_are_those_that_the_nearest_view_sees():
    """The glossy box shows the direction that it is looked at from."""
    views = [SIDE_VIEW, ((-0.2, -0.8, 0.3), (0.15, 0.0, 0.0))]
    cache = build_cache(box_model(), cameras(*views), CONFIG)
    centres = cache.centres()
    glossy = cache.latents[:, 0] == 0.5
    assert int(glossy.sum()) > 20
    places = torch.tensor([place for place, _ in views])
    away = centres[glossy][:, None] - places
    expected = []
    for directions in away:
        nearest = directions[directions.norm(dim=-1).argmin()]
        expected.append((255 * (nearest / nearest.norm() + 1) / 2).tolist())
    difference = np.abs(cache.colors[glossy].numpy() - np.array(expected)).max(axis=1)
    # Near the outline only the farther view sees some.
    assert np.mean(difference < 1) > 0.85


def test_selections_and_edits_play_no_part(front: VoxelCache):
    from nerfseg_plugins.isrf.edits import Edit

    model = box_model()
    model.edits, model.selected = [Edit("gone", boxes.voxels_of(0), action="remove")], boxes.voxels_of(2)
    again = build_cache(model, cameras(FRONT_VIEW), CONFIG)
    for name in ("keys", "features", "latents", "colors", "density"):
        assert torch.equal(getattr(again, name), getattr(front, name)), name


class FarField(boxes.BoxField):
    """As it is; that it is asked beyond the box is all that matters."""

    spatial_distortion = SceneContraction(order=float("inf"))


def test_an_unbounded_scene_is_kept_in_contracted_space(monkeypatch: pytest.MonkeyPatch):
    """The wall moved out to x = 4: contracted, that is 2 - 1 / 4."""
    far = BOXES.clone()
    far[2] = torch.tensor([[4.0, -9, -9], [5.0, 9, 9]])
    monkeypatch.setattr(boxes, "BOXES", far)
    model = box_model(num_proposal_samples_per_ray=(1500,), num_nerf_samples_per_ray=128)
    model.collider = NearFarCollider(0.01, 8.0)
    model.field = FarField()  # type: ignore[assignment]
    cache = build_cache(model, cameras(FRONT_VIEW), CONFIG)
    assert cache.grid == VoxelGrid((-2.0, -2.0, -2.0), 0.05, (80, 80, 80), contracted=True)
    inner = cache.grid.centres(cache.coords)
    wall = cache.features[:, 2] == 1
    assert int(wall.sum()) > 100 and int((~wall).sum()) >= 36
    # The voxels that 1.75 lies between have their centres at x = 3.6, in the air, and 4.4, in the wall.
    ahead = wall & (inner[:, 0] > inner[:, 1:].abs().amax(dim=-1))
    torch.testing.assert_close(inner[ahead][:, 0], torch.full_like(inner[ahead][:, 0], 1.775))
    centres = cache.centres()
    torch.testing.assert_close(cache.grid.to_grid(centres), inner)
    # A voxel there is 16 times as deep as in the middle, and lies in the wall.
    assert float(centres[wall][:, 0].min()) > 4 and float(centres[wall][:, 0].max()) < 5
    assert torch.equal(cache.index_of(centres), torch.arange(len(cache)))


def test_a_scene_without_surfaces_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boxes, "BOXES", BOXES + 50)
    with pytest.raises(InputError, match="training views see no surface"):
        build_cache(box_model(), cameras(FRONT_VIEW), CONFIG)


def test_a_scene_that_absorbs_too_little_is_refused():
    with pytest.raises(InputError, match=r"absorbs 1\.1 of a ray"):
        build_cache(box_model(), cameras(FRONT_VIEW), CacheConfig(40, 1.0, min_alpha=1.1))


# Where a position lies -----------------------------------------------------------------------------------------------


def test_positions_are_found():
    cache = random_cache(0)
    centres = cache.centres()
    places = torch.arange(len(cache))
    assert torch.equal(cache.index_of(centres), places)
    shifted = centres + 0.49 * cache.grid.edge * (2 * torch.rand(centres.shape) - 1)
    assert torch.equal(cache.index_of(shifted), places)
    empty = np.argwhere(~np.isin(np.arange(math.prod(cache.grid.shape)), cache.keys).reshape(cache.grid.shape))
    assert bool((cache.index_of(cache.grid.centres(torch.from_numpy(empty))) == -1).all())
    outside = torch.tensor([[-0.1, 1, 1], [100, 1, 1], [torch.nan, 1, 1], [torch.inf, 1, 1], [-1e30, 1, 1]])
    assert cache.index_of(outside).tolist() == [-1] * 5
    assert cache.index_of(centres[:6].view(2, 3, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_cache_tells_its_memory():
    cache = random_cache(0)
    assert cache.num_bytes == len(cache) * (8 + 6 * 2 + 3 * 2 + 3 + 2)


# Its file ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contracted", [False, True])
def test_a_file_brings_the_cache_back(tmp_path: Path, contracted: bool):
    cache = random_cache(1)
    grid = VoxelGrid((-0.1, 0.2, 1 / 3), 0.07, cache.grid.shape, contracted)
    cache = VoxelCache(grid, cache.keys, cache.features, cache.latents, cache.colors, cache.density)
    path = tmp_path / "voxels.npz"
    cache.save(path, "weights")
    again = VoxelCache.load(path, "weights")
    assert again.grid == grid and [each.name for each in tmp_path.iterdir()] == ["voxels.npz"]
    for name in ("keys", "features", "latents", "colors", "density"):
        first, second = getattr(cache, name), getattr(again, name)
        assert first.dtype == second.dtype and torch.equal(first, second)


def refused(path: Path, match: str, fingerprint: str = "weights") -> None:
    with pytest.raises(InputError, match=match) as caught:
        VoxelCache.load(path, fingerprint)
    assert str(path) in str(caught.value) and "delete it" in str(caught.value)


def test_a_file_of_other_weights_is_refused(tmp_path: Path):
    random_cache(1).save(tmp_path / "voxels.npz", "weights")
    refused(tmp_path / "voxels.npz", "made from other weights", "others")


def test_a_damaged_file_is_refused(tmp_path: Path):
    path = tmp_path / "voxels.npz"
    random_cache(1).save(path, "weights")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:10], b"", b"no voxels", whole[:500] + b"XXXX" + whole[504:]):
        path.write_bytes(content)
        refused(path, "no readable voxel cache")
    path.unlink()
    refused(path, "no readable voxel cache")
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    refused(path, "no readable voxel cache")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("features", None),
        ("keys", None),
        ("fingerprint", None),
        ("keys", np.arange(3)),
        ("features", np.zeros((5, 2), np.float16)),
        ("colors", np.zeros((5, 3), np.float32)),
        ("shape", np.array([1, 2])),
        ("keys", np.array(["a"], object)),
    ],
)
def test_a_file_that_lacks_something_is_refused(tmp_path: Path, name: str, value):
    path = tmp_path / "voxels.npz"
    random_cache(1).save(path, "weights")
    with np.load(path) as stored:
        arrays = dict(stored)
    del arrays[name]
    np.savez(path, **arrays, **({} if value is None else {name: value}))
    refused(path, "no readable voxel cache")


# Depth pictures ------------------------------------------------------------------------------------------------------


def picture(**options) -> DepthPicture:
    (found,) = depth_pictures(box_model(), cameras(FRONT_VIEW, **options), 1.0)
    return found


def depth_by_hand(found: DepthPicture) -> torch.Tensor:
    """Distance (H, W) along the rays to the red box or the wall, of a camera on the axis; NaN beside them."""
    height, width = found.depth.shape
    row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    right, up = (column - found.centre[0]) / found.focal[0], (found.centre[1] - row) / found.focal[1]
    aside, length = torch.maximum(right.abs(), up.abs()), (1 + right**2 + up**2).sqrt()
    wall = torch.where(aside * 1.6 < 1, 1.6 * length, torch.nan)
    return torch.where(aside * 0.5 < 0.15, 0.5 * length, wall)


def test_depth_is_the_distance_along_the_ray():
    found = picture()
    expected = depth_by_hand(found)
    assert torch.equal(found.depth.isfinite(), expected.isfinite())
    torch.testing.assert_close(found.depth, expected, atol=0.01, rtol=0, equal_nan=True)
    assert len(found.points) == int(found.depth.isfinite().sum())
    assert float((found.points[:, 0] - torch.where(found.points[:, 0] < 0, -0.4, 0.7)).abs().max()) < 0.01


def test_places_are_where_the_rays_of_each_pixel_end():
    found, places = picture(), places_seen(box_model(), cameras(FRONT_VIEW))
    seen = found.depth.isfinite()
    assert places.shape == (60, 80, 3) and torch.equal(places.isfinite().all(dim=-1), seen)
    torch.testing.assert_close(places[seen], found.points)
    lens = {"distortion_params": torch.tensor([0.3, 0.0, 0.0, 0.0, 0.0, 0.0])}
    bent = places_seen(box_model(), cameras(FRONT_VIEW, **lens))
    assert not torch.equal(bent.isfinite(), places.isfinite()), "through the lens as it is"


def test_a_smaller_picture_sees_as_much():
    (found,) = depth_pictures(box_model(), cameras(FRONT_VIEW), 0.25)
    assert found.depth.shape == (15, 20) and found.focal == (10.0, 10.0) and found.centre == (10.0, 7.5)
    inner = depth_by_hand(found).isfinite() & found.depth.isfinite()
    assert int(inner.sum()) > 100
    torch.testing.assert_close(found.depth[inner], depth_by_hand(found)[inner], atol=0.01, rtol=0)


def test_a_distorted_camera_becomes_a_pinhole():
    distorted = picture(distortion_params=torch.tensor([0.3, -0.1, 0.0, 0.0, 0.02, 0.01]))
    plain = picture()
    assert distorted.focal == plain.focal and torch.equal(distorted.depth.nan_to_num(-1), plain.depth.nan_to_num(-1))


@pytest.mark.parametrize("kind", [CameraType.FISHEYE, CameraType.EQUIRECTANGULAR, CameraType.FISHEYE624])
def test_a_camera_of_another_kind_becomes_a_wide_pinhole(kind: CameraType):
    options = {"fx": 20.0, "fy": 20.0} if kind != CameraType.FISHEYE624 else {}
    found = picture(camera_type=kind, **options)
    assert found.focal == pytest.approx((80 / 2.4, 80 / 2.4))
    assert 2 * math.degrees(math.atan(40 / found.focal[0])) == pytest.approx(100, abs=1)
    torch.testing.assert_close(found.depth, depth_by_hand(found), atol=0.01, rtol=0, equal_nan=True)


def test_positions_are_compared_with_the_pixels_around_them():
    found = picture()
    on_box, behind, on_wall = [-0.4, 0.05, 0.05], [0.1, 0.05, 0.05], [0.7, 0.7, -0.6]
    positions = torch.tensor([on_box, behind, on_wall, [-0.95, 0.0, 0.0], [0.0, 0.99, 0.0], [0.7, 0.0, 1.19]])
    distance, low, high = found.look_up(positions)
    eye = torch.tensor(FRONT_VIEW[0])
    torch.testing.assert_close(distance[:3], (positions[:3] - eye).norm(dim=-1))
    for index, (away, width) in enumerate(((0.5, 1.01), (0.5, 1.01), (1.6, 1.2))):
        assert away - 0.01 < float(low[index]) <= float(high[index]) < away * max(width, 1.5)
    assert float(low[0]) - 0.01 < float(distance[0]) < float(high[0]) + 0.01
    assert float(distance[1]) > float(high[1]) + 0.3, "behind the box"
    assert bool(distance[3:5].isnan().all()), "behind the camera, and beside the picture"
    assert not float(low[5]) <= 10, "where the wall ends, a pixel beside sees nothing"


def test_voxels_near_points_are_those_that_a_cube_touches():
    """Against all voxels; many points in one voxel, and points beside the grid."""
    grid = VoxelGrid((0.0, 0.0, 0.0), 0.5, (6, 5, 4), contracted=False)
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(40, 3, generator=generator) * torch.tensor([4.0, 1.0, 2.5]) - 0.3
    points = torch.cat([points, points[:5] + 1e-4, torch.tensor([[50.0, 0, 0], [-0.4, -0.4, -0.4]])])
    cells = torch.from_numpy(np.argwhere(np.ones(grid.shape)))
    for reach in (0.0, 0.3, 1.0, 1.7):
        low, high = cells * 0.5, (cells + 1) * 0.5
        near = (points[:, None] + reach * 0.5 >= low) & (points[:, None] - reach * 0.5 < high)
        expected = grid.keys(cells[near.all(dim=-1).any(dim=0)])
        assert torch.equal(near_surface(grid, points, reach), expected), reach
    assert near_surface(grid, points[:0], 1.0).tolist() == []


def test_a_solid_of_the_cache_reaches_into_the_boxes(front: VoxelCache):
    """Only fronts are kept, but what is selected holds what lies behind them, too."""
    from nerfseg_plugins.isrf.selection import solid

    volume: VoxelSet = solid(front, front.latents[:, 0] == 0)
    inside = torch.tensor([[-0.39, 0.0, 0.0], [-0.32, 0.1, 0.1], [-0.45, 0.0, 0.0]])
    assert bool(volume.contains(inside).all())
    assert not volume.contains(torch.tensor([[0.72, 0.6, 0.6], [0.15, 0.0, 0.0]])).any()
