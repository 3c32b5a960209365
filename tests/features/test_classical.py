"""The features without weights: what they must tell apart and what not, on pictures made by hand."""

import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from nerfseg_plugins.features.classical import MAX_CELLS, ClassicalFeatures, diffuse, gradient_histograms, grid_of, pool
from nerfseg_plugins.features.pca import unit

ROOM = Path(os.environ.get("NERFSEG_DATA") or Path(__file__).parents[3] / "shared" / "data") / "room_a"


def describe(image: np.ndarray) -> np.ndarray:
    """(h, w, D) unit features at a stride of 2."""
    return unit(ClassicalFeatures(stride=2)(image))


def halves(left: tuple[int, ...], right: tuple[int, ...], shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Two colours side by side, with a little noise."""
    image = np.zeros((*shape, 3)) + left
    image[:, shape[1] // 2 :] = right
    return np.clip(image + np.random.default_rng(0).normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def test_grids() -> None:
    assert grid_of((240, 320)) == (80, 107)  # a stride of 2 would give 19 200 cells
    assert grid_of((60, 80)) == (30, 40)
    assert grid_of((756, 1008)) == (94, 126)  # 8, as DINO's
    assert grid_of((756, 1008), 4) == (189, 252)
    assert grid_of((1, 1), 8) == (1, 1)
    for size in ((480, 270), (1080, 1920), (3000, 4000), (100, 9000)):
        rows, columns = grid_of(size)
        assert 0.7 * MAX_CELLS < rows * columns <= MAX_CELLS


def test_pooling_is_the_mean_over_cells_that_span_the_image() -> None:
    values = np.random.default_rng(0).normal(size=(7, 10, 6)).astype(np.float32)
    found = pool(values, 2, 5)
    np.testing.assert_allclose(found[0, 1], (values[:3, 2:4].sum((0, 1)) + 0.5 * values[3, 2:4].sum(0)) / 7, rtol=1e-4)


def test_shades_are_alike_and_colours_are_not() -> None:
    """A red surface whose light falls to three fifths (in linear terms), beside a green one."""
    image = halves((180, 50, 40), (50, 150, 60)).astype(np.float32)
    image[:, :40] *= np.linspace(1, 0.8, 60)[:, None, None]
    features = describe(np.clip(image, 0, 255).astype(np.uint8))
    assert (features[4:26, 4:16] @ features[4, 8]).min() > 0.75
    assert (features[4:26, 24:36] @ features[4, 8]).max() < 0.45


def test_edges_stay_sharp() -> None:
    """Two cells from the border the features are already those of their own side."""
    features = describe(halves((180, 50, 40), (50, 150, 60)))
    left, right = features[15, 5], features[15, 35]
    assert (features[15, :18] @ left > features[15, :18] @ right + 0.2).all()
    assert (features[15, 22:] @ right > features[15, 22:] @ left + 0.2).all()


def test_textures_of_one_mean_colour_are_told_apart() -> None:
    image = np.full((60, 80, 3), 120, np.uint8)
    image[::4, :40] = image[1::4, :40] = 160
    image[2::4, :40] = image[3::4, :40] = 80
    features = describe(image)
    assert features[15, 6] @ features[15, 12] > 0.95
    assert features[15, 6] @ features[15, 34] < 0.94


def test_the_direction_of_a_texture_shows() -> None:
    stripes = np.tile(np.array([100, 100, 20, 20], np.float32), (40, 10))
    upright, lying = (
        gradient_histograms(cv2.GaussianBlur(one, (0, 0), 1), 20, 20)[10, 10] for one in (stripes, stripes.T)
    )
    assert upright.argmax() == 0 and lying.argmax() == 4  # gradients across, and down
    np.testing.assert_allclose([np.linalg.norm(upright), np.linalg.norm(lying)], 1, atol=1e-5)
    even = gradient_histograms(np.full((40, 40), 50, np.float32), 20, 20)[10, 10]
    np.testing.assert_allclose(even, [0] * 8 + [1], atol=1e-6)


def test_diffusion_keeps_the_sum_and_stops_at_edges() -> None:
    values = np.random.default_rng(0).normal(size=(12, 16, 2)).astype(np.float32)
    guide = np.zeros((12, 16, 3), np.float32)
    guide[:, 8:] = 100
    found = diffuse(values, guide, 400)
    np.testing.assert_allclose(found[:, :8].sum((0, 1)), values[:, :8].sum((0, 1)), rtol=1e-3, atol=1e-3)
    assert found[:, :8].std((0, 1)).max() < 0.05 and found[:, 8:].std((0, 1)).max() < 0.05
    np.testing.assert_array_equal(diffuse(values, guide, 0), values)


def test_equal_images_give_equal_features() -> None:
    image = halves((180, 50, 40), (50, 150, 60))
    first, second = ClassicalFeatures(), ClassicalFeatures()
    np.testing.assert_array_equal(first(image), second(image))
    assert first(image).shape[2] == first.channels and first(image).dtype == np.float32
    assert not np.allclose(first(image), ClassicalFeatures(seed=1)(image))


def test_extreme_images_are_finite() -> None:
    for value in (0, 255):
        assert np.isfinite(ClassicalFeatures()(np.full((17, 5, 3), value, np.uint8))).all()


def test_an_image_takes_a_third_of_a_second() -> None:
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    source, threads = ClassicalFeatures(), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        source(image)
        start = time.process_time()
        source(image)
        assert time.process_time() - start < 1.0  # 0.17 s on an idle core
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.skipif(not ROOM.is_dir(), reason="there is no room_a (set NERFSEG_DATA)")
def test_parts_of_a_room_are_told_apart() -> None:
    """Cosine of two pixels ranks pairs of one part before pairs of two objects, across two views."""
    from PIL import Image
    from sklearn.metrics import roc_auc_score

    features, parts, objects = [], [], []
    rng = np.random.default_rng(0)
    for name in ("0000", "0010"):
        found = unit(ClassicalFeatures()(np.array(Image.open(ROOM / "images" / f"{name}.png").convert("RGB"))))
        rows, columns = rng.integers(0, 240, 1200), rng.integers(0, 320, 1200)
        features.append(found[rows * found.shape[0] // 240, columns * found.shape[1] // 320])
        for folder, to in (("parts", parts), ("masks", objects)):
            to.append(np.array(Image.open(ROOM / folder / f"{name}.png"))[rows, columns].astype(int))
    part, thing = np.concatenate(parts), np.concatenate(objects)
    cosine = np.concatenate(features) @ np.concatenate(features).T
    pairs = np.triu(np.ones_like(cosine, bool), 1) & (
        (thing[:, None] > 0) & (part[:, None] == part) | (thing[:, None] != thing)
    )
    assert roc_auc_score((part[:, None] == part)[pairs], cosine[pairs]) > 0.9
