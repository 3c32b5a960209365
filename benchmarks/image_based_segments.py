"""What strokes select in a room that a gsn run never saw, and whether its features agree between views.

A person is simulated who draws one line along the middle of each of the room's six largest objects, with a brush of 3
pixels, all in one view: the source view in which the smallest of the six shows most. Objects and view are chosen by the
truth of all views, the lines are drawn by that of the one.
`nerfseg segment` is given these six lines at once, as from one strokes.json, so each object's line also says what the
others are not; there is no negative stroke. What it selects is compared with the truth in all other views.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from image_based_scenes import opened
from simulated_user import line_along

from nerfseg_plugins.cli.pictures import contact_sheet
from nerfseg_plugins.cli.segment import Segment
from nerfseg_plugins.cli.segment_strokes import StrokeOptions, views_of
from nerfseg_plugins.evaluation.correspondence import ViewCamera
from nerfseg_plugins.evaluation.feature_consistency import FeatureView, feature_consistency
from nerfseg_plugins.image_based.images import ImageCache
from nerfseg_plugins.image_based.teacher import TeacherFeatures
from nerfseg_plugins.rooms.llff import pose_from_row
from nerfseg_plugins.scene.colors import palette
from nerfseg_plugins.scene.run import Run, load_run, render_views
from nerfseg_plugins.segments.masks import read_ids
from nerfseg_plugins.segments.select_config import SelectConfig, WalkerConfig
from nerfseg_plugins.segments.stroke_files import Drawing, read_strokes, write_strokes

OBJECTS = 6
"""The largest of a room, by pixels over all views; walls, floor, ceiling and carpet are none."""
VISIBLE = 20
"""Pixels of 10800 that an object must have in a view to be looked for there."""
SELECTING = SelectConfig(tau=0.5, walker=WalkerConfig(prior=0.05))
"""`nerfseg segment --tau 0.5 --walker.prior 0.05`, chosen on the rooms of `val`: rendered features are smoother than
those of voxels, and half way between an object's and a wall's is a squared distance of 0.59."""
SHARE = 0.55
"""Of the palette's colour in what is marked, beside the photo's."""
SCALE = 3
"""Enlargement of the pictures."""


class Seen(NamedTuple):
    """One view, rendered with the selection and as the data have it."""

    name: str
    split: str
    ids: np.ndarray
    """(H, W) what `nerfseg segment` found: 1 to K, 0 for none."""
    truth: np.ndarray
    """(H, W) the room's own instance ids."""
    features: np.ndarray
    """(H, W, C) rendered."""
    teacher: np.ndarray
    """(H, W, C) the 2D features of this view, brought to its pixels."""
    photo: np.ndarray
    """(H, W, 3) uint8."""
    feature_colors: np.ndarray
    """(H, W, 3) uint8 of the rendered features."""


def measure_segments(config: Path, data: Path, name: str, pictures: Path) -> dict[str, Any]:
    """Strokes on one view of a room against the truth in the others, and whether features agree better than 2D ones.

    Args:
        config: of a gsn run.
        data: a procedural room with 2D features.
        name: of the room, for files.
        pictures: folder for NAME-segments.png.
    """
    shown = opened(config, data, name)
    truths = {path.stem: read_ids(path) for path in sorted((data / "masks").glob("*.png"))}
    objects = largest(list(truths.values()))
    sources = [path.stem for path in views_of(load_run(shown), "train").images]
    view = clearest(objects, [truths[stem] for stem in sources])
    strokes = shown.parent / "strokes" / f"{name}.json"
    draw(strokes, view, objects, truths[sources[view]])
    begin = time.perf_counter()
    selection = f"{name}-objects"
    marks = StrokeOptions(strokes=[strokes])
    Segment(shown, selection, marks, selecting=SELECTING, masks="none", overwrite=True).main()
    seconds = time.perf_counter() - begin
    run = load_run(config.parent / f"{selection}.yml")
    seen = look(run, data, truths)
    marked = sources[view]
    save_pictures(pictures / f"{name}-segments.png", seen, objects, marked, strokes)
    return {
        "stroke_view": marked,
        "segment_seconds": seconds,
        **scores(seen, objects, marked),
        **consistencies(seen, data),
    }


# Strokes --------------------------------------------------------------------------------------------------------------


def largest(truths: Sequence[np.ndarray]) -> list[int]:
    """Ids of the largest objects, the largest first."""
    counts = np.bincount(np.concatenate([truth[truth > 0] for truth in truths]))
    return [int(one) for one in np.argsort(-counts)[:OBJECTS] if counts[one]]


def clearest(objects: Sequence[int], truths: Sequence[np.ndarray]) -> int:
    """The view in which the smallest of some objects shows most."""
    return int(np.argmax([min(int((truth == one).sum()) for one in objects) for truth in truths]))


def draw(path: Path, view: int, objects: Sequence[int], truth: np.ndarray) -> None:
    """strokes.json with a line on each object of a view."""
    drawings = []
    for number, one in enumerate(objects, start=1):
        line = line_along(truth == one)
        drawings.append(Drawing(view, True, tuple(line), radius=1.0, object=number))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_strokes(path, drawings)


# Views ----------------------------------------------------------------------------------------------------------------


def look(run: Run, data: Path, truths: dict[str, np.ndarray]) -> list[Seen]:
    """All views of a room, by name, with what is selected; the masks are those that `nerfseg segment` writes."""
    found = []
    model: Any = run.pipeline.model
    for split in ("train", "val"):
        images = [Path(path) for path in run.dataset(split).image_filenames]
        teacher = TeacherFeatures(data, "labels", images, ImageCache(64))
        for view in render_views(run, split, ("segment_id", "features", "feature_colormap")):
            truth = truths[view.image_path.stem]
            found.append(
                Seen(
                    view.image_path.stem,
                    split,
                    model.predict_ids(view.outputs).numpy(),
                    truth,
                    view.outputs["features"].numpy(),
                    at_pixels(teacher, view.index, truth.shape),
                    to_bytes(view.batch["image"]),
                    to_bytes(view.outputs["feature_colormap"]),
                )
            )
    return sorted(found, key=lambda one: one.name)


