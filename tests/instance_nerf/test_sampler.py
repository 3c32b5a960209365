"""Patches are whole, inside their image and row-major."""

from pathlib import Path

import pytest
import torch

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.instance_nerf.sampler import PatchSampler, PatchSamplerConfig  # noqa: E402

HEIGHT, WIDTH, VIEWS = 9, 13, 6


def images() -> dict[str, torch.Tensor]:
    """A batch whose pixels say where they are; the views are in another order than their ids."""
    place = torch.arange(VIEWS * HEIGHT * WIDTH).view(VIEWS, HEIGHT, WIDTH)
    image = torch.stack([place, place, place], dim=-1).float()
    return {"image": image, "instance_ids": place, "image_idx": torch.arange(VIEWS).flip(0)}


def sampler(rays: int, **options) -> PatchSampler:
    return PatchSamplerConfig(**options).setup(num_rays_per_batch=rays)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 9])
def test_patches_are_whole_inside_and_row_major(size: int):
    torch.manual_seed(size)
    made = sampler(size * size * 20, patch_size=size)
    batch = made.sample(images())
    assert batch["patch_size"] == size
    patches = batch["indices"].view(-1, size, size, 3)
    assert len(patches) == 20
    image, row, column = patches.unbind(-1)
    assert (image == image[:, :1, :1]).all(), "a patch lies in one view"
    steps = torch.arange(size)
    assert (row - row[:, :1, :1] == steps[:, None]).all() and (column - column[:, :1, :1] == steps).all()
    assert row.min() >= 0 and row.max() < HEIGHT and column.min() >= 0 and column.max() < WIDTH
    # The other keys are of the same pixels; `indices` count views as the dataset does.
    place = ((VIEWS - 1 - image) * HEIGHT + row) * WIDTH + column
    assert torch.equal(batch["instance_ids"], place.flatten())
    assert torch.equal(batch["image"][:, 0].long(), place.flatten())


def test_every_corner_is_reached():
    """All positions of a patch of 8 in an image of 9 by 13, its borders included."""
    torch.manual_seed(0)
    batch = sampler(64 * 400, patch_size=8).sample(images())
    corners = batch["indices"].view(-1, 64, 3)[:, 0, 1:]
    assert {tuple(corner) for corner in corners.tolist()} == {(row, column) for row in range(2) for column in range(6)}


@pytest.mark.parametrize(("wanted", "got"), [(64, 64), (200, 192), (1, 64), (127, 64), (128, 128)])
def test_rays_are_rounded_down_to_whole_patches(wanted: int, got: int):
    made = sampler(wanted, patch_size=8)
    assert made.num_rays_per_batch == got and len(made.sample(images())["indices"]) == got
    made.set_num_rays_per_batch(wanted + 64)
    assert made.num_rays_per_batch == (wanted + 64) // 64 * 64


def test_a_batch_comes_from_few_views():
    torch.manual_seed(0)
    made = sampler(4 * 30, patch_size=2, views_per_batch=3)
    seen = [set(made.sample(images())["indices"][:, 0].tolist()) for _ in range(20)]
    assert all(len(views) <= 3 for views in seen) and set.union(*seen) == set(range(VIEWS))


def test_equal_seeds_draw_equal_patches():
    made = sampler(256, patch_size=4)
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append(made.sample(images())["indices"])
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("size", [37, 0])
def test_images_smaller_than_a_patch_are_refused_before_training(
    ns_train, quick_flags, tiny_room: Path, tmp_path: Path, size: int
):
    flags = [*quick_flags(tiny_room, 4, 8), f"--pipeline.datamanager.head-sampler.patch-size={size}"]
    with pytest.raises(InputError, match=r"has 48x36 pixels.*head-sampler\.patch-size 8") as caught:
        ns_train("instance-nerf-tiny", tmp_path, *flags)
    assert str(tiny_room / "images" / "0000.png") in str(caught.value)
