"""`nerfseg segment`: objects are marked in photos, and found in 3D, in every view, and edited; without a window."""

import dataclasses
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional

import tyro

from nerfseg_plugins.cli.segment_edit import EditOptions
from nerfseg_plugins.cli.segment_query import QueryOptions
from nerfseg_plugins.cli.segment_strokes import StrokeOptions, drawn, views_of
from nerfseg_plugins.cli.views import Split
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import write_json
from nerfseg_plugins.segments.select_config import SelectConfig

if TYPE_CHECKING:
    from nerfseg_plugins.cli.segment_query import Found
    from nerfseg_plugins.isrf.edits import Edit
    from nerfseg_plugins.scene.run import Run
    from nerfseg_plugins.segments.stroke_files import Drawing
    from nerfseg_plugins.segments.strokes import Stroke


class Places(NamedTuple):
    """Where results go."""

    run: Path
    """The run's folder."""
    edit: Path
    """RUN/edits/NAME.npz."""
    config: Path
    """RUN/NAME.yml."""
    pictures: Path
    """Folder of masks and pictures."""


@dataclass
class Segment:
    """Select what strokes or words mark: an object of an isrf run, and keep, remove, recolour or move it; or objects of
    any scene that is shown with a gsn run.

    Writes RUN/edits/NAME.npz (gsn: RUN/segments/NAME.npz), RUN/NAME.yml for ns-viewer and ns-render, and into
    RUN/edits/NAME/ masks of every view, pictures and segment.json. The run itself stays as it is; RUN/voxels.npz (gsn:
    RUN/surveys/) lets the next command begin at once.
    """

    load_config: Path
    """config.yml of an isrf run, or NAME.yml of an earlier edit of it, to which another object is added; or config.yml
    of a gsn run, or SCENE.yml that nerfseg open wrote for it."""
    name: str
    """What the object is called, and the files that are written."""
    marks: Annotated[StrokeOptions, tyro.conf.arg(name="")] = field(default_factory=StrokeOptions)
    """Strokes."""
    query: Annotated[QueryOptions, tyro.conf.arg(name="")] = field(default_factory=QueryOptions)
    """Words."""
    edit: Annotated[EditOptions, tyro.conf.arg(name="")] = field(default_factory=EditOptions)
    """What becomes of it."""
    selecting: Annotated[SelectConfig, tyro.conf.arg(name="")] = field(default_factory=SelectConfig)
    """How it is selected."""
    load_edit: Optional[Path] = None
    """NAME.npz of an earlier edit of the run, to which this object is added."""
    resolution: Optional[int] = None
    """isrf: voxels along the longest side of the scene box; gsn: pixels along the longer side of the views that are
    looked at, beyond which masks gain little; the usual number unless given."""
    masks: Literal["all", "train", "val", "none"] = "all"
    """Which views get masks."""
    output_path: Optional[Path] = None
    """Folder for masks and pictures instead of RUN/edits/NAME or RUN/segments/NAME."""
    overwrite: bool = False
    """Whether to replace an edit of the same name."""

    def main(self) -> None:
        """Select, edit, render and write.

        Raises:
            InputError: the run, the strokes, the words or the numbers cannot be used, or they select nothing or
                everything; then nothing is written.
        """
        from nerfseg_plugins.cli.segment_rendered import renders_features, segment_rendered

        self._check()
        drawings = self._drawings()
        clock = Clock()
        if renders_features(self.load_config):
            written = segment_rendered(self, drawings, clock)
        else:
            written = self._edit(drawings, clock)
        print(f"wrote {written[0]}, {written[1]} and {written[2]} ({clock.summary()})")
        print(f"next: ns-viewer --load-config {shlex.quote(str(written[1]))}")

    def _edit(self, drawings: "list[Drawing]", clock: "Clock") -> tuple[Path, Path, Path]:
        """Select an object of an isrf run and edit it; returns what was written."""
        from nerfseg_plugins.cli.segment_query import open_isrf_run, select_object

        check_one_object(drawings)
        places = self._places()
        with clock("load"):
            run = open_isrf_run(self.load_config)
        strokes = drawn(drawings, views_of(run, self.marks.split))
        edits = self._earlier(run)
        found = select_object(run, strokes, self.marks.split, self.query, self.selecting, self.resolution, clock)
        print(found.summary())
        edits.append(self.edit.edit(self.name, found.voxels, found.colors, run))
        self._write(run, places, strokes, edits, found, clock)
        return places.edit, places.config, places.pictures

    def _check(self) -> None:
        """Refuse what can be refused before anything is loaded."""
        self.edit.check()
        check_method(self.selecting)
        if self.resolution is not None and not 8 <= self.resolution <= 1024:
            raise InputError(
                f"--resolution is {self.resolution}; give 8 to 1024 voxels, or pixels of views, along the longest side"
            )

    def _drawings(self) -> "list[Drawing]":
        """All strokes, as they are drawn.

        Raises:
            InputError: one cannot be read, or neither they nor words say what the object is.
        """
        found = self.marks.drawings()
        if not (self.query.text or any(drawing.positive for drawing in found)):
            raise InputError(
                "nothing says what the object is; pass --positive VIEW:FILE.png, --positive-points VIEW:X,Y, "
                "--strokes strokes.json with a positive stroke, or --text WORDS"
            )
        return found

    def _places(self) -> Places:
        """Where results go.

        Raises:
            InputError: the name is none, or taken.
        """
        from nerfseg_plugins.scene.names import checked_name

        name, run = checked_name(self.name), self.load_config.parent
        places = Places(
            run, run / "edits" / f"{name}.npz", run / f"{name}.yml", self.output_path or run / "edits" / name
        )
        for path in places[1:]:
            if path.exists() and not self.overwrite:
                raise InputError(f"{path} exists already; pass --overwrite to replace it, or choose another --name")
        if places.config.resolve() == self.load_config.resolve():
            raise InputError(
                f"--name {name} would overwrite {self.load_config}, to which it adds; choose another name, or pass "
                f"{run / 'config.yml'}"
            )
        return places

    def _earlier(self, run: "Run") -> "list[Edit]":
        """The edits that this one is added to.

        Raises:
            InputError: they are of another checkpoint, or one has the same name.
        """
        from nerfseg_plugins.isrf.edit_file import load_edits
        from nerfseg_plugins.scene.fingerprint import fingerprint

        model: Any = run.pipeline.model
        found = list(model.edits)
        if self.load_edit is not None:
            if found:
                raise InputError(
                    f"{self.load_config} shows an edit already, so it is unclear what {self.load_edit} adds to; pass "
                    "one of the two"
                )
            found = load_edits(self.load_edit, fingerprint(model))
        if self.name in [edit.name for edit in found]:
            raise InputError(
                f"{self.load_edit or self.load_config} has an object {self.name!r} already; choose another --name"
            )
        return found

    def _write(
        self,
        run: "Run",
        places: Places,
        strokes: "list[Stroke]",
        edits: "list[Edit]",
        found: "Found",
        clock: "Clock",
    ) -> None:
        """Write everything, or nothing at all when something fails or somebody interrupts."""
        from nerfseg_plugins.cli.segment_output import staged_folder, write_masks, write_overview, write_stroke_sheet
        from nerfseg_plugins.isrf.edit_file import save_edits, write_run_with_edit
        from nerfseg_plugins.scene.fingerprint import fingerprint

        splits: list[Split] = {"all": ["train", "val"], "none": []}.get(self.masks, [self.masks])  # type: ignore
        with staged_folder(places.pictures) as folder:
            with clock("pictures"):
                if strokes:
                    write_stroke_sheet(folder / "strokes.png", run, self.marks.split, strokes)
                write_overview(folder / "overview.png", run, self.marks.split, strokes, edits, found.seed)
            with clock("masks"):
                count = write_masks(run, folder / "masks", splits, edits)
            write_json(folder / "segment.json", self._report(found, strokes, edits, count, clock))
            save_edits(places.edit, edits, fingerprint(run.pipeline.model))
            write_run_with_edit(places.run, self.name, places.edit)

    def _report(
        self, found: "Found", strokes: "list[Stroke]", edits: "list[Edit]", masks: int, clock: "Clock"
    ) -> dict[str, Any]:
        """What segment.json says."""
        return {
            "name": self.name,
            "action": self.edit.action,
            "run": str(self.load_config),
            "objects": {str(number): edit.name for number, edit in enumerate(edits, start=1)},
            "voxels": found.counts(),
            "masks": masks,
            "strokes": [
                {"view": own.view, "positive": own.positive, "pixels": len(own.pixels), "origin": own.origin}
                for own in strokes
            ],
            "split": self.marks.split,
            "text": self.query.text,
            "negative_text": self.query.negative_text,
            "settings": {**dataclasses.asdict(self.selecting), "resolution": found.resolution},
            "edit": dataclasses.asdict(self.edit),
            "seconds": {step: round(seconds, 3) for step, seconds in clock.seconds.items()},
        }


