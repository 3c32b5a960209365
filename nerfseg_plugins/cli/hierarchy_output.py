"""What `nerfseg hierarchy` leaves behind of views: masks, parsed pictures, rendered features, and strips to look at.

Every file is written whole or not at all, and a view whose files are there is not rendered again.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from nerfseg_plugins.cli.segment_output import photo_of, to_bytes
from nerfseg_plugins.cli.views import Split, output_names, with_progress
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path, read_json, write_json

if TYPE_CHECKING:
    from nerfseg_plugins.scene.run import Run, View
    from nerfseg_plugins.ultrametric.dendrogram import Cut, Dendrogram

MADE = "made.json"
"""Tells what the files of a folder were made from."""
OWN = ("masks", "previews", "parsing", "features", "points.ply", "tree.json", MADE)
MIN_ACCUMULATION = 0.5
"""A ray that absorbs less sees nothing."""
GAP = 4
"""Pixels between the pictures of a strip."""


@dataclass(frozen=True)
class Levels:
    """A dendrogram and its cuts."""

    dendrogram: "Dendrogram"
    granularities: list[float]
    """Ascending."""
    cuts: "list[Cut]"
    min_size: int
    made_from: str
    """Tells the weights and how the dendrogram was made."""

    def names(self) -> list[str]:
        """What the folder of each granularity is called."""
        return [f"{granularity:g}" for granularity in self.granularities]

    def summary(self) -> str:
        """A line about each granularity."""
        lines = [f"{len(self.dendrogram)} points"]
        for granularity, cut in zip(self.granularities, self.cuts, strict=True):
            kept = float((cut.labels >= 0).mean())
            lines.append(f"granularity {granularity:g}: {len(cut)} segments with {kept:.1%} of the points")
        return "\n".join(lines)


def prepare(folder: Path, levels: Levels) -> None:
    """Make a folder ready: what was made from the same stays, what was made from something else goes.

    Raises:
        InputError: the folder holds files of others, or cannot be written.
    """
    made = {"made_from": levels.made_from, "granularities": levels.granularities, "min_size": levels.min_size}
    try:
        if (folder / MADE).is_file():
            if read_json(folder / MADE) == made:
                return
            for name in OWN:
                path = folder / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        elif folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} holds files that nerfseg hierarchy did not write; give an empty --output-path")
        write_json(folder / MADE, made)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); give --output-path a folder of your own"
        ) from error


def write_masks(run: "Run", folder: Path, splits: Sequence[Split], levels: Levels) -> int:
    """Write FOLDER/masks/GRANULARITY/SPLIT/NAME.png of all views, and strips of them into FOLDER/previews/SPLIT/.

    Returns:
        The number of views.
    """
    from nerfseg_plugins.scene.depth_pictures import places_seen
    from nerfseg_plugins.ultrametric.labelling import PixelLinks
    from nerfseg_plugins.ultrametric.tree_export import cut_colors

    model: Any = run.pipeline.model
    colors = [cut_colors(levels.dendrogram, cut) for cut in levels.cuts]
    count = 0
    for split in splits:
        cameras = run.dataset(split).cameras
        names = _names(run, split)
        count += len(names)
        for index, name in enumerate(with_progress(names, len(names), f"masks of {_called(split)} views")):
            paths = [folder / "masks" / level / split / name for level in levels.names()]
            strip = folder / "previews" / split / name
            if all(path.is_file() for path in (*paths, strip)):
                continue
            places = places_seen(model, cameras[index : index + 1], MIN_ACCUMULATION).cpu().numpy()
            links = PixelLinks.of(places, levels.dendrogram)
            _write_views(paths, strip, [links.labels(cut) for cut in levels.cuts], colors, photo_of(run, split, index))
    return count


def write_parsing(run: "Run", folder: Path, levels: Levels) -> None:
    """Write FOLDER/parsing/GRANULARITY/NAME.png of the held-out views, each segmented by itself, and strips."""
    from nerfseg_plugins.scene.colors import palette
    from nerfseg_plugins.ultrametric.parsing import MAX_SEGMENTS, ParsedPicture

    colors = [palette(MAX_SEGMENTS + 1)] * len(levels.cuts)
    names = _names(run, "val")

    def paths_of(name: Path) -> list[Path]:
        return [folder / "parsing" / level / name for level in (*levels.names(), "previews")]

    wanted = [index for index, name in enumerate(names) if not all(path.is_file() for path in paths_of(name))]
    for view in _rendered(run, "val", wanted, ("features", "accumulation"), "parsing held-out views"):
        seen = view.outputs["accumulation"][..., 0].numpy() >= MIN_ACCUMULATION
        picture = ParsedPicture.of(view.outputs["features"].numpy(), seen)
        maps = [picture.labels(granularity) for granularity in levels.granularities]
        *paths, strip = paths_of(names[view.index])
        _write_views(paths, strip, maps, colors, photo_of(run, "val", view.index))


def write_features(run: "Run", folder: Path, subsample: int) -> None:
    """Write FOLDER/features/NAME.npz of every so many-th training view, and the features' colours as PNG.

    Each npz holds `features` (H, W, C) float16 of unit length or zero, `depth` (H, W) float32 along the ray in scene
    units, `accumulation` (H, W) float32, and `points` (H, W, 3) float32 in the frame and unit of the data.
    """
    from PIL import Image

    names = _names(run, "train")
    wanted = [
        index
        for index in range(0, len(names), subsample)
        if not (folder / "features" / names[index]).with_suffix(".npz").is_file()
    ]
    outputs = ("features", "feature_colormap", "depth", "accumulation")
    for view in _rendered(run, "train", wanted, outputs, "features of train views"):
        arrays = {name: view.outputs[name].numpy() for name in outputs}
        rays = view.camera.generate_rays(camera_indices=0, keep_shape=True)
        places = rays.origins.numpy() + arrays["depth"] * rays.directions.numpy()
        path = folder / "features" / names[view.index]
        with atomic_path(path) as temporary:
            Image.fromarray(to_bytes(arrays["feature_colormap"])).save(temporary)
        with atomic_path(path.with_suffix(".npz")) as temporary:
            np.savez(
                temporary,
                features=arrays["features"].astype(np.float16),
                depth=arrays["depth"][..., 0],
                accumulation=arrays["accumulation"][..., 0],
                points=run.to_data_frame(places.reshape(-1, 3)).reshape(places.shape).astype(np.float32),
            )


def _write_views(
    paths: Sequence[Path], strip: Path, maps: Sequence[np.ndarray], colors: Sequence[np.ndarray], photo: np.ndarray
) -> None:
    """Write label maps (H, W) with ids from 1, and last the photo beside their colours."""
    from PIL import Image

    from nerfseg_plugins.segments.masks import write_ids

    for path, labels in zip(paths, maps, strict=True):
        write_ids(path, labels + 1)
    pictures = [own[labels + 1] for own, labels in zip(colors, maps, strict=True)]
    height, width = maps[0].shape
    photo = np.asarray(Image.fromarray(photo).resize((width, height))) if photo.shape[:2] != (height, width) else photo
    gap = np.full((height, GAP, 3), 255, np.uint8)
    parts = [photo, *(part for picture in pictures for part in (gap, picture))]
    with atomic_path(strip) as temporary:
        Image.fromarray(np.concatenate(parts, axis=1)).save(temporary)


def _rendered(
    run: "Run", split: Split, indices: Sequence[int], names: Optional[Sequence[str]], text: str
) -> "Iterator[View]":
    from nerfseg_plugins.scene.run import render_views

    return with_progress(render_views(run, split, names, indices), len(indices), text)


def _names(run: "Run", split: Split) -> list[Path]:
    return output_names([Path(path) for path in run.dataset(split).image_filenames], ".png")


def _called(split: Split) -> str:
    return "train" if split == "train" else "held-out"
