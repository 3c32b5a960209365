"""The viewer's panel of gsn: strokes drawn in any scene select objects in it."""

from collections.abc import Callable
from typing import Any, Optional

from torch import nn

from nerfseg_plugins.gsn import controls
from nerfseg_plugins.gsn.controls import Controls
from nerfseg_plugins.gsn.workbench import Interaction, Workbench, color_of
from nerfseg_plugins.scene.elements import ViewerAttachment, plain
from nerfseg_plugins.scene.jobs import Jobs, told
from nerfseg_plugins.scene.stroke_access import StrokeAccess
from nerfseg_plugins.scene.stroke_tool import Ink

LOOKED_THROUGH = ("rgb", "feature_colormap", "not set")
"""Outputs that give way to the one that shows what is selected."""


class SegmentPanel(nn.Module):
    """Strokes on rendered features in nerfstudio's viewer.

    Only the thread of `jobs` changes what was done, in the order in which buttons were pressed. The panel holds no
    parameters, and its model only weakly: a module must not contain the one that it is part of.

    Args:
        model: the model, a `GsnModel`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._controls = Controls()
        self.jobs = Jobs()
        self.elements = self._controls.all
        self.viewer_control = ViewerAttachment(self._on_viewer)
        self._access = StrokeAccess(self.viewer_control)
        self._bench = Workbench(model, self._access, lambda doing: self._say(f"{plain(doing.rstrip(' .'))} …"))
        self._wire()

    @property
    def state(self) -> Interaction:
        """What was done."""
        return self._bench.state

    def _wire(self) -> None:
        """Give the elements their callbacks."""
        own, bench = self._controls, self._bench
        own.pen.wire(self._access, self._say, self._ink)
        for element, step in (
            (own.clear_strokes, bench.clear_strokes),
            (own.segment, self._select),
            (own.undo, bench.undo),
            (own.clear, bench.clear),
            (own.from_words, lambda: bench.words(own.label, own.words.value, own.clip.value, own.survey_config())),
            (own.save, self._save),
            (own.load, self._load),
        ):
            element.cb_hook = self._later(step)

    def _say(self, text: str) -> None:
        """Show a text of our own making; what comes from elsewhere goes through `plain`."""
        self._controls.status.content = text

    def _later(self, step: Callable[[], str]) -> Callable[[Any], None]:
        """A callback that has something done, and shown, after all that was asked for before."""
        return lambda _: self.jobs.submit(lambda: told(lambda: self._shown_after(step), self._say))

    def _shown_after(self, step: Callable[[], str]) -> str:
        said = step()
        self._controls.summary.content = self.state.describe()
        self._bench.show()
        return said

    def _ink(self) -> Ink:
        """What the next stroke is of."""
        label = self._controls.label
        return Ink(color_of(label), lambda rays: self._later(lambda: self._bench.stroke(label, rays))(None))

    # Steps -----------------------------------------------------------------------------------------------------------

    def _on_viewer(self) -> None:
        self._bench.begin()
        self._list_saved()
        self._controls.summary.content = self.state.describe()

    def _list_saved(self, chosen: Optional[str] = None) -> None:
        own = self._controls
        found = list(self._bench.saved())
        own.saved.set_options(found or [controls.NO_FILE])
        if chosen in found:
            own.saved.value = chosen

    def _select(self) -> str:
        own = self._controls
        said = self._bench.select(own.select_config(), own.survey_config())
        self._access.show_output("segment_colormap", LOOKED_THROUGH)
        return said

    def _load(self) -> str:
        said = self._bench.load(self._controls.saved.value)
        self._access.show_output("segment_colormap", LOOKED_THROUGH)
        return said

    def _save(self) -> str:
        name = self._controls.name.value
        said = self._bench.save(name)
        self._list_saved(name)
        return said
