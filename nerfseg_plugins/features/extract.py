"""From images to maps on disk: a projection is fitted on some images, then the features of all are projected.

Both steps can be killed and go on; the result is the same bit for bit, since networks always see the same images
together: those of a batch of the whole list, never those that happen to be left.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.pca import PCA, PCAFit
from nerfseg_plugins.features.sources import BatchedSource, FeatureSource, describe
from nerfseg_plugins.features.store import PCA_FILE, check_finite, is_whole, origin_of, write_map

Item = TypeVar("Item")
Progress = Callable[[Iterable[Item], int, str], Iterator[Item]]
"""Passes items on and shows how far they are: items, their number, a text."""
Read = Callable[[Path], np.ndarray]
"""Reads an image file as (H, W, 3) uint8."""


class Target(NamedTuple):
    """One image and where its features go."""

    image: Path
    file: Path
    size: tuple[int, int]
    """(height, width) of the image in pixels."""


def no_progress(items: Iterable[Item], total: int, text: str) -> Iterator[Item]:
    """Stands in for a progress bar."""
    yield from items


def extract(
    source: FeatureSource,
    targets: Sequence[Target],
    folder: Path,
    read: Read,
    channels: int = 64,
    pca_images: int = 50,
    progress: Progress = no_progress,
) -> int:
    """Write the features of all images that have none yet.

    Args:
        source: describes an image.
        targets: all images of the data, whether done or not.
        folder: holds the manifest already.
        read: of an image file.
        channels: to keep.
        pca_images: the projection is fitted on the cells of so many images, evenly chosen.
        progress: shows how far it is.

    Returns:
        How many maps were written.

    Raises:
        InputError: an image is unreadable or takes the name of the projection's file; features are not finite.
    """
    for target in targets:
        if target.file == folder / PCA_FILE:
            raise InputError(f"the features of {target.image} would overwrite {target.file}; rename the image")
    pca = _fit(source, targets, folder, read, channels, pca_images, progress)
    origin = origin_of(folder)
    whole = {target.file for target in targets if is_whole(target.file, target.image, target.size, origin)}
    batches = [batch for batch in _batches(source, targets) if any(target.file not in whole for target in batch)]
    todo = sum(len(batch) for batch in batches)
    written = 0
    if not todo:
        return written
    for target, features in progress(_described(source, batches, read), todo, f"features: {source.name}"):
        if target.file not in whole:
            write_map(target.file, pca.project(features), target.image, target.size, origin)
            written += 1
    return written


def _fit(
    source: FeatureSource,
    targets: Sequence[Target],
    folder: Path,
    read: Read,
    channels: int,
    pca_images: int,
    progress: Progress,
) -> PCA:
    """The projection: the folder's own, where it is there already."""
    path = folder / PCA_FILE
    if path.exists():
        return PCA.load(path)
    places = np.unique(np.linspace(0, len(targets) - 1, min(pca_images, len(targets))).round().astype(int))
    chosen = [targets[place] for place in places]
    fit = PCAFit(source.channels)
    described = _described(source, _batches(source, chosen), read)
    for _, features in progress(described, len(chosen), f"main directions: {source.name}"):
        fit.add(features.reshape(-1, source.channels))
    pca = fit.solve(channels, source.centre)
    pca.save(path)
    return pca


def _batches(source: FeatureSource, targets: Sequence[Target]) -> list[Sequence[Target]]:
    """Images that go through the network together."""
    size = source.batch_size if isinstance(source, BatchedSource) else 1
    return [targets[start : start + size] for start in range(0, len(targets), size)]


def _described(
    source: FeatureSource, batches: Iterable[Sequence[Target]], read: Read
) -> Iterator[tuple[Target, np.ndarray]]:
    """Each image with its features, (h, w, D)."""
    for batch in batches:
        maps = describe(source, [read(target.image) for target in batch])
        for target, features in zip(batch, maps, strict=True):
            check_finite(features, target.image)
            yield target, features
