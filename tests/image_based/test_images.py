"""Decoding photos, and how many of them are kept."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.images import MEGABYTE, ImageCache, decode, read_mask, resized, to_float


def save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_transparency_is_blended_with_the_background(tmp_path: Path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0] = [[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]  # 51 / 255 = 0.2
    path = save(tmp_path / "a.png", pixels)
    white = decode(path, (1, 3), (1.0, 1.0, 1.0))
    assert white.tolist() == [[[200, 100, 0], [255, 255, 255], [244, 224, 204]]]
    assert decode(path, (1, 3)).tolist() == [[[200, 100, 0], [0, 0, 0], [40, 20, 0]]]


def test_what_a_mask_leaves_out_becomes_background(tmp_path: Path):
    path = save(tmp_path / "a.png", np.full((1, 2, 3), 90, np.uint8))
    mask = save(tmp_path / "m.png", np.array([[0, 255]], np.uint8))
    assert decode(path, (1, 2), (1.0, 0.0, 1.0), mask).tolist() == [[[255, 0, 255], [90, 90, 90]]]
    assert read_mask(mask, (1, 2)).tolist() == [[False, True]]


def test_greys_and_palettes_become_colours(tmp_path: Path):
    grey = save(tmp_path / "grey.png", np.array([[7, 9]], np.uint8))
    assert decode(grey, (1, 2)).tolist() == [[[7, 7, 7], [9, 9, 9]]]
    Image.fromarray(np.array([[[1, 2, 3], [250, 0, 0]]], np.uint8)).quantize(2).save(tmp_path / "p.png")
    assert decode(tmp_path / "p.png", (1, 2)).tolist() == [[[1, 2, 3], [250, 0, 0]]]


@pytest.mark.parametrize("kind", ["cut off", "another size", "16 bits", "missing"])
def test_bad_images_are_named(tmp_path: Path, kind: str):
    noise = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    path, said = save(tmp_path / "a.png", noise), "cannot be decoded"
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:60])
    elif kind == "another size":
        save(path, np.zeros((8, 7, 3), np.uint8))
        said = "has 7x8 pixels, but 6x8 are expected"
    elif kind == "16 bits":
        save(path, np.zeros((8, 6), np.uint16))
        said = "save it with 8 bits"
    else:
        path.unlink()
    with pytest.raises(InputError, match=said) as caught:
        decode(path, (8, 6))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_resizing_keeps_the_mean_and_the_field_of_view():
    """Left half dark, right half bright: at any size the edge is in the middle."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 200
    small = resized(image, (2, 4))
    assert small[:, 0].max() == 0 and small[:, 3].min() == 200 and small.mean() == pytest.approx(100, abs=1)
    assert resized(image, (8, 8)) is image


def test_images_as_floats():
    images = [np.full((2, 3, 3), 51, np.uint8), np.zeros((2, 3, 3), np.uint8)]
    images[1][0, 2] = (255, 0, 102)
    made = to_float(images)
    assert made.shape == (2, 3, 2, 3) and made.dtype == torch.float32
    assert made[0].unique().tolist() == [pytest.approx(0.2)]
    assert made[1, :, 0, 2].tolist() == pytest.approx([1.0, 0.0, 0.4])


def test_the_cache_stays_within_its_bound_and_lets_go_of_the_oldest():
    cache, made = ImageCache(3), []

    def get(key: str, megabytes: float = 1) -> None:
        cache.get(key, lambda: made.append(key) or np.zeros(int(megabytes * MEGABYTE), np.uint8))
        assert cache.num_bytes <= 3 * MEGABYTE

    for key in ("a", "b", "c", "a", "d", "a", "b"):  # d takes the place of b, the last b that of c
        get(key)
    assert made == ["a", "b", "c", "d", "b"] and len(cache) == 3
    get("huge", 4)  # is made, but not kept, and nothing goes for it
    assert len(cache) == 3 and cache.num_bytes == 3 * MEGABYTE
    get("c", 2.5)
    assert len(cache) == 1


def test_several_at_once_are_the_same_as_one_after_another():
    cache = ImageCache(1)
    cache.get("b", lambda: np.full(4, 9))
    found = cache.get_all({key: lambda key=key: np.full(4, ord(key)) for key in "cab"})
    assert [int(array[0]) for array in found] == [ord("c"), ord("a"), 9]
    assert len(cache) == 3


def test_an_error_while_several_are_decoded_arrives():
    def fail() -> np.ndarray:
        raise InputError("x.png cannot be decoded")

    with pytest.raises(InputError, match=r"x\.png"):
        ImageCache(1).get_all({"a": lambda: np.zeros(1), "b": fail})


def test_a_negative_bound_is_refused():
    with pytest.raises(InputError, match="image_cache_mb is -1"):
        ImageCache(-1)
