"""Colours of ids turn back into the same ids; the PCA basis is stable and survives features that do not vary."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene import colors as c


def as_written(image: np.ndarray) -> np.ndarray:
    """What a renderer that rounds stores of a float picture."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def test_all_colours_are_distinct_and_none_is_reserved():
    rows = {tuple(row) for row in c.palette(c.MAX_IDS).tolist()}
    assert len(rows) == c.MAX_IDS
    assert c.UNLABELLED_COLOR not in rows
    assert tuple(c.palette(1)[0]) == c.BACKGROUND_COLOR and max(c.BACKGROUND_COLOR) < 50


@pytest.mark.parametrize("seed", [0, 3])
def test_a_longer_palette_starts_with_the_shorter(seed: int):
    longest = c.palette(c.MAX_IDS, seed)
    for n in (0, 1, 2, 40, 64, 65, 1000):
        np.testing.assert_array_equal(c.palette(n, seed), longest[:n])


def test_seeds_change_the_order():
    assert not np.array_equal(c.palette(40), c.palette(40, seed=1))


def test_a_palette_is_a_fresh_array():
    c.palette(5)[:] = 0
    assert c.palette(5).any()


def test_first_colours_are_far_apart():
    from skimage.color import rgb2lab

    lab = rgb2lab(np.concatenate([c.palette(40), [c.UNLABELLED_COLOR]])[None] / 255.0)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    # A CIE76 difference of 2.3 is just noticeable; ten times that is plain at a glance.
    assert distance[~np.eye(41, dtype=bool)].min() > 23


@pytest.mark.parametrize("n", [-1, c.MAX_IDS + 1])
def test_too_many_colours_are_refused(n: int):
    with pytest.raises(InputError, match="palette of"):
        c.palette(n)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_ids_survive_the_picture(kind: str):
    table = c.palette(5000)
    ids = np.random.default_rng(0).integers(-1, 5000, (40, 50)).astype(np.int32)
    image = c.ids_to_colors(torch.from_numpy(ids), table).numpy() if kind == "torch" else c.ids_to_colors(ids, table)
    assert image.dtype == np.float32 and image.shape == (40, 50, 3)
    back = c.colors_to_ids(as_written(image), table)
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, ids)


def test_every_byte_survives_the_renderer(tmp_path: Path):
    import mediapy

    ids = np.arange(c.MAX_IDS, dtype=np.int64).reshape(256, 256)
    table = c.palette(c.MAX_IDS)
    mediapy.write_image(tmp_path / "ids.png", c.ids_to_colors(ids, table), fmt="png")
    np.testing.assert_array_equal(c.colors_to_ids(mediapy.read_image(tmp_path / "ids.png"), table), ids)


def test_empty_and_scalar_ids():
    table = c.palette(3)
    assert c.ids_to_colors(np.zeros((0, 4), np.int32), table).shape == (0, 4, 3)
    assert c.ids_to_colors(np.array(2), table).shape == (3,)


@pytest.mark.parametrize("wrong", [-2, 3])
def test_ids_without_colour_are_refused(wrong: int):
    for ids in (np.array([0, wrong]), torch.tensor([0, wrong])):
        with pytest.raises(InputError, match=f"id {wrong} has no colour"):
            c.ids_to_colors(ids, c.palette(3))


def test_foreign_colours_are_counted():
    image = as_written(c.ids_to_colors(np.ones((4, 4), np.int32), c.palette(3)))
    image[0, 0] = (1, 2, 3)
    image[0, 1] = image[1, 0] = (3, 2, 1)
    with pytest.raises(InputError, match=r"2 colours .* \(3 of 16 pixels\).*--image-format png"):
        c.colors_to_ids(image, c.palette(3))


@pytest.mark.parametrize("image", [np.zeros((2, 2, 3)), np.zeros((2, 2, 4), np.uint8)])
def test_only_rgb_bytes_are_pictures(image: np.ndarray):
    with pytest.raises(InputError, match="uint8 RGB"):
        c.colors_to_ids(image, c.palette(3))


