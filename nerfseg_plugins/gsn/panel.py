"""The viewer's panel of gsn: strokes drawn in any scene select objects in it."""

from functools import partial
from typing import Any

from nerfseg_plugins.gsn import controls
from nerfseg_plugins.gsn.controls import Controls
from nerfseg_plugins.gsn.workbench import Workbench, color_of
from nerfseg_plugins.scene.stroke_panel import StrokePanel
from nerfseg_plugins.scene.stroke_tool import Ink

LOOKED_THROUGH = ("rgb", "feature_colormap", "not set")
"""Outputs that give way to the one that shows what is selected."""


class SegmentPanel(StrokePanel[Controls, Workbench]):
    """Strokes on rendered features in nerfstudio's viewer.

    Args:
        model: the model, a `GsnModel`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(Controls(), partial(Workbench, model), controls.NO_FILE)
        self._wire()

    def _wire(self) -> None:
        """Give the elements their callbacks."""
        own, bench = self._controls, self._bench
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

    def _ink(self) -> Ink:
        """What the next stroke is of."""
        label = self._controls.label
        return Ink(color_of(label), lambda rays: self._later(lambda: self._bench.stroke(label, rays))(None))

    def _describe(self) -> str:
        return self.state.describe()

    def _show(self) -> None:
        self._bench.show()

    def _select(self) -> str:
        own = self._controls
        return self._marked(self._bench.select(own.select_config(), own.survey_config()))

    def _load(self) -> str:
        return self._marked(self._bench.load(self._controls.saved.value))

    def _marked(self, said: str) -> str:
        """After a selection: show it."""
        self._access.show_output("segment_colormap", LOOKED_THROUGH)
        return said
