"""From images to maps on disk: a projection is fitted on some images, then the features of all are projected.

Both steps can be killed and go on; the result is the same bit for bit, since networks always see the same images
together: those of a batch of the whole list, never those that happen to be left.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Optional, TypeVar

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


Describe = Callable[[Sequence[Target]], Iterable[np.ndarray]]
"""The (h, w, D) features of some images, in order."""


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

    def described(batch: Sequence[Target]) -> Iterator[np.ndarray]:
        return describe(source, (read(target.image) for target in batch))

    size = source.batch_size if isinstance(source, BatchedSource) else 1
    pca = fit_projection(
        described, targets, folder, source.channels, channels, pca_images, source.centre, size, progress
    )
    return write_maps(described, targets, folder, pca, size, progress)


def write_maps(
    described: Describe,
    targets: Sequence[Target],
    folder: Path,
    pca: Optional[PCA] = None,
    batch_size: int = 1,
    progress: Progress = no_progress,
) -> int:
    """Write the maps that are not there yet, whoever describes the images.

    Args:
        described: the (h, w, D) features of images, in order.
        targets: all images of the data, whether done or not.
        folder: holds the manifest already, and the projection if there is one.
        pca: projects the features; None keeps them.
        batch_size: images that are described together.
        progress: shows how far it is.

    Returns:
        How many maps were written.

    Raises:
        InputError: see `extract`.
    """
    for target in targets:
        if target.file == folder / PCA_FILE:
            raise InputError(f"the features of {target.image} would overwrite {target.file}; rename the image")
    origin = origin_of(folder)
    whole = {target.file for target in targets if is_whole(target.file, target.image, target.size, origin)}
    batches = [batch for batch in _batches(targets, batch_size) if any(target.file not in whole for target in batch)]
    todo = sum(len(batch) for batch in batches)
    written = 0
    if not todo:
        return written
    for target, features in progress(_checked(described, batches), todo, f"features: {folder.name}"):
        if target.file not in whole:
            features = features if pca is None else pca.project(features)
            write_map(target.file, features, target.image, target.size, origin)
            written += 1
    return written


def fit_projection(
    described: Describe,
    targets: Sequence[Target],
    folder: Path,
    width: int,
    channels: int,
    pca_images: int = 50,
    centre: bool = True,
    batch_size: int = 1,
    progress: Progress = no_progress,
) -> PCA:
    """The projection of `width` channels to fewer: the folder's own, or fitted and written there.

    Raises:
        InputError: the folder's own is damaged; features are not finite.
    """
    path = folder / PCA_FILE
    if path.exists():
        return PCA.load(path)
    places = np.unique(np.linspace(0, len(targets) - 1, min(pca_images, len(targets))).round().astype(int))
    chosen = [targets[place] for place in places]
    fit = PCAFit(width)
    maps = _checked(described, _batches(chosen, batch_size))
    for _, features in progress(maps, len(chosen), f"main directions: {folder.name}"):
        fit.add(features.reshape(-1, width))
    pca = fit.solve(channels, centre)
    pca.save(path)
    return pca


def _batches(targets: Sequence[Target], size: int) -> list[Sequence[Target]]:
    """Images that are described together."""
    return [targets[start : start + size] for start in range(0, len(targets), size)]


def _checked(described: Describe, batches: Iterable[Sequence[Target]]) -> Iterator[tuple[Target, np.ndarray]]:
    """Each image with its finite features, (h, w, D)."""
    for batch in batches:
        for target, features in zip(batch, described(batch), strict=True):
            check_finite(features, target.image)
            yield target, features
