"""Projection of features to their main directions, fitted in one pass over more vectors than fit into memory."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path


@dataclass(frozen=True)
class PCA:
    """y = (x - mean) components, without whitening: distances within the main directions stay as they are."""

    mean: np.ndarray
    """(D,) float32; zero where the vectors were not centred."""
    components: np.ndarray
    """(D, C) float32, orthonormal columns in falling order of variance; the largest entry of each is positive."""
    variances: np.ndarray
    """(C,) float32: mean square along each component."""

    @property
    def channels(self) -> int:
        """C."""
        return self.components.shape[1]

    def project(self, features: np.ndarray) -> np.ndarray:
        """(..., D) -> (..., C) float32."""
        return (np.asarray(features, np.float32) - self.mean) @ self.components

    def save(self, path: Path) -> None:
        """Write as npz, whole or not at all."""
        with atomic_path(path) as temporary:
            np.savez(temporary, mean=self.mean, components=self.components, variances=self.variances)

    @classmethod
    def load(cls, path: Path) -> "PCA":
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, damaged or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                pca = cls(archive["mean"], archive["components"], archive["variances"])
            wanted = (pca.components.shape[0],), (pca.components.shape[1],)
            if (pca.mean.shape, pca.variances.shape) != wanted:
                raise ValueError("the shapes of its arrays do not fit together")
        except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile) as error:
            raise InputError(
                f"{path} holds no readable projection ({error}); remove its folder and make it again"
            ) from error
        if not all(np.isfinite(array).all() for array in (pca.mean, pca.components, pca.variances)):
            raise InputError(f"{path} holds values that are not finite; remove its folder and make it again")
        return pca


class PCAFit:
    """Sums of vectors and of their products, in float64; the order of `add` calls is the only thing it depends on."""

    def __init__(self, channels: int) -> None:
        """`channels` is D."""
        self.count = 0
        self._sum = np.zeros(channels)
        self._products = np.zeros((channels, channels))

    def add(self, features: np.ndarray) -> None:
        """Take in (N, D) vectors."""
        features = np.asarray(features, np.float64)
        self.count += len(features)
        self._sum += features.sum(axis=0)
        self._products += features.T @ features

    def solve(self, channels: int, centre: bool) -> PCA:
        """The main directions of what was added.

        Args:
            channels: C; no more than D are given.
            centre: take the mean off; otherwise directions are those of the second moment about zero.

        Raises:
            ValueError: nothing was added.
        """
        if not self.count:
            raise ValueError("a projection needs at least one vector")
        mean = self._sum / self.count if centre else np.zeros_like(self._sum)
        moment = self._products / self.count - np.outer(mean, mean)
        values, vectors = np.linalg.eigh(moment)
        values, vectors = values[::-1][:channels], vectors[:, ::-1][:, :channels]
        # An eigenvector's sign is arbitrary; fixed, so that two machines give maps of the same colours.
        peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
        vectors = vectors * np.where(peaks < 0, -1.0, 1.0)
        return PCA(mean.astype(np.float32), vectors.astype(np.float32), np.maximum(values, 0).astype(np.float32))


def unit(features: np.ndarray) -> np.ndarray:
    """(..., C) vectors scaled to length 1 along the last axis; those of length 0 stay 0."""
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.maximum(norms, np.finfo(np.float32).tiny)
