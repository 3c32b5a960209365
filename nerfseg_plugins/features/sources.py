"""Where 2D features come from: the protocol of a source, and its construction by name.

A source looks at one RGB image and describes each cell of a coarse grid by a vector, such that cells of the same thing
have a high cosine similarity. Sources that need an optional package or a checkpoint say so when they are made.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Optional, Protocol, runtime_checkable

import numpy as np

from nerfseg_plugins.errors import InputError

SourceName = Literal["classical", "dino-vits8", "dino-vitb8", "dinov2-vits14", "dinov2-vitb14", "clip", "sam"]
SOURCES: tuple[SourceName, ...] = (
    "classical",
    "dino-vits8",
    "dino-vitb8",
    "dinov2-vits14",
    "dinov2-vitb14",
    "clip",
    "sam",
)


class FeatureSource(Protocol):
    """One way of describing an image."""

    name: str
    """As in `nerfseg features --source`."""
    model: str
    """Algorithm or network with its variant, for the manifest."""
    checkpoint: Optional[str]
    """SHA-256 of the weights, None where there are none."""
    parameters: dict[str, Any]
    """Everything else that changes the result, plain JSON values."""
    channels: int
    """D, before the projection to the main directions."""
    centre: bool
    """Whether the mean over the scene is taken off before the projection; not where vectors are compared with others
    from outside the scene (CLIP's text)."""

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Describe one image.

        Args:
            rgb: (H, W, 3) uint8.

        Returns:
            (h, w, D) float32. The image spans the grid exactly: the centre of cell (i, j) lies at
            ((j + 0.5) W / w, (i + 0.5) H / h) pixels from the image's corner.
        """
        ...


@runtime_checkable
class BatchedSource(Protocol):
    """A source that describes several images of one size at once."""

    batch_size: int

    def many(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(H, W, 3) uint8 images of one size -> their (h, w, D) float32 maps."""
        ...


@dataclass(frozen=True)
class FeatureOptions:
    """What the sources can be told; each uses what concerns it."""

    checkpoint: Optional[Path] = None
    """Weights of the network; DINO, DINOv2 and CLIP fetch the published ones without it."""
    device: str = "cpu"
    """Torch device of the networks."""
    batch_size: int = 4
    """Images (clip: crops, times 16) that a network sees at once."""
    stride: Optional[int] = None
    """Pixels between neighbouring cells: classical (chosen by the image's size) and dino, dinov2 (the patch size)."""


def make_feature_source(name: SourceName, options: FeatureOptions = FeatureOptions()) -> FeatureSource:
    """Build a source; loads its network.

    Raises:
        InputError: the name is unknown, its package is not installed, or its checkpoint cannot be used.
    """
    if name == "classical":
        from nerfseg_plugins.features.classical import ClassicalFeatures

        return ClassicalFeatures(options.stride)
    if name.startswith("dino") and name in SOURCES:
        from nerfseg_plugins.features.vit import VitFeatures

        return VitFeatures(name, options)
    if name == "clip":
        from nerfseg_plugins.features.clip import ClipFeatures

        return ClipFeatures(options)
    if name == "sam":
        from nerfseg_plugins.features.sam import SamFeatures

        return SamFeatures(options)
    raise InputError(f"{name!r} is no feature source; use {', '.join(SOURCES[:-1])} or {SOURCES[-1]}")


def describe(source: FeatureSource, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The map of each image, in order; images of equal size that follow each other go through the network together."""
    if not isinstance(source, BatchedSource):
        yield from map(source, images)
        return
    for _, group in groupby(images, key=lambda image: image.shape):
        yield from source.many(list(group))
