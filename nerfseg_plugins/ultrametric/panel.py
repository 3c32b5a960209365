"""The viewer's panel of the hierarchy: a slider over granularities, and clicks that pick segments and their parents."""

from collections.abc import Callable
from typing import Any, Optional

import torch
from nerfstudio.viewer.viewer_elements import ViewerClick
from torch import nn

from nerfseg_plugins.scene.elements import ViewerAttachment, plain
from nerfseg_plugins.scene.jobs import Jobs, told
from nerfseg_plugins.scene.viewer_access import ViewerAccess
from nerfseg_plugins.ultrametric.controls import Controls
from nerfseg_plugins.ultrametric.picking import describe
from nerfseg_plugins.ultrametric.workbench import Workbench

LOOKED_THROUGH = ("rgb", "feature_colormap", "not set")
"""Outputs that give way to the one that shows segments."""


class HierarchyPanel(nn.Module):
    """The hierarchy of a run in nerfstudio's viewer.

    Only the thread of `jobs` changes what is shown, in the order in which buttons were pressed; a slider that moves on
    makes what it asked for before unnecessary. The panel holds no parameters, and its model only weakly: a module must
    not contain the one that it is part of.

    Args:
        model: the model, an `UltrametricModel`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        # Without a GPU a picture takes many seconds.
        self._controls = Controls(model.granularity, model.min_size, points=not torch.cuda.is_available())
        self._to_reveal = False
        self.jobs = Jobs()
        self.elements = self._controls.all
        self.viewer_control = ViewerAttachment(self._on_viewer)
        self._access = ViewerAccess(self.viewer_control)
        self._bench = Workbench(model, self._access, self._tell)
        self._wire()

    def _wire(self) -> None:
        """Give the elements their callbacks."""
        own, bench = self._controls, self._bench
        own.pick.cb_hook = lambda _: self._arm()
        own.done.cb_hook = lambda _: self._disarm()
        for element, step, kind in (
            (own.build, self._build, None),
            (own.granularity, lambda: bench.set_granularity(own.granularity.value), "granularity"),
            (own.segments, self._set_segments, "segments"),
            (own.min_size, lambda: bench.set_min_size(int(own.min_size.value)), "size"),
            (own.points, lambda: "", "points"),
            (own.parent, bench.parent, None),
            (own.child, bench.child, None),
            (own.forget, bench.forget, None),
            (own.save, lambda: bench.save(own.name.value), None),
        ):
            element.cb_hook = self._later(step, kind)

    def _say(self, text: str) -> None:
        """Show a text of our own making; what comes from elsewhere goes through `plain`."""
        self._controls.status.content = text

    def _tell(self, doing: str) -> None:
        """Show what is being done; the command line prints the same sentences."""
        doing = doing.rstrip(" .")
        self._say(f"{plain(doing[:1].upper() + doing[1:])} …")

    def _later(self, step: Callable[[], str], kind: Optional[str] = None) -> Callable[[Any], None]:
        """A callback that has something done, and shown, after all that was asked for before."""
        return lambda _: self.jobs.submit(lambda: told(lambda: self._shown_after(step), self._say), kind)

    def _shown_after(self, step: Callable[[], str]) -> str:
        said = step()
        own, model = self._controls, self._bench.model
        if model.hierarchy is not None:
            own.picked.content = plain(describe(model.hierarchy, self._bench.pick, model.min_size))
        self._bench.show(bool(own.points.value))
        # The viewer offers an output once it has rendered it.
        if self._to_reveal and self._access.show_output("segment_colormap", LOOKED_THROUGH):
            self._to_reveal = False
        return said

    # Steps -----------------------------------------------------------------------------------------------------------

    def _on_viewer(self) -> None:
        if self._bench.model.hierarchy is not None:
            self._later(self._bench.summary)(None)
        elif self._bench.kept and self._bench.model.head_trained and not self._access.trains:
            self._say("The run has a hierarchy: **Build hierarchy** reads it.")

    def _build(self) -> str:
        said = self._bench.build()
        self._to_reveal = True
        return said

    def _set_segments(self) -> str:
        own = self._controls
        found = self._bench.granularity_for(int(own.segments.value))
        said = self._bench.set_granularity(found)
        if own.granularity.value != found:
            own.granularity.value = found  # which asks for it once more
        return said

    # Clicks ----------------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        self._access.listen("click", self._on_click)
        self._controls.pick.set_disabled(True)
        self._controls.done.set_disabled(False)

    def _disarm(self) -> None:
        try:
            self._access.stop_listening()
        finally:
            self._controls.pick.set_disabled(False)
            self._controls.done.set_disabled(True)

    def _on_click(self, event: ViewerClick) -> None:
        self._say("Looking up what was clicked on …")
        self._later(lambda: self._bench.click(tuple(event.origin), tuple(event.direction)))(event)