def test_palette_file_round_trip(tmp_path: Path):
    c.write_palette(tmp_path / "palette.json", c.palette(70), {2: "chair", 11: "lamp"})
    table, names = c.read_palette(tmp_path / "palette.json")
    assert table.dtype == np.uint8 and names == {2: "chair", 11: "lamp"}
    np.testing.assert_array_equal(table, c.palette(70))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ([], "not a palette"),
        ({}, "not a palette"),
        ({"colors": []}, "list of"),
        ({"colors": [[1, 2], [3]]}, "list of"),
        ({"colors": [[1, 2, 256]]}, "list of"),
        ({"colors": [[1, 2, 0.5]]}, "list of"),
        ({"colors": [[1, 2, 3], [1, 2, 3]]}, "share a colour"),
        ({"colors": [[128, 128, 128]]}, "share a colour"),
        ({"colors": [[1, 2, 3]], "unlabelled": [0, 0, 0]}, "unlabelled"),
        ({"colors": [[1, 2, 3]], "unlabelled": 7}, "unlabelled"),
        ({"colors": [[1, 2, 3]], "names": ["a"]}, "names"),
    ],
)
def test_bad_palette_files_are_refused(tmp_path: Path, data: object, match: str):
    path = tmp_path / "palette.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=match) as caught:
        c.read_palette(path)
    assert str(path) in str(caught.value)


def test_pca_finds_the_directions_of_another_library():
    features = np.random.default_rng(0).normal(size=(500, 6)) @ np.diag([5, 3, 2, 0.5, 0.1, 0.1]) + 4
    basis = c.PCABasis.fit(features)
    directions = PCA(3).fit(features).components_
    np.testing.assert_allclose(np.abs(np.sum(directions.T * basis.components, 0)), 1, atol=1e-4)
    shown = basis.project(features)
    assert shown.dtype == np.float32 and shown.min() == 0 and shown.max() == 1
    # One percent at each end is clipped, of 500: five, or six where the percentile falls between two.
    assert ((shown == 0).sum(0) <= 6).all() and ((shown == 1).sum(0) <= 6).all()


def test_pca_agrees_between_numpy_and_torch():
    features = np.random.default_rng(1).normal(size=(8, 9, 5)).astype(np.float32)
    basis = c.PCABasis.fit(torch.from_numpy(features))
    np.testing.assert_allclose(basis.project(torch.from_numpy(features)).numpy(), basis.project(features), atol=1e-5)


def test_pca_of_constant_features_is_grey():
    basis = c.PCABasis.fit(np.full((10, 4), 7.0))
    np.testing.assert_array_equal(basis.project(np.full((2, 4), 7.0)), 0.5)
    np.testing.assert_array_equal(basis.project(torch.full((2, 4), 9.0)).numpy(), 0.5)


def test_pca_of_few_dimensions_leaves_the_rest_grey():
    shown = c.PCABasis.fit(np.linspace(0, 1, 50)[:, None]).project(np.array([[0.0], [0.5], [1.0]]))
    np.testing.assert_allclose(shown, [[0, 0.5, 0.5], [0.5, 0.5, 0.5], [1, 0.5, 0.5]], atol=1e-5)


def test_pca_leaves_out_non_finite_vectors():
    features = np.random.default_rng(2).normal(size=(50, 4))
    spoiled = np.concatenate([features, np.full((1, 4), np.nan), np.full((1, 4), np.inf)])
    np.testing.assert_allclose(c.PCABasis.fit(spoiled).components, c.PCABasis.fit(features).components)
    with pytest.raises(InputError, match="finite"):
        c.PCABasis.fit(np.full((3, 4), np.nan))


def test_pca_file_round_trip_and_refusals(tmp_path: Path):
    basis = c.PCABasis.fit(np.random.default_rng(3).normal(size=(50, 4)))
    basis.save(tmp_path / "pca.npz")
    for name, array in vars(c.PCABasis.load(tmp_path / "pca.npz")).items():
        np.testing.assert_array_equal(array, getattr(basis, name))

    truncated = tmp_path / "cut.npz"
    truncated.write_bytes((tmp_path / "pca.npz").read_bytes()[:100])
    np.savez(tmp_path / "shapes.npz", mean=np.zeros(4), components=np.zeros((5, 3)), low=np.zeros(3), high=np.zeros(3))
    np.savez(tmp_path / "keys.npz", mean=np.zeros(4))
    for path in (truncated, tmp_path / "shapes.npz", tmp_path / "keys.npz", tmp_path / "none.npz"):
        with pytest.raises(InputError) as caught:
            c.PCABasis.load(path)
        assert str(path) in str(caught.value)
