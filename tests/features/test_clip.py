"""CLIP: crops, relevancy and text by hand; the network on random weights of its true architecture."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.clip import (
    CANONICAL,
    ClipFeatures,
    overlapping_crops,
    pyramid,
    relevancy,
    resize,
    text_embeddings,
    text_queries,
)
from nerfseg_plugins.features.pca import PCA
from nerfseg_plugins.features.sources import FeatureOptions, make_feature_source
from nerfseg_plugins.files import sha256_file
from nerfseg_plugins.manifest import Manifest, write_manifest


def test_crops_by_hand() -> None:
    """Crops of 4 overlap by half, so cells are 2 pixels wide and each crop reaches a pixel beyond its cell."""
    image = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8, 1).repeat(3, axis=2)
    crops, shape = overlapping_crops(image, 4)
    assert shape == (3, 4) and crops.shape == (12, 4, 4, 3)
    np.testing.assert_array_equal(crops[1 * 4 + 2][..., 0], image[1:5, 3:7, 0])
    np.testing.assert_array_equal(crops[0][1:, 1:, 0], image[:3, :3, 0])
    np.testing.assert_array_equal(crops[0][0, 1:, 0], image[0, :3, 0])  # mirrored at the edge


def test_crops_of_an_odd_size_stay_inside() -> None:
    image = np.random.default_rng(0).integers(0, 255, (37, 53, 3), dtype=np.uint8)
    for side in (2, 5, 9, 18):
        crops, (rows, columns) = overlapping_crops(image, side)
        assert crops.shape == (rows * columns, side, side, 3)


def test_maps_are_brought_to_one_grid() -> None:
    """A ramp over the image stays one."""
    coarse = np.array([[[0.25], [0.75]]], np.float32)
    np.testing.assert_allclose(resize(coarse, 1, 4)[0, :, 0], [0.25, 0.375, 0.625, 0.75])


def test_sizes_are_averaged() -> None:
    """With a crop's mean for its embedding: the half-sized crops' cells change within, the whole one's do not."""
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, :8], image[:, 8:] = (255, 0, 0), (0, 255, 0)

    def mean(crops: np.ndarray) -> np.ndarray:
        return crops.reshape(len(crops), -1, 3).mean(axis=1).astype(np.float32)

    found = pyramid(image, (0.5, 1.0), mean)
    assert found.shape == (4, 8, 3)
    np.testing.assert_allclose(found[:, 0], [[1, 0, 0]] * 4, atol=1e-6)
    # Left of the middle the crops hold more red than green columns; right of it the image is mirrored.
    assert 0 < found[2, 3, 1] < found[2, 3, 0]
    np.testing.assert_allclose(found[2, 3, 0], found[2, 4, 1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6)


def test_relevancy_by_hand() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    prompts, canonical = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.6, 0.8]])
    found = relevancy(features, prompts, canonical)
    # exp(10) against exp(10 * 0.6), the stronger of the two; and exp(0) against exp(10).
    expected = [np.exp(10) / (np.exp(10) + np.exp(6)), 1 / (1 + np.exp(10))]
    np.testing.assert_allclose(found[:, 0].numpy(), expected, rtol=1e-5)


def test_missing_weights() -> None:
    pytest.importorskip("open_clip", reason="open-clip-torch is not installed")
    with pytest.raises(InputError, match=r"https://huggingface.co/laion.* with --checkpoint"):
        make_feature_source("clip")  # tests have no network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    open_clip = pytest.importorskip("open_clip", reason="open-clip-torch is not installed")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "clip.pt"
    state = open_clip.create_model("ViT-B-16", pretrained=None).state_dict()
    torch.save({key: value.half() if value.is_floating_point() else value for key, value in state.items()}, path)
    return path


def test_the_network(checkpoint: Path, tmp_path: Path) -> None:
    """One crop a cell, in the order of the cells."""
    source = ClipFeatures(FeatureOptions(checkpoint))
    crops = np.random.default_rng(0).integers(0, 255, (3, 40, 40, 3), dtype=np.uint8)
    crops[2] = crops[0]
    found = source._embed(crops)
    assert found.shape == (3, source.channels)
    np.testing.assert_allclose(found[2], found[0], atol=1e-4)
    assert np.abs(found[1] - found[0]).max() > 1e-2

    texts = text_embeddings(["a chair", "a red fox"], checkpoint)
    assert texts.shape == (2, 512)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=-1), 1, atol=1e-5)
    _check_queries(texts, checkpoint, tmp_path)


def _check_queries(texts: np.ndarray, checkpoint: Path, folder: Path) -> None:
    """Text goes through the scene's projection; features of other weights or networks are refused."""
    components = np.linalg.qr(np.random.default_rng(1).normal(size=(512, 8)))[0].astype(np.float32)
    PCA(np.zeros(512, np.float32), components, np.ones(8, np.float32)).save(folder / "pca.npz")
    made = {"model": "m", "image_size": (4, 4), "images": "-"}
    write_manifest(folder, Manifest(source="clip", checkpoint=sha256_file(checkpoint), **made))
    prompts, canonical = text_queries(folder, ["a chair", "a red fox"], checkpoint)
    np.testing.assert_allclose(prompts.numpy(), texts @ components, atol=1e-5)
    assert canonical.shape == (len(CANONICAL), 8)
    write_manifest(folder, Manifest(source="clip", checkpoint="0" * 64, **made))
    with pytest.raises(InputError, match="other weights"):
        text_queries(folder, ["a chair"], checkpoint)
    write_manifest(folder, Manifest(source="dino-vits8", checkpoint=None, **made))
    with pytest.raises(InputError, match=r"those of dino-vits8, which knows no text; .*--source clip"):
        text_queries(folder, ["a chair"], checkpoint)
