"""What panels share in which strokes select things: the thread that works, what is said, and what was saved."""

from collections.abc import Callable
from typing import Any, Generic, Optional, Protocol, TypeVar

from torch import nn

from nerfseg_plugins.scene.elements import ViewerAttachment, ViewerGroup, ViewerMarkdown, plain
from nerfseg_plugins.scene.jobs import Jobs, told
from nerfseg_plugins.scene.stroke_access import StrokeAccess
from nerfseg_plugins.scene.stroke_tool import Ink, StrokeTool
from nerfseg_plugins.scene.workbench import BaseWorkbench


class StrokeControls(Protocol):
    """The elements that every such panel has."""

    status: ViewerMarkdown
    """What was done last."""
    summary: ViewerMarkdown
    """What there is."""
    pen: StrokeTool
    """What strokes are drawn with."""
    name: Any
    """Of what is saved."""
    saved: Any
    """What was saved, to choose from."""
    all: ViewerGroup
    """All elements."""


Controls = TypeVar("Controls", bound=StrokeControls)
Bench = TypeVar("Bench", bound=BaseWorkbench[Any])


class StrokePanel(nn.Module, Generic[Controls, Bench]):
    """A panel in which strokes select things; a technique brings `_ink`, `_describe`, `_show`, and wires its elements.

    What a person has done is one value, `state`. Only the thread of `jobs` changes it, in the order in which buttons
    were pressed, so no callback waits for a long one, and none meets a model that another one changes. The panel holds
    no parameters, and its model only weakly: a module must not contain the one that it is part of.

    Args:
        controls: the elements.
        make_bench: makes the workbench, of the viewer and of what to tell what takes a while.
        no_file: what is offered to be loaded where nothing was saved.
    """

    def __init__(
        self, controls: Controls, make_bench: Callable[[StrokeAccess, Callable[[str], None]], Bench], no_file: str
    ) -> None:
        super().__init__()
        self._controls = controls
        self._no_file = no_file
        self.jobs = Jobs()
        self.elements = controls.all
        self.viewer_control = ViewerAttachment(self._on_viewer)
        self._access = StrokeAccess(self.viewer_control)
        self._bench = make_bench(self._access, lambda doing: self._say(f"{plain(doing.rstrip(' .'))} …"))
        controls.pen.wire(self._access, self._say, self._ink)

    @property
    def state(self) -> Any:
        """What was done."""
        return self._bench.state

    # What a technique brings ------------------------------------------------------------------------------------------

    def _ink(self) -> Ink:
        """What the next stroke is of."""
        raise NotImplementedError

    def _describe(self) -> str:
        """What there is, Markdown."""
        raise NotImplementedError

    def _show(self) -> None:
        """Make model and viewer show what was done."""
        raise NotImplementedError

    # Saying -----------------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        """Show a text of our own making; what comes from elsewhere goes through `plain`."""
        self._controls.status.content = text

    def _later(self, step: Callable[[], str]) -> Callable[[Any], None]:
        """A callback that has something done, and shown, after all that was asked for before."""
        return lambda _: self.jobs.submit(lambda: told(lambda: self._shown_after(step), self._say))

    def _shown_after(self, step: Callable[[], str]) -> str:
        said = step()
        self._controls.summary.content = self._describe()
        self._show()
        return said

    # Files ------------------------------------------------------------------------------------------------------------

    def _on_viewer(self) -> None:
        self._bench.begin()
        self._list_saved()
        self._controls.summary.content = self._describe()

    def _list_saved(self, chosen: Optional[str] = None) -> None:
        element, found = self._controls.saved, list(self._bench.saved())
        element.set_options(found or [self._no_file])
        if chosen in found:
            element.value = chosen

    def _save(self) -> str:
        name = self._controls.name.value
        said = self._bench.save(name)
        self._list_saved(name)
        return said