def check_one_object(drawings: "list[Drawing]") -> None:
    """Refuse strokes of several objects, which only runs of gsn tell apart at once.

    Raises:
        InputError: names the stroke.
    """
    for drawing in drawings:
        if drawing.object != 1:
            raise InputError(
                f"{drawing.origin} marks object {drawing.object}, but in a run of isrf one object is selected at a "
                "time; put its strokes into a file of their own and add it with --load-config RUN/NAME.yml"
            )


def check_method(config: SelectConfig) -> None:
    """Refuse numbers of another way of selecting, which would do nothing.

    Raises:
        InputError: names the flag.
    """
    usual = SelectConfig()
    for name in ("sigma_d", "sigma_f", "sigma_c"):
        if config.method != "bilateral" and getattr(config, name) != getattr(usual, name):
            raise InputError(f"--{name.replace('_', '-')} belongs to --method bilateral, not {config.method}")
    if config.method != "walker" and config.walker != usual.walker:
        raise InputError(f"--walker.* belongs to --method walker, not {config.method}")


class Clock:
    """Seconds of the steps of a command."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Measure a step; a step that comes twice is summed."""
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start

    def summary(self) -> str:
        """All steps in one line."""
        return ", ".join(f"{step} {seconds:.1f} s" for step, seconds in self.seconds.items())
