"""The viewer's panel of isrf: strokes drawn in the scene select a part of it, and something is done to that part."""

from collections.abc import Callable
from functools import partial
from typing import Any

from nerfseg_plugins.isrf import controls
from nerfseg_plugins.isrf.controls import Controls
from nerfseg_plugins.isrf.interaction import describe
from nerfseg_plugins.isrf.workbench import Workbench
from nerfseg_plugins.scene.elements import plain
from nerfseg_plugins.scene.jobs import told
from nerfseg_plugins.scene.stroke_access import NEGATIVE, POSITIVE
from nerfseg_plugins.scene.stroke_panel import StrokePanel
from nerfseg_plugins.scene.stroke_tool import Ink
from nerfseg_plugins.segments.select_config import SelectConfig

LOOKED_THROUGH = ("rgb", "not set")
"""Outputs that give way to the one that shows what is selected."""


class SegmentPanel(StrokePanel[Controls, Workbench]):
    """Everything that the original implementation's window does, in nerfstudio's viewer.

    Args:
        model: the model, an `IsrfModel`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(Controls(model.num_train_data), partial(Workbench, model), controls.NO_FILE)
        self._wire()

    def _wire(self) -> None:
        """Give the elements their callbacks."""
        own, bench = self._controls, self._bench
        for element, at_once in ((own.view, self._on_view), (own.resolution, self._on_resolution)):
            element.cb_hook = self._now(at_once)
        for element, step in (
            (own.original, lambda: ""),
            (own.shown, lambda: ""),
            (own.clear_strokes, lambda: bench.become(bench.state.without_strokes(), "Cleared the strokes")),
            (own.segment, lambda: self._select(own.select_config())),
            (own.seed, lambda: self._select(own.select_config("seed"))),
            (own.from_words, lambda: bench.words(own.positive, own.words.value, own.clip.value, own.cache_config())),
            (own.grow_step, lambda: self._marked(bench.grow(own.kernel(), own.alpha.value, 1))),
            (own.grow, lambda: self._marked(bench.grow(own.kernel(), own.alpha.value, None))),
            (own.undo, bench.undo),
            (own.clear, lambda: bench.become(bench.state.cleared(), "Cleared all")),
            (own.replace_positive, lambda: self._buffer(positive=True, add=False)),
            (own.add_positive, lambda: self._buffer(positive=True, add=True)),
            (own.replace_negative, lambda: self._buffer(positive=False, add=False)),
            (own.add_negative, lambda: self._buffer(positive=False, add=True)),
            (own.merge, lambda: self._marked(bench.become(bench.state.combined(), "Merged the buffers"))),
            (own.apply, self._edit),
            (own.save, self._save),
            (own.load, lambda: bench.load(own.saved.value)),
        ):
            element.cb_hook = self._later(step)

    # Looking ---------------------------------------------------------------------------------------------------------

    def _describe(self) -> str:
        return describe(self.state, plain)

    def _show(self) -> None:
        self._bench.show(self._controls.original.value, self._controls.shown.value)

    def _now(self, work: Callable[[], None]) -> Callable[[Any], object]:
        """A callback that does something at once."""
        return lambda _: told(lambda: work() or "", self._say)

    def _on_view(self) -> None:
        index = min(int(self._controls.view.value), len(self._access.cameras) - 1)
        self._say(f"View {index}: {plain(self._access.look_from(index))}")

    def _on_resolution(self) -> None:
        divisor = self._controls.divisor()
        if divisor is not None:
            self._access.set_divisor(divisor)

    def _marked(self, said: str) -> str:
        """After a selection: show it."""
        if self._controls.shown.value != "region":
            self._controls.shown.value = "region"
        self._access.show_output("selection_colormap", LOOKED_THROUGH)
        return said

    def _select(self, config: SelectConfig) -> str:
        own = self._controls
        return self._marked(self._bench.select(config, own.cache_config(), float(own.alpha.value)))

    def _ink(self) -> Ink:
        """What the next stroke is of."""
        positive = self._controls.positive
        return Ink(
            POSITIVE if positive else NEGATIVE,
            lambda rays: self._later(lambda: self._bench.stroke(positive, rays))(None),
        )

    # Results ---------------------------------------------------------------------------------------------------------

    def _buffer(self, positive: bool, add: bool) -> str:
        bench = self._bench
        name = "positive" if positive else "negative"
        return bench.become(bench.state.buffered(positive, add), f"Put the region into the {name} buffer")

    def _edit(self) -> str:
        own = self._controls
        said = self._bench.apply(
            own.name.value,
            controls.ACTIONS[own.action.value],
            own.color.value,
            float(own.strength.value),
            own.translation.value,
            own.rotation.value,
        )
        if own.action.value != controls.ONLY_LABEL:
            self._access.show_output("rgb", ("selection_colormap",))
        return said
