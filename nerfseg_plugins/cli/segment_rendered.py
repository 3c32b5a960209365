"""`nerfseg segment` for runs of gsn: objects of any scene by strokes on rendered features."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import numpy as np

from nerfseg_plugins.cli.segment_strokes import MAX_PIXELS, drawn, views_of
from nerfseg_plugins.cli.views import Split, output_names, with_progress
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import write_json

if TYPE_CHECKING:
    from nerfseg_plugins.cli.segment import Segment
    from nerfseg_plugins.cli.segment_query import QueryOptions
    from nerfseg_plugins.gsn.query import Query
    from nerfseg_plugins.gsn.segmenting import Marks
    from nerfseg_plugins.scene.run import Run
    from nerfseg_plugins.segments.select_config import SelectConfig
    from nerfseg_plugins.segments.stroke_files import Drawing
    from nerfseg_plugins.segments.strokes import Stroke

Clock = Callable[[str], AbstractContextManager[None]]


class Places(NamedTuple):
    """Where results go."""

    segments: Path
    """RUN/segments/NAME.npz."""
    config: Path
    """RUN/NAME.yml."""
    pictures: Path
    """Folder of masks and pictures."""


def renders_features(load_config: Path) -> bool:
    """Whether a run renders features of scenes that it was not trained on.

    Raises:
        InputError: there is no run, or it is of an image-based method without features.
    """
    from nerfseg_plugins import compat

    compat.apply()
    from nerfseg_plugins.gsn.semantic_model import GsnModelConfig
    from nerfseg_plugins.image_based.model import ImageBasedModelConfig
    from nerfseg_plugins.scene.config_file import read_config

    config = read_config(load_config)
    if isinstance(config.pipeline.model, GsnModelConfig):
        return True
    if isinstance(config.pipeline.model, ImageBasedModelConfig):
        raise InputError(
            f"{load_config} is a run of {config.method_name}, which renders no features to select by; train gsn, which "
            f"can begin with it: ns-train gsn --pipeline.pretrained {load_config}"
        )
    return False


def segment_rendered(command: "Segment", drawings: "Sequence[Drawing]", clock: Any) -> Places:
    """Select the objects that strokes and words mark, and write masks of views, pictures and what shows them again.

    Raises:
        InputError: the run, the strokes, the words or the numbers cannot be used, or they select nothing or
            everything; then nothing is written.
    """
    from nerfseg_plugins.scene.run import load_run

    check_options(command)
    places = places_of(command)
    with clock("load"):
        run = load_run(command.load_config)
    strokes = drawn(drawings, views_of(run, command.marks.split))
    query = find_objects(
        run,
        strokes,
        command.marks.split,
        command.query,
        command.selecting,
        command.resolution,
        command.name,
        clock,
    )
    print(summary_of(query))
    _write(command, run, places, strokes, query, clock)
    return places


def check_options(command: "Segment") -> None:
    """Refuse what only runs of isrf can do.

    Raises:
        InputError: names the flag.
    """
    what = "belongs to runs of isrf, which know the space of their scene; a run of gsn only shows what is selected"
    if command.edit.action != "none":
        raise InputError(f"--action {command.edit.action} {what}")
    if command.load_edit is not None:
        raise InputError(f"--load-edit {what}")
    if command.selecting.method == "bilateral":
        raise InputError(f"--method bilateral {what}; take walker or seed")


def places_of(command: "Segment") -> Places:
    """Where results go.

    Raises:
        InputError: the name is none, or taken.
    """
    from nerfseg_plugins.gsn.saved import FOLDER
    from nerfseg_plugins.scene.names import checked_name

    name, run = checked_name(command.name), command.load_config.parent
    folder = run / FOLDER
    places = Places(folder / f"{name}.npz", run / f"{name}.yml", command.output_path or folder / name)
    for path in places:
        if path.exists() and not command.overwrite:
            raise InputError(f"{path} exists already; pass --overwrite to replace it, or choose another --name")
    if places.config.exists() and not places.segments.exists():
        raise InputError(f"--name {name} would overwrite {places.config}, which shows a scene; choose another name")
    return places


# Selecting ------------------------------------------------------------------------------------------------------------


def find_objects(
    run: "Run",
    strokes: "Sequence[Stroke]",
    split: Split,
    words: "QueryOptions",
    config: "SelectConfig",
    resolution: Optional[int],
    name: str,
    clock: Clock,
) -> "Query":
    """From strokes and words to objects.

    Args:
        run: a run of gsn.
        strokes: their pixels.
        split: the views that they lie in; these views are looked at beside the usual ones.
        words: for object 1, and for what is none.
        config: how to select.
        resolution: pixels along the longer side of the views that are looked at; the usual number when None.
        name: of the object; several are numbered.
        clock: measures the steps.

    Raises:
        InputError: strokes lie on empty space, words cannot be used, or an object is nothing or everything.
    """
    from nerfseg_plugins.gsn.query import Query
    from nerfseg_plugins.gsn.segmenting import Marks, check_config, segment
    from nerfseg_plugins.gsn.surfels import Surfels
    from nerfseg_plugins.gsn.survey import SurveyConfig, kept_surfels, picture_of, together
    from nerfseg_plugins.gsn.words import marks_of_words, text_of

    check_config(config)
    survey = SurveyConfig() if resolution is None else SurveyConfig(resolution=resolution)
    survey.check()
    model, cameras = run.pipeline.model, run.dataset(split).cameras
    labelled = [(text, 1) for text in words.text] + [(text, 0) for text in words.negative_text]
    with clock("words"):
        manager, device = run.pipeline.datamanager, str(run.pipeline.device)
        texts = [text for text, _ in labelled]
        known = text_of(manager, texts, words.text_checkpoint, device) if texts else None
    with clock("lift"):
        marks = [lift_stroke(run, stroke, split) for stroke in strokes]
    with clock("look"):
        surfels = kept_surfels(model, survey, run.folder, print)
        views = sorted({stroke.view for stroke in strokes})
        if views:
            marked = [picture_of(model, cameras[view : view + 1], survey.resolution) for view in views]
            surfels = together([surfels, Surfels.of(marked)])
    with clock("select"):
        if known is not None:
            marks += [marks_of_words(surfels, known, place, label) for place, (_, label) in enumerate(labelled)]
        everything = Marks.cat(marks)
        found = segment(surfels, everything, config)
    objects = everything.objects
    names = [name if objects == [1] else f"{name} {label}" for label in range(1, everything.count + 1)]
    return Query.of(surfels, found, names, config)


def lift_stroke(run: "Run", stroke: "Stroke", split: Split) -> "Marks":
    """What the rays through a stroke meet.

    Raises:
        InputError: the stroke lies on empty space.
    """
    import torch

    from nerfseg_plugins.gsn.survey import lift

    count = len(stroke.pixels)
    pixels = stroke.pixels[np.linspace(0, count - 1, min(count, MAX_PIXELS)).round().astype(int)]
    camera = run.dataset(split).cameras[stroke.view : stroke.view + 1].to(run.pipeline.device)
    rays = camera.generate_rays(camera_indices=0, coords=torch.from_numpy(pixels).to(camera.device).float() + 0.5)
    try:
        return lift(run.pipeline.model, rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3), stroke.label)
    except InputError as error:
        views = views_of(run, split)
        raise InputError(f"{stroke.origin} in {views.describe(stroke.view)}: {error}") from error


def shares_of(query: "Query") -> dict[str, float]:
    """Part of what the views see that each object is."""
    labels = query.shares.argmax(dim=-1)
    return {name: float((labels == label).float().mean()) for label, name in enumerate(query.names, start=1)}


def summary_of(query: "Query") -> str:
    """What was found, in a line."""
    found = ", ".join(f"{name} {share:.1%}" for name, share in shares_of(query).items() if share)
    return f"selected of what the views see: {found}"


# Writing --------------------------------------------------------------------------------------------------------------


def _write(
    command: "Segment", run: "Run", places: Places, strokes: "Sequence[Stroke]", query: "Query", clock: Any
) -> None:
    """Write everything, or nothing at all when something fails or somebody interrupts."""
    from nerfseg_plugins.cli.segment_output import staged_folder, write_stroke_sheet
    from nerfseg_plugins.gsn.saved import write_run_with_segments
    from nerfseg_plugins.gsn.survey import made_for

    model: Any = run.pipeline.model
    splits: list[Split] = {"all": ["train", "val"], "none": []}.get(command.masks, [command.masks])  # type: ignore
    split = command.marks.split
    with staged_folder(places.pictures) as folder, showing(model, query):
        with clock("pictures"):
            if strokes:
                write_stroke_sheet(folder / "strokes.png", run, split, strokes)
            write_overview(folder / "overview.png", run, split, strokes, query)
        with clock("masks"):
            count = sum(write_masks(run, folder / "masks" / split, split) for split in splits)
        write_json(folder / "segment.json", _report(command, query, strokes, count, clock))
        query.save(places.segments, made_for(model))
        write_run_with_segments(run.folder, run.config.pipeline, command.name, places.segments)


@contextmanager
def showing(model: Any, query: "Query") -> Iterator[None]:
    """Inside this context a model shows a selection; afterwards what it showed before."""
    before, model.query = model.query, query
    try:
        yield
    finally:
        model.query = before


def write_masks(run: "Run", folder: Path, split: Split) -> int:
    """Write a 16-bit id mask for each view of a split, named after the images; returns how many."""
    from nerfseg_plugins.scene.run import render_views
    from nerfseg_plugins.segments.masks import write_ids

    names = output_names([Path(path) for path in run.dataset(split).image_filenames], ".png")
    views = render_views(run, split, ("segment_id",))
    text = f"masks of {'source' if split == 'train' else 'other'} views"
    for name, view in zip(names, with_progress(views, len(names), text), strict=True):
        ids = run.pipeline.model.predict_ids(view.outputs)  # type: ignore[operator]
        write_ids(folder / name, ids.numpy().astype(np.int32))
    return len(names)


def write_overview(path: Path, run: "Run", split: Split, strokes: "Sequence[Stroke]", query: "Query") -> None:
    """A sheet of some views: photo, rendering with the objects, and what is like them."""
    from nerfseg_plugins.cli.pictures import contact_sheet
    from nerfseg_plugins.cli.segment_output import (
        WIDTH,
        fitted,
        overview_views,
        photo_of,
        shares_in_view,
        sheet_size,
        to_bytes,
    )
    from nerfseg_plugins.scene.run import render_views

    cameras = run.dataset(split).cameras
    selected = query.points[query.shares.argmax(dim=-1) > 0]
    chosen = overview_views(shares_in_view(cameras, selected), [stroke.view for stroke in strokes])
    size = sheet_size(photo_of(run, split, chosen[0]))
    outputs = ("segment_colormap", "similarity_colormap")
    rows = []
    for index in with_progress(chosen, len(chosen), "pictures"):
        view = next(render_views(run, split, outputs, (index,), min(1.0, WIDTH / int(cameras.width[index]))))
        pictures = [photo_of(run, split, index), *(to_bytes(view.outputs[name].numpy()) for name in outputs)]
        rows.append([fitted(picture, size) for picture in pictures])
    contact_sheet(path, ("photo", "objects", "alike"), rows)


def _report(command: "Segment", query: "Query", strokes: "Sequence[Stroke]", masks: int, clock: Any) -> dict[str, Any]:
    """What segment.json says."""
    return {
        "name": command.name,
        "run": str(command.load_config),
        "objects": {str(number): name for number, name in enumerate(query.names, start=1)},
        "shares": shares_of(query),
        "masks": masks,
        "strokes": [
            {"view": own.view, "object": own.label, "pixels": len(own.pixels), "origin": own.origin} for own in strokes
        ],
        "split": command.marks.split,
        "text": command.query.text,
        "negative_text": command.query.negative_text,
        "settings": {**dataclasses.asdict(command.selecting), "resolution": command.resolution},
        "seconds": {step: round(seconds, 3) for step, seconds in clock.seconds.items()},
    }
