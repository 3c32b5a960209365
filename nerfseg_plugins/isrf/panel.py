"""The viewer's panel of isrf: strokes drawn in the scene select a part of it, and something is done to that part."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import RLock
from typing import Any, Optional

from nerfstudio.viewer.viewer_elements import ViewerClick, ViewerRectSelect
from torch import nn

from nerfseg_plugins.isrf import controls
from nerfseg_plugins.isrf.controls import Controls
from nerfseg_plugins.isrf.drawing import Click, brush_rays, rectangle_rays
from nerfseg_plugins.isrf.interaction import Interaction, describe
from nerfseg_plugins.isrf.select_config import SelectConfig
from nerfseg_plugins.isrf.viewer_access import StrokeAccess
from nerfseg_plugins.isrf.workbench import Workbench
from nerfseg_plugins.scene.elements import ViewerAttachment, plain
from nerfseg_plugins.scene.jobs import Jobs, told

LOOKED_THROUGH = ("rgb", "not set")
"""Outputs that give way to the one that shows what is selected."""


@dataclass(frozen=True)
class Pending:
    """A stroke that is being drawn."""

    positive: bool
    joined: bool
    """Whether its clicks are joined by lines."""
    radius: float
    """Of the brush, pixels."""
    clicks: tuple[Click, ...] = ()


class SegmentPanel(nn.Module):
    """Everything that the original implementation's window does, in nerfstudio's viewer.

    What a person has done is one value, `state`. Only the thread of `jobs` changes it, in the order in which buttons
    were pressed, so no callback waits for a long one, and none meets a model that another one changes. The panel holds
    no parameters, and its model only weakly: a module must not contain the one that it is part of.

    Args:
        model: the model, an `IsrfModel`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._pending: Optional[Pending] = None
        self._lock = RLock()  # of what is being drawn; whoever holds it waits for nothing
        self._controls = Controls(model.num_train_data)
        self.jobs = Jobs()
        self.elements = self._controls.all
        self.viewer_control = ViewerAttachment(self._on_viewer)
        self._access = StrokeAccess(self.viewer_control)
        self._bench = Workbench(model, self._access, lambda doing: self._say(f"{doing} …"))
        self._wire()

    @property
    def state(self) -> Interaction:
        """What was done."""
        return self._bench.state

    def _wire(self) -> None:
        """Give the elements their callbacks."""
        own, bench = self._controls, self._bench
        for element, at_once in (
            (own.view, self._on_view),
            (own.resolution, self._on_resolution),
            (own.draw, self._on_draw),
            (own.finish, self._on_finish),
            (own.drop, self._on_drop),
        ):
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

    # Saying ----------------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        """Show a text of our own making; what comes from elsewhere goes through `plain`."""
        self._controls.status.content = text

    def _now(self, work: Callable[[], None]) -> Callable[[Any], None]:
        """A callback that does something at once; where it fails, the camera can be turned again."""

        def callback(_: Any) -> None:
            done = False
            try:
                done = told(lambda: work() or "", self._say)
            finally:
                if not done:
                    self._disarm()

        return callback

    def _later(self, step: Callable[[], str]) -> Callable[[Any], None]:
        """A callback that has something done, and shown, after all that was asked for before."""

        def job() -> None:
            told(lambda: self._shown_after(step), self._say)

        return lambda _: self.jobs.submit(job)

    def _shown_after(self, step: Callable[[], str]) -> str:
        said = step()
        own = self._controls
        own.summary.content = describe(self.state, plain)
        self._bench.show(own.original.value, own.shown.value)
        return said

    # Looking ---------------------------------------------------------------------------------------------------------

    def _on_viewer(self) -> None:
        self._bench.begin()
        self._list_saved()
        self._controls.summary.content = describe(self.state, plain)

    def _list_saved(self, chosen: Optional[str] = None) -> None:
        own = self._controls
        found = list(self._bench.saved())
        own.saved.set_options(found or [controls.NO_FILE])
        if chosen in found:
            own.saved.value = chosen

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

    # Drawing ---------------------------------------------------------------------------------------------------------

    def _on_draw(self) -> None:
        own = self._controls
        positive, tool = own.positive, own.tool.value
        self._disarm()
        with self._lock:
            self._pending = Pending(positive, tool == controls.LINE, float(own.radius.value))
        if tool == controls.RECTANGLE:
            self._access.listen("rect-select", lambda event: self._now(lambda: self._on_rectangle(event))(event))
            self._say("Drag a rectangle in the scene")
        else:
            self._access.listen("click", lambda event: self._now(lambda: self._on_click(event))(event))
            self._say("Click along the thing in the scene, then press **Finish stroke**")
        own.finish.set_disabled(tool == controls.RECTANGLE)
        own.drop.set_disabled(False)
        own.draw.set_disabled(True)

    def _disarm(self) -> Optional[Pending]:
        """Let the camera be turned again; returns the stroke that was being drawn."""
        with self._lock:
            found, self._pending = self._pending, None
        try:
            self._access.stop_listening()
        finally:
            own = self._controls
            own.finish.set_disabled(True)
            own.drop.set_disabled(True)
            own.draw.set_disabled(False)
            self._access.mark_clicks([], True, 0)
        return found

    def _on_click(self, event: ViewerClick) -> None:
        with self._lock:
            if self._pending is None:  # it came late
                return
            click = Click(tuple(event.origin), tuple(event.direction))
            self._pending = replace(self._pending, clicks=(*self._pending.clicks, click))
            self._access.mark_clicks(list(self._pending.clicks), self._pending.positive, self._pending.radius)
            self._say(f"{len(self._pending.clicks)} clicks; **Finish stroke** when it is done")

    def _on_rectangle(self, event: ViewerRectSelect) -> None:
        pending = self._disarm()
        if pending is not None:
            rays = rectangle_rays(self._access.camera(), event.min_bounds, event.max_bounds)
            self._later(lambda: self._bench.stroke(pending.positive, rays))(event)

    def _on_finish(self) -> None:
        pending, pixel = self._disarm(), self._access.pixel
        if pending is not None:
            rays = brush_rays(pending.clicks, pixel, pending.radius, pending.joined)
            self._later(lambda: self._bench.stroke(pending.positive, rays))(None)

    def _on_drop(self) -> None:
        self._disarm()
        self._say("Dropped the stroke")

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

    def _save(self) -> str:
        name = self._controls.name.value
        said = self._bench.save(name)
        self._list_saved(name)
        return said
