"""Where `nerfseg masks` takes the segments of an image from: a source that looks at it, a folder, or the truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Optional, Protocol

import numpy as np

from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfseg_plugins.dataparsers.truth_levels import TruthLevel
    from nerfseg_plugins.manifest import Manifest
    from nerfseg_plugins.segments.hierarchy import MaskHierarchy
    from nerfseg_plugins.segments.masks import Segments
    from nerfseg_plugins.segments.sources import SegmentSource


class Made(NamedTuple):
    """What is known of one image."""

    segments: "Optional[Segments]"
    """The partition; None for that of the smallest masks."""
    masks: "Optional[MaskHierarchy]"
    """Masks that may lie in each other; None where the source sees a partition alone."""


class MaskMaker(Protocol):
    """One way of getting the segments of each of the images."""

    manifest: "Manifest"
    overlapping: bool
    """Whether there will be masks that may lie in each other."""

    def covers(self, index: int) -> bool:
        """Whether anything is known of this image."""
        ...

    def make(self, index: int) -> Made:
        """The segments of this image."""
        ...


class FromImages:
    """A source looks at each image."""

    def __init__(self, source: "SegmentSource", images: Sequence[Path]) -> None:
        from nerfseg_plugins.segments.sources import HierarchySource

        self.source = source
        self.images = images
        self.overlapping = isinstance(source, HierarchySource)
        self.manifest = _manifest(source.name, source.model, images, dict(source.parameters), source.checkpoint)

    def covers(self, index: int) -> bool:
        """Every image can be looked at."""
        return True

    def make(self, index: int) -> Made:
        """The segments of this image."""
        from nerfseg_plugins.cli.derived import read_rgb
        from nerfseg_plugins.segments.sources import HierarchySource

        rgb = read_rgb(self.images[index])
        if isinstance(self.source, HierarchySource):
            return Made(*self.source.levels(rgb))
        return Made(self.source(rgb), None)


class FromFolders:
    """Binary masks that segment-anything's own command line, or a published data set, has left in folders."""

    overlapping = True

    def __init__(self, root: Path, images: Sequence[Path], names: Sequence[Path]) -> None:
        """
        Args:
            root: holds the folder of each image: SPLIT_seg/NAME/ (Blender-HS), seg/NN/ (PartNet), SPLIT/NAME/ or
                NAME/.
            images: the images.
            names: files to be written, below their folder: SPLIT/NAME.npz or NAME.npz.

        Raises:
            InputError: there is no folder for any image.
        """
        from nerfseg_plugins.manifest import hash_images

        self.images = images
        self.folders = [_folder_of(root, image, name) for image, name in zip(images, names, strict=True)]
        found = [folder for folder in self.folders if folder is not None]
        if not found:
            first = names[0].with_suffix("")
            split = f"{root / f'{images[0].parent.name}_seg' / images[0].stem} or " if root != root / first else ""
            raise InputError(
                f"{root} has no masks of any of the {len(images)} images (looked for {split}{root / first}); give "
                "--from the folder that holds a folder of binary masks for each image"
            )
        files = [path for folder in found for path in sorted(folder.iterdir()) if path.suffix in (".png", ".csv")]
        self.manifest = _manifest("imported", "mask-folders", images, {"masks": hash_images(files)})

    def covers(self, index: int) -> bool:
        """Whether there is a folder for this image."""
        return self.folders[index] is not None

    def make(self, index: int) -> Made:
        """The masks of this image."""
        from nerfseg_plugins.cli.derived import image_size
        from nerfseg_plugins.segments.hierarchy import read_hierarchy

        folder = self.folders[index]
        assert folder is not None
        return Made(None, read_hierarchy(folder, image_size(self.images[index])))


class FromLabels:
    """SAM-like masks made from the data's own exact ids of parts, objects and groups: for trying methods."""

    overlapping = True

    def __init__(self, data: Path, images: Sequence[Path], noise: bool, seed: int) -> None:
        """
        Args:
            data: folder (or its transforms.json) with gt_seg/, or with masks/, parts/ and hierarchy.json.
            images: those that the data list.
            noise: whether a tenth of the masks is missing and edges are off by up to 1.5 pixels.
            seed: of the noise, together with the place of the image.

        Raises:
            InputError: the data have no exact ids.
        """
        from nerfseg_plugins.dataparsers.transforms import read_capture
        from nerfseg_plugins.dataparsers.truth_levels import truth_levels
        from nerfseg_plugins.manifest import hash_images

        capture = read_capture(data)
        places = {frame.image: place for place, frame in enumerate(capture.frames)}
        self.images, self.noise, self.seed = images, noise, seed
        self.places = [places[image] for image in images]
        self.levels: dict[str, TruthLevel] = truth_levels(capture.folder, capture.frames)
        if not self.levels:
            raise InputError(
                f"{capture.folder} has no exact ids (gt_seg/, or masks/, parts/ and hierarchy.json), from which masks "
                "are made up; make a scene that has them with: nerfseg room"
            )
        files = {file for level in self.levels.values() for file in level.files if file is not None}
        tree = capture.folder / "hierarchy.json"
        files |= {tree} if tree.is_file() else set()
        parameters = {"levels": list(self.levels), "labels": hash_images(files), "noise": noise, "seed": seed}
        self.manifest = _manifest("labels", "sam-like-labels-1", images, parameters)

    def covers(self, index: int) -> bool:
        """Whether the data have ids of this image."""
        return any(level.files[self.places[index]] is not None for level in self.levels.values())

    def make(self, index: int) -> Made:
        """The masks of this image."""
        from nerfseg_plugins.cli.derived import image_size
        from nerfseg_plugins.dataparsers.truth_levels import read_level
        from nerfseg_plugins.rooms.sam_hierarchy import segment_masks, smallest_mask
        from nerfseg_plugins.segments.hierarchy import MaskHierarchy
        from nerfseg_plugins.segments.masks import check_mask

        size, place, ids = image_size(self.images[index]), self.places[index], []
        for level in self.levels.values():
            found, file = read_level(level, place), level.files[place]
            if found is not None and file is not None:
                check_mask(found, size, file)
                ids.append(found)
        rng = np.random.default_rng([self.seed, place]) if self.noise else None
        return Made(None, MaskHierarchy.of_masks(segment_masks(ids, smallest_mask(size[0] * size[1]), rng)))


def _folder_of(root: Path, image: Path, name: Path) -> Optional[Path]:
    places = (
        root / f"{image.parent.name}_seg" / image.stem,
        root / name.with_suffix(""),
        root / "seg" / image.parent.name.removeprefix("view-"),  # PartNet: view-07/shape-rgb.png has seg/07
        root / image.stem,
    )
    return next((place for place in places if place.is_dir()), None)


def _manifest(
    source: str, model: str, images: Sequence[Path], parameters: dict, checkpoint: Optional[str] = None
) -> "Manifest":
    from nerfseg_plugins.cli.derived import image_size
    from nerfseg_plugins.manifest import Manifest, hash_images

    return Manifest(source, model, checkpoint, image_size(images[0]), hash_images(images), parameters)