def at_pixels(teacher: TeacherFeatures, index: int, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W, C) 2D features of a view at its pixels: its cells, blended linearly, as training sees them."""
    rows, columns = (grid.ravel() for grid in np.indices(shape))
    views = np.full(len(rows), index)
    sizes = np.tile(np.array(shape), (index + 1, 1))
    return teacher.sample(views, rows, columns, sizes).numpy().reshape(*shape, -1)


def to_bytes(image: torch.Tensor) -> np.ndarray:
    """(H, W, 3) in [0, 1] as uint8."""
    return (image[..., :3].float().clamp(0, 1) * 255 + 0.5).byte().numpy()


# Figures --------------------------------------------------------------------------------------------------------------


def scores(seen: Sequence[Seen], objects: Sequence[int], marked: str) -> dict[str, Any]:
    """IoU in the views without strokes.

    `miou` is the mean over pairs of an object and a view that shows it; `held_out_miou` over those of held-out views.
    `pooled_miou` sums each object's pixels over all views, so what is found where there is nothing counts as well.
    """
    others = [one for one in seen if one.name != marked]
    pairs: list[tuple[int, str, float]] = []
    each, pooled = {}, []
    for number, one in enumerate(objects, start=1):
        both, either, own = 0, 0, []
        for view in others:
            found, true = view.ids == number, view.truth == one
            overlap, union = int((found & true).sum()), int((found | true).sum())
            both, either = both + overlap, either + union
            if true.sum() >= VISIBLE:
                pairs.append((number, view.split, overlap / union))
                own.append(overlap / union)
        pooled.append(both / either)
        each[f"object {one}"] = float(np.mean(own))
    return {
        "miou": float(np.mean([iou for _, _, iou in pairs])),
        "held_out_miou": float(np.mean([iou for _, split, iou in pairs if split == "val"])),
        "pooled_miou": float(np.mean(pooled)),
        "each": each,
        "pairs": len(pairs),
    }


def consistencies(seen: Sequence[Seen], data: Path) -> dict[str, Any]:
    """How alike rendered and 2D features are of one place in two views, held-out views alone and all, by true depth.

    A source view's own 2D features are among those that it is rendered from; those of a held-out view are not.
    """
    names = sorted(path.stem for path in (data / "images").iterdir())
    rows = dict(zip(names, np.load(data / "poses_bounds.npy", allow_pickle=False), strict=True))
    found = {}
    for group, views in (("held_out", [one for one in seen if one.split == "val"]), ("all", seen)):
        for kind in ("features", "teacher"):
            compared = []
            for view in views:
                depth = np.load(data / "depth" / f"{view.name}.npy", allow_pickle=False).astype(np.float64)
                height, width = depth.shape
                focal = float(rows[view.name][14])
                camera = ViewCamera(pose_from_row(rows[view.name]), focal, focal, width / 2, height / 2)
                compared.append(FeatureView(getattr(view, kind), depth, camera))
            result = feature_consistency(compared)
            found[f"{group}_{'rendered' if kind == 'features' else kind}"] = {
                "same": result.same,
                "contrast": result.contrast,
                "pairs": result.pairs,
            }
    return {"consistency": found}


# Pictures -------------------------------------------------------------------------------------------------------------


def save_pictures(path: Path, seen: Sequence[Seen], objects: Sequence[int], marked: str, strokes: Path) -> None:
    """The view with strokes and the held-out ones: photo, truth, what is selected, and features as colours."""
    rows = []
    for view in sorted(seen, key=lambda one: one.name != marked):
        if view.name != marked and view.split != "val":
            continue
        photo = view.photo.copy()
        if view.name == marked:
            paint_strokes(photo, strokes)
        wanted = np.zeros_like(view.truth)
        for number, one in enumerate(objects, start=1):
            wanted[view.truth == one] = number
        pictures = [photo, painted(view.photo, wanted), painted(view.photo, view.ids), view.feature_colors]
        rows.append([picture.repeat(SCALE, 0).repeat(SCALE, 1) for picture in pictures])
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(path, ("photo", "truth", "selected", "features"), rows)


def paint_strokes(photo: np.ndarray, path: Path) -> None:
    """Draw the strokes of a file into the view's photo."""
    colors = palette(OBJECTS + 1)
    for drawing in read_strokes(path):
        for x, y in drawing.polyline or ():
            photo[int(y), int(x)] = colors[drawing.object]


def painted(photo: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """A photo with objects in their palette colours, and the rest pale."""
    colors = palette(OBJECTS + 1)[ids]
    pale = 0.5 * photo + 0.5 * 255
    return np.where(ids[..., None] > 0, (1 - SHARE) * photo + SHARE * colors, pale).astype(np.uint8)


def summary(rooms: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over rooms of what is to be reached."""
    of = {key: [room[key] for room in rooms.values()] for key in ("miou", "held_out_miou", "pooled_miou")}
    found: dict[str, Any] = {key: float(np.mean(values)) for key, values in of.items()}
    for group in ("held_out", "all"):
        for value in ("same", "contrast"):
            apart = [
                room["consistency"][f"{group}_rendered"][value] - room["consistency"][f"{group}_teacher"][value]
                for room in rooms.values()
            ]
            found[f"{group}_{value}_above_teacher"] = float(np.mean(apart))
    return found
