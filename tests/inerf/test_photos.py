"""Pixels: transparency, grey and 16 bits, and smaller photos without aliases or shifts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.inerf.photos import read_mask, read_photo, reduce_mask, reduce_photo, reduced_size

WHITE = (1.0, 1.0, 1.0)


def saved(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_transparent_photos_stand_before_the_background(tmp_path: Path):
    """By hand: half of red over green is (0.5, 0.5, 0)."""
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 51]]], np.uint8)
    image = read_photo(saved(tmp_path / "a.png", pixels), (0.0, 1.0, 0.0))
    np.testing.assert_allclose(image[0], [[1, 0, 0], [0, 1, 0], [0.2, 0.8, 0]], atol=1e-6)


def test_grey_palette_and_16_bit_photos_are_colour(tmp_path: Path):
    grey = read_photo(saved(tmp_path / "grey.png", np.array([[0, 51]], np.uint8)), WHITE)
    np.testing.assert_allclose(grey, [[[0] * 3, [0.2] * 3]], atol=1e-6)
    deep = read_photo(saved(tmp_path / "deep.png", np.array([[0, 13107]], np.uint16)), WHITE)
    np.testing.assert_allclose(deep, [[[0] * 3, [0.2] * 3]], atol=1e-6)
    Image.new("P", (2, 1)).save(tmp_path / "palette.png")
    assert read_photo(tmp_path / "palette.png", WHITE).shape == (1, 2, 3)
    Image.new("LA", (2, 1), (51, 0)).save(tmp_path / "clear.png")
    np.testing.assert_allclose(read_photo(tmp_path / "clear.png", WHITE), np.ones((1, 2, 3)))


def test_photos_without_a_known_range_are_refused(tmp_path: Path):
    path = saved(tmp_path / "a.tif", np.ones((4, 4), np.float32))
    with pytest.raises(InputError, match="floating-point") as caught:
        read_photo(path, WHITE)
    assert str(path) in str(caught.value)


def test_photos_are_not_turned_by_their_tags(tmp_path: Path):
    """The sizes must be those that intrinsics are for; COLMAP and nerfstudio do not turn either."""
    image = Image.new("RGB", (6, 4))
    tags = image.getexif()
    tags[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=tags)
    assert read_photo(tmp_path / "a.jpg", WHITE).shape == (4, 6, 3)


@pytest.mark.parametrize(
    "size, max_side, expected",
    [((4000, 3000), 1000, (1000, 750)), ((3000, 4000), 1000, (750, 1000)), ((50, 30), 24, (24, 14)),
     ((50, 30), 50, (50, 30)), ((50, 30), None, (50, 30)), ((5000, 1), 10, (10, 1))],
)  # fmt: skip
def test_reduced_sizes(size, max_side, expected):
    assert reduced_size(*size, max_side) == expected


def test_a_max_side_that_is_none():
    with pytest.raises(InputError, match="max_side is 0"):
        reduced_size(4, 4, 0)


def test_reduction_removes_what_the_new_pixels_cannot_show():
    """A checkerboard becomes grey; picking every fourth pixel would have kept one colour."""
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    smaller = reduce_photo(board[..., None].expand(64, 64, 3).float(), 16, 16)
    np.testing.assert_allclose(smaller, 0.5, atol=0.01)
    np.testing.assert_allclose(smaller[1:-1, 1:-1], 0.5, atol=1e-6)  # away from the border, where the filter is cut


def test_reduction_shifts_nothing():
    """A ramp stays the same ramp, (x + 0.5) / width at every size, to a hundredth of a new pixel."""
    ramp = ((torch.arange(90) + 0.5) / 90).expand(60, 90)[..., None].repeat(1, 1, 3)
    smaller = reduce_photo(ramp, 36, 24)
    expected = (torch.arange(36) + 0.5) / 36
    np.testing.assert_allclose(smaller[:, 2:-2, 0], expected[2:-2].expand(24, 32), atol=0.01 / 36)
    assert reduce_photo(ramp, 90, 60) is ramp


def test_a_reduced_mask_lets_nothing_hidden_in():
    mask = torch.ones(8, 8, dtype=torch.bool)
    mask[3, 3] = False
    # Pixel 1 of 4 gathers pixels 1 to 4 of 8; pixel 2 gathers 3 to 6.
    expected = torch.ones(4, 4, dtype=torch.bool)
    expected[1:3, 1:3] = False
    assert torch.equal(reduce_mask(mask, 4, 4), expected)


@pytest.mark.parametrize("suffix", [".png", ".npy", ".npz", ".hdf5"])
def test_masks_of_all_formats(tmp_path: Path, suffix: str):
    from nerfseg_plugins.segments.masks import write_ids

    ids = np.array([[0, 1, 2], [-1, 0, 0]], np.int32)
    write_ids(tmp_path / f"view{suffix}", ids)
    found = read_mask(tmp_path, Path("photos/view.jpg"), (2, 3))
    assert found.tolist() == [[False, True, True], [True, False, False]]
