"""What `nerfseg match` does around the matching itself: views with their segments in, depth, id maps out."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nerfseg_plugins.cli.views import with_progress
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import write_json
from nerfseg_plugins.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from nerfseg_plugins.segments.lift import DepthView, resize_nearest
from nerfseg_plugins.segments.masks import UNLABELLED, Segments, check_mask, find_mask, read_segments, write_segments
from nerfseg_plugins.segments.match import MatchResult

if TYPE_CHECKING:
    from nerfseg_plugins.scene.run import Run, View

INSTANCES = "instances.json"
PREVIEW = "preview.png"
PREVIEW_ROWS = 6


@dataclass(frozen=True)
class MatchInput:
    """One view to match."""

    split: str
    index: int
    """Place in the dataset of its split."""
    image: Path
    size: tuple[int, int]
    """(height, width) of the image."""
    name: Path
    """File of the view below a folder of masks, without suffix."""
    segments: Segments


def data_folder(run: "Run") -> Path:
    """The folder that a run's data lie in."""
    manager: Any = run.pipeline.datamanager
    data = Path(manager.dataparser.config.data)
    return data.parent if data.is_file() else data


def collect_inputs(run: "Run", folder: Path, data: Path, include_held_out: bool) -> list[MatchInput]:
    """Views of a run with their segments; a view without a file counts as wholly unlabelled.

    Raises:
        InputError: the folder has segments of no view, a file is damaged, or its size is not its image's.
    """
    inputs, missing = [], []
    for split in ("train", "val") if include_held_out else ("train",):
        dataset = run.dataset(split)
        for index, image in enumerate(Path(name) for name in dataset.image_filenames):
            size = (int(dataset.cameras.height[index]), int(dataset.cameras.width[index]))
            name = image.relative_to(data).with_suffix("") if image.is_relative_to(data) else Path(image.stem)
            path = find_mask(folder / name.parent, name.name)
            if path is None:
                path, name = find_mask(folder, name.name), Path(name.name)
            if path is None:
                missing.append(name)
                segments = Segments.of_ids(np.full(size, UNLABELLED, np.int32))
            else:
                segments = read_segments(path)
                check_mask(segments.ids, size, path)
            inputs.append(MatchInput(split, index, image, size, name, segments))
    if len(missing) == len(inputs):
        raise InputError(
            f"{folder} has segments of none of the {len(inputs)} views (wanted: {missing[0]}.npz or .png, .npy, "
            ".hdf5); make them with nerfseg masks"
        )
    if missing:
        print(f"warning: {folder} has no segments of {len(missing)} of {len(inputs)} views (first: {missing[0]})")
    return inputs


def render_depth(run: "Run", inputs: list[MatchInput], downscale: float) -> list[DepthView]:
    """Rays and depth of the views, in the data's frame."""
    from nerfseg_plugins.scene.run import render_views

    def views() -> "Iterator[View]":
        for split in dict.fromkeys(item.split for item in inputs):
            own = [item.index for item in inputs if item.split == split]
            names = ("depth", "accumulation")
            yield from render_views(run, split, names, own, downscale)  # pyright: ignore[reportArgumentType]

    found = []
    for view in with_progress(views(), len(inputs), "rendering depth"):
        rays = view.camera.generate_rays(camera_indices=0, keep_shape=True)
        origins, directions = rays.origins.double().numpy(), rays.directions.double().numpy()
        found.append(
            to_data_frame(
                run,
                view.outputs["depth"][..., 0].numpy(),
                view.outputs["accumulation"][..., 0].numpy(),
                origins,
                directions,
            )
        )
    return found


def to_data_frame(
    run: "Run", depth: np.ndarray, accumulation: np.ndarray, origins: np.ndarray, directions: np.ndarray
) -> DepthView:
    """A view in the data's frame and unit from one in the scene's.

    Args:
        run: knows both frames.
        depth: (h, w) distance along the unit ray, scene frame.
        accumulation: (h, w).
        origins: (h, w, 3) of the rays, scene frame.
        directions: (h, w, 3), likewise.
    """
    shape = origins.shape
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    start = run.to_data_frame(origins.reshape(-1, 3)).reshape(shape)
    ahead = run.to_data_frame((origins + directions).reshape(-1, 3)).reshape(shape) - start
    unit = np.linalg.norm(ahead, axis=-1)
    # All rays of a pinhole start at one point; keeping it once halves the memory of a view.
    common = start[0, 0] if np.ptp(start.reshape(-1, 3), axis=0).max() == 0 else start.astype(np.float32)
    return DepthView(
        (depth * unit).astype(np.float32), common, (ahead / unit[..., None]).astype(np.float32), accumulation
    )


