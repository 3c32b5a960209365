"""The projection against numpy's SVD and scikit-learn's PCA."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA as SkPCA

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.pca import PCA, PCAFit, unit

DATA = np.random.default_rng(0).normal(size=(500, 12)) * np.linspace(4, 0.5, 12) + np.arange(12)


def fitted(centre: bool, channels: int = 5) -> PCA:
    fit = PCAFit(12)
    for chunk in np.array_split(DATA, 7):
        fit.add(chunk)
    return fit.solve(channels, centre)


def test_centred_agrees_with_sklearn() -> None:
    pca, other = fitted(True), SkPCA(5, svd_solver="full").fit(DATA)
    np.testing.assert_allclose(pca.mean, other.mean_, rtol=1e-5)
    np.testing.assert_allclose(pca.variances, other.explained_variance_ * 499 / 500, rtol=1e-4)
    signs = np.sign((pca.components * other.components_.T).sum(axis=0))
    np.testing.assert_allclose(pca.components * signs, other.components_.T, atol=1e-4)
    np.testing.assert_allclose(pca.project(DATA) * signs, other.transform(DATA), atol=2e-3)


def test_uncentred_agrees_with_numpys_svd() -> None:
    """Without the mean taken off, inner products within the main directions stay what they are."""
    pca = fitted(False)
    _, singular, right = np.linalg.svd(DATA, full_matrices=False)
    assert not pca.mean.any()
    np.testing.assert_allclose(pca.variances, singular[:5] ** 2 / 500, rtol=1e-4)
    np.testing.assert_allclose(np.abs((pca.components * right[:5].T).sum(axis=0)), 1, atol=1e-5)
    whole = fitted(False, 12).project(DATA[:20])
    np.testing.assert_allclose(whole @ whole.T, DATA[:20] @ DATA[:20].T, rtol=1e-4, atol=1e-3)


def test_signs_are_fixed_and_channels_at_most_what_there_are() -> None:
    pca = fitted(True, 64)
    assert pca.components.shape == (12, 12) and pca.channels == 12
    peaks = pca.components[np.abs(pca.components).argmax(axis=0), np.arange(12)]
    assert (peaks > 0).all()


def test_saved_and_loaded(tmp_path: Path) -> None:
    pca = fitted(True)
    pca.save(tmp_path / "pca.npz")
    found = PCA.load(tmp_path / "pca.npz")
    for name in ("mean", "components", "variances"):
        np.testing.assert_array_equal(getattr(found, name), getattr(pca, name))


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pca.npz"
    for write in (
        lambda: None,
        lambda: path.write_bytes(b"PK damaged"),
        lambda: np.savez(path, mean=np.zeros(3)),
        lambda: PCA(np.zeros(3), np.zeros((4, 2)), np.zeros(2)).save(path),
        lambda: PCA(np.full(3, np.nan), np.zeros((3, 2)), np.zeros(2)).save(path),
    ):
        write()
        with pytest.raises(InputError, match=str(path)):
            PCA.load(path)


def test_nothing_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="at least one"):
        PCAFit(3).solve(2, True)


def test_unit_keeps_zero() -> None:
    np.testing.assert_allclose(unit(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])
