"""The brush of a panel: the elements that draw strokes in the scene, and what listening to the mouse takes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import RLock
from typing import Any, NamedTuple, Optional

from nerfstudio.viewer.viewer_elements import ViewerClick, ViewerDropdown, ViewerElement, ViewerRectSelect, ViewerSlider

from nerfseg_plugins.scene.drawing import Click, Rays, Stamp, brush_rays, rectangle_rays
from nerfseg_plugins.scene.elements import HintedButton
from nerfseg_plugins.scene.jobs import told
from nerfseg_plugins.scene.stroke_access import Color, StrokeAccess

LINE, CLICKS, RECTANGLE = "line from click to click", "single clicks", "rectangle"


class Ink(NamedTuple):
    """What a stroke is of."""

    color: Color
    """Of its marks."""
    take: Callable[[Rays], object]
    """Called with its rays when it is finished."""


@dataclass(frozen=True)
class Pending:
    """A stroke that is being drawn."""

    ink: Ink
    stamp: Stamp
    """Draws the brush along its clicks, or on each."""
    radius: float
    """Of the brush, pixels."""
    clicks: tuple[Click, ...] = ()


class StrokeTool:
    """Elements to draw strokes with; `elements` has them in order.

    While a stroke is being drawn the camera cannot be turned; whatever fails meanwhile sets it free.

    Args:
        radius: of the brush at first, pixels.
        stamp_line: draws the brush from click to click.
        stamp_points: draws it on single clicks.
    """

    def __init__(self, radius: float, stamp_line: Stamp, stamp_points: Stamp) -> None:
        self._stamps = {LINE: stamp_line, CLICKS: stamp_points, RECTANGLE: stamp_points}
        self._pending: Optional[Pending] = None
        self._lock = RLock()  # of what is being drawn; whoever holds it waits for nothing
        self.tool: Any = ViewerDropdown(
            "Tool", LINE, [LINE, CLICKS, RECTANGLE], hint="How the next stroke is drawn with the mouse"
        )
        self.radius = ViewerSlider(
            "Brush radius", radius, 0.0, 30.0, 0.5, hint="In pixels of a training view; the smallest is one pixel"
        )
        self.draw = HintedButton(
            "Draw",
            "Listens to the mouse in the scene; the camera cannot be turned until the stroke is finished",
            main=True,
        )
        self.finish = HintedButton("Finish stroke", "Looks up what the stroke lies on", disabled=True, main=True)
        self.drop = HintedButton("Drop stroke", "Forgets the stroke that is being drawn", disabled=True)
        self.elements: list[ViewerElement[Any]] = [self.tool, self.radius, self.draw, self.finish, self.drop]

    def wire(self, access: StrokeAccess, say: Callable[[str], None], dip: Callable[[], Ink]) -> None:
        """Begin to work.

        Args:
            access: the viewer.
            say: shows Markdown.
            dip: says what the next stroke is of, when it is begun.
        """
        self._access, self._say, self._dip = access, say, dip
        for button, work in ((self.draw, self._on_draw), (self.finish, self._on_finish), (self.drop, self._on_drop)):
            button.cb_hook = self._guarded(work)

    def disarm(self) -> Optional[Pending]:
        """Let the camera be turned again; returns the stroke that was being drawn."""
        with self._lock:
            found, self._pending = self._pending, None
        try:
            self._access.stop_listening()
        finally:
            self.finish.set_disabled(True)
            self.drop.set_disabled(True)
            self.draw.set_disabled(False)
            self._access.mark_clicks([], (0, 0, 0), 0)
        return found

    def _guarded(self, work: Callable[[], None]) -> Callable[[Any], None]:
        """A callback that does something at once; where it fails, the camera can be turned again."""

        def callback(_: Any) -> None:
            done = False
            try:
                done = told(lambda: work() or "", self._say)
            finally:
                if not done:
                    self.disarm()

        return callback

    def _on_draw(self) -> None:
        ink, tool = self._dip(), self.tool.value
        self.disarm()
        with self._lock:
            self._pending = Pending(ink, self._stamps[tool], float(self.radius.value))
        if tool == RECTANGLE:
            self._access.listen("rect-select", lambda event: self._guarded(lambda: self._on_rectangle(event))(event))
            self._say("Drag a rectangle in the scene")
        else:
            self._access.listen("click", lambda event: self._guarded(lambda: self._on_click(event))(event))
            self._say("Click along the thing in the scene, then press **Finish stroke**")
        self.finish.set_disabled(tool == RECTANGLE)
        self.drop.set_disabled(False)
        self.draw.set_disabled(True)

    def _on_click(self, event: ViewerClick) -> None:
        with self._lock:
            if self._pending is None:  # it came late
                return
            click = Click(tuple(event.origin), tuple(event.direction))
            self._pending = replace(self._pending, clicks=(*self._pending.clicks, click))
            self._access.mark_clicks(list(self._pending.clicks), self._pending.ink.color, self._pending.radius)
            self._say(f"{len(self._pending.clicks)} clicks; **Finish stroke** when it is done")

    def _on_rectangle(self, event: ViewerRectSelect) -> None:
        pending = self.disarm()
        if pending is not None:
            pending.ink.take(rectangle_rays(self._access.camera(), event.min_bounds, event.max_bounds))

    def _on_finish(self) -> None:
        pending, pixel = self.disarm(), self._access.pixel
        if pending is not None:
            pending.ink.take(brush_rays(pending.clicks, pixel, pending.radius, pending.stamp))

    def _on_drop(self) -> None:
        self.disarm()
        self._say("Dropped the stroke")