def sharpen(inputs: list[MatchInput], result: MatchResult) -> MatchResult:
    """The same instances with outlines that follow the photos' edges."""
    from nerfseg_plugins.cli.derived import read_rgb
    from nerfseg_plugins.segments.refine import GuidedRefiner, refine_ids

    refiner = GuidedRefiner()
    pairs = zip(with_progress(inputs, len(inputs), "sharpening outlines"), result.ids, strict=True)
    maps = [refine_ids(ids, read_rgb(item.image), refiner) for item, ids in pairs]
    counts = np.stack([np.bincount(ids[ids >= 0], minlength=len(result.instances) + 1) for ids in maps])
    instances = [
        dataclasses.replace(
            instance,
            num_pixels=int(counts[:, instance.id].sum()),
            num_views=int((counts[:, instance.id] > 0).sum()),
        )
        for instance in result.instances
    ]
    return dataclasses.replace(result, ids=maps, instances=instances)


def check_output(folder: Path, segments: Path, overwrite: bool) -> None:
    """Refuse a folder whose files this command must not replace.

    Raises:
        InputError: it is the folder of the input, or holds masks that something else wrote.
    """
    if folder.resolve() == segments.resolve():
        raise InputError(f"{folder} is the folder of the segments themselves; give --output-path another one")
    if overwrite or not folder.is_dir() or not any(folder.rglob("*.npz")):
        return
    ours = (folder / MANIFEST).is_file() and read_manifest(folder).source.endswith("-matched")
    if not ours:
        raise InputError(f"{folder} holds masks that nerfseg match did not write; pass --overwrite to replace them")


def write_result(folder: Path, inputs: list[MatchInput], result: MatchResult, manifest: Manifest) -> None:
    """Write id maps, instances, preview and, last, the manifest; nothing of an older match stays among them.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        for path in folder.rglob("*.npz"):
            path.unlink()
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); give --output-path a folder of your own"
        ) from error
    class_of = {instance.id: instance.class_id for instance in result.instances}
    for item, ids in zip(inputs, result.ids, strict=True):
        present = np.unique(ids[ids > 0]).astype(np.int32)
        classes = np.array([class_of.get(int(number), 0) for number in present], np.int32)
        write_segments(folder / f"{item.name}.npz", Segments(ids, present, classes, np.ones(len(present), np.float32)))
    rows = []
    for instance in result.instances:
        row = dataclasses.asdict(instance)
        row["box"] = None if np.isnan(instance.box).any() else instance.box.round(5).tolist()
        rows.append(row)
    write_json(folder / INSTANCES, rows)
    write_preview(folder / PREVIEW, inputs, result)
    write_manifest(folder, manifest)


def write_preview(path: Path, inputs: list[MatchInput], result: MatchResult) -> None:
    """A contact sheet of some views: photo, segments as they came, scene-wide instances."""
    from PIL import Image

    from nerfseg_plugins.cli.derived import read_rgb
    from nerfseg_plugins.cli.pictures import contact_sheet
    from nerfseg_plugins.scene.colors import ids_to_colors, palette

    chosen = np.unique(np.linspace(0, len(inputs) - 1, PREVIEW_ROWS).round().astype(int)).tolist()
    height, width = inputs[chosen[0]].size
    factor = min(1.0, 320 / width)
    size: tuple[int, int] = max(1, round(height * factor)), max(1, round(width * factor))
    rows = []
    for index in chosen:
        photo = np.array(Image.fromarray(read_rgb(inputs[index].image)).resize((size[1], size[0])))
        maps = [resize_nearest(ids, size) for ids in (inputs[index].segments.ids, result.ids[index])]
        painted = [ids_to_colors(ids, palette(max(int(ids.max()), 0) + 1)) for ids in maps]
        rows.append([photo, *((picture * 255 + 0.5).astype(np.uint8) for picture in painted)])
    contact_sheet(path, ("photo", "segments of the view", "instances of the scene"), rows)
