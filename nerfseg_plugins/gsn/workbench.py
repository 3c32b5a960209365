"""What the buttons of the panel do: strokes to labels to files; each call says what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.query import Query
from nerfseg_plugins.gsn.saved import FOLDER, write_run_with_segments
from nerfseg_plugins.gsn.segmenting import Marks, segment
from nerfseg_plugins.gsn.surfels import Surfels
from nerfseg_plugins.gsn.survey import SurveyConfig, kept_surfels, lift, look_around, made_for
from nerfseg_plugins.scene.colors import palette
from nerfseg_plugins.scene.drawing import Rays
from nerfseg_plugins.scene.history import History
from nerfseg_plugins.scene.stroke_access import NEGATIVE, Color, StrokeAccess
from nerfseg_plugins.scene.workbench import BaseWorkbench
from nerfseg_plugins.segments.select_config import SelectConfig

BEFORE = 0.04
"""How far before the surface strokes are shown, as a share of its distance."""


@dataclass(frozen=True)
class DrawnStroke:
    """One stroke."""

    label: int
    """The object that it marks, 0 for none."""
    marks: Marks
    """What it lies on."""
    origin: Optional[Tensor] = None
    """(3,) where it was drawn from, scene frame; None where that is not known."""

    def points(self) -> Tensor:
        """(P, 3) where to show it, scene frame: a little before the surface, which would hide half of it."""
        if self.origin is None:
            return self.marks.points
        return torch.lerp(self.marks.points, self.origin.to(self.marks.points), BEFORE)


@dataclass(frozen=True, eq=False)
class Interaction:
    """What a person has done so far."""

    strokes: tuple[DrawnStroke, ...] = ()
    """In the order in which they were drawn."""
    query: Optional[Query] = None
    """What is selected."""

    def with_stroke(self, stroke: DrawnStroke) -> "Interaction":
        """One more stroke."""
        return replace(self, strokes=(*self.strokes, stroke))

    def describe(self) -> str:
        """What there is, in a few words."""
        labels = sorted({stroke.label for stroke in self.strokes if stroke.label})
        negative = sum(not stroke.label for stroke in self.strokes)
        text = f"Strokes: {len(self.strokes) - negative} on {len(labels)} objects, {negative} on none"
        return text if self.query is None else f"{text}  \nSelected: {len(self.query.names)} objects"


class Workbench(BaseWorkbench[Interaction]):
    """What a person has done to a model, and all that can be done next.

    Args:
        model: a `GsnModel`.
        access: the viewer that shows it.
        doing: told what takes a while before it begins.
    """

    def __init__(self, model: Any, access: StrokeAccess, doing: Callable[[str], None]) -> None:
        super().__init__(model, access, doing, Interaction(), FOLDER)
        self._kept: Optional[tuple[SurveyConfig, str, Surfels]] = None
        self._marked: set[int] = set()

    def begin(self) -> None:
        """Begin with what the run shows already."""
        self._history = History(Interaction(query=self.model.query))

    def clear(self) -> str:
        """Forget everything."""
        return self.become(Interaction(), "Cleared all")

    def clear_strokes(self) -> str:
        """Forget the strokes."""
        return self.become(replace(self.state, strokes=()), "Cleared the strokes")

    def stroke(self, label: int, rays: Rays) -> str:
        """Look up what a stroke lies on.

        Raises:
            InputError: it lies on empty space.
        """
        self._doing("Looking up what the stroke lies on")
        with self._access.alone(self.model):
            marks = lift(self.model, rays.origins, rays.directions, label)
        self.become(self.state.with_stroke(DrawnStroke(label, marks, rays.origins[0])), "")
        missed = len(rays) - len(marks)
        kind = f"Stroke on object {label}" if label else "Negative stroke"
        return f"{kind}: {len(marks)} points" + (f"; {missed} rays met nothing" if missed else "")

    def words(self, label: int, words: str, checkpoint: str, survey: SurveyConfig) -> str:
        """Mark what words fit best, as a stroke would.

        Args:
            label: the object that the words describe, or 0.
            words: such as "a red chair".
            checkpoint: file of CLIP's weights; empty for the published ones.
            survey: where to look.

        Raises:
            InputError: there are no words, the features know no words, CLIP cannot be had, or nothing fits.
        """
        from nerfseg_plugins.gsn.words import marks_of_words, text_of

        if not words.strip():
            raise InputError("there are no words; write what the object is, such as: a red chair")
        self._doing("Asking CLIP what the words mean")
        path = Path(checkpoint) if checkpoint.strip() else None
        text = text_of(self._access.datamanager, [words], path, str(self.model.device))
        marks = marks_of_words(self.surfels(survey), text, 0, label)
        return self.become(self.state.with_stroke(DrawnStroke(label, marks)), f"{words}: {len(marks)} points")

    def surfels(self, config: SurveyConfig) -> Surfels:
        """What the views of the scene see, with the present weights.

        Raises:
            InputError: no scene is open, or nothing is seen.
        """
        access, model = self._access, self.model

        def alone() -> Any:
            return access.alone(model)

        if access.trains:  # other weights in a moment: not worth keeping
            self._doing("Rendering some views of the scene")
            return look_around(model, config, alone)
        now = made_for(model)
        if self._kept is None or self._kept[:2] != (config, now):
            self._kept = config, now, kept_surfels(model, config, access.folder, self._doing, alone)
        return self._kept[2]

    def select(self, config: SelectConfig, survey: SurveyConfig) -> str:
        """Select what the strokes lie on.

        Args:
            config: how.
            survey: in which views.

        Raises:
            InputError: nothing is marked, or an object would be nothing or everything.
        """
        state = self.state
        if not any(stroke.label for stroke in state.strokes):
            raise InputError("nothing says what the object is; draw a stroke on it first")
        surfels = self.surfels(survey)
        self._doing("Selecting what the strokes lie on")
        marks = Marks.cat([stroke.marks for stroke in state.strokes])
        found = segment(surfels, marks, config)
        names = [f"object {label}" for label in range(1, marks.count + 1)]
        self.become(replace(state, query=Query.of(surfels, found, names, config)), "")
        share = float((found.labels > 0).float().mean())
        return f"Selected {len(marks.labels[marks.labels > 0].unique())} objects, {share:.0%} of what the views see"

    # Files -----------------------------------------------------------------------------------------------------------

    def save(self, name: str) -> str:
        """Write what is selected for other commands, as `nerfseg segment` does.

        Raises:
            InputError: nothing is selected, the run still trains, or a file cannot be written.
        """
        path, query = self._file_to_save(name), self.state.query
        if query is None:
            raise InputError("nothing is selected yet; draw a stroke and press Segment first")
        query.save(path, made_for(self.model))
        config = write_run_with_segments(self._access.folder, self._access.viewer.pipeline.config, name, path)
        return f"Saved; show it again with --load-config {config}"

    def load(self, name: str) -> str:
        """Show what was saved instead of what was done here.

        Raises:
            InputError: it is gone, damaged, or was made for other weights or another scene.
        """
        query = Query.load(self._file_to_load(name), made_for(self.model))
        return self.become(replace(self.state, query=query), f"Loaded {', '.join(query.names)}")

    # Showing ---------------------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Make model and viewer show what was done."""
        state, model = self.state, self.model
        with self._access.alone(model):
            model.query = state.query
        labels = {stroke.label for stroke in state.strokes}
        for label in sorted(labels | self._marked):
            points = [stroke.points() for stroke in state.strokes if stroke.label == label]
            name = f"object {label}" if label else "negative"
            self._access.mark(name, torch.cat(points) if points else torch.empty(0, 3), color_of(label))
        self._marked = labels
        self._access.render()


def color_of(label: int) -> Color:
    """What strokes of a label are drawn in: the colour in which its object is shown."""
    if not label:
        return NEGATIVE
    red, green, blue = palette(label + 1)[label].tolist()
    return red, green, blue
