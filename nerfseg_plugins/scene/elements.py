"""Viewer elements that nerfstudio lacks: text, and elements that leave the picture alone.

nerfstudio runs the callback of every element under the lock of training and rendering, and renders again after it.
Where a callback only changes other elements, both are in the way: on a CPU the lock may be held for many seconds.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Literal, Optional

from nerfstudio.viewer.viewer import Viewer
from nerfstudio.viewer.viewer_elements import (
    ViewerButton,
    ViewerControl,
    ViewerDropdown,
    ViewerElement,
    ViewerRGB,
    ViewerSlider,
)
from viser import GuiFolderHandle, GuiMarkdownHandle, ViserServer


def plain(text: str) -> str:
    """A sentence that Markdown, and the programs that the viewer's Markdown may hold, leave alone."""
    return re.sub(r"([\\`*_{}\[\]<>#|!$])", r"\\\1", text)


class ViewerMarkdown(ViewerElement[str]):
    """Text in the viewer.

    Args:
        content: Markdown, which the viewer compiles as MDX: braces and tags in it are programs, so nothing that comes
            from data may hold them.
    """

    def __init__(self, content: str) -> None:
        super().__init__("")
        self._content = content
        self._handle: Optional[GuiMarkdownHandle] = None

    @property
    def content(self) -> str:
        """The text, Markdown."""
        return self._content

    @content.setter
    def content(self, content: str) -> None:
        self._content = content
        if self._handle is not None:
            self._handle.content = content

    def install(self, viser_server: ViserServer) -> None:
        """Add the text to the viewer."""
        self._handle = viser_server.gui.add_markdown(self._content)

    def remove(self) -> None:
        """Take the text out of the viewer."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None


class QuietButton(ViewerButton):
    """A button whose callback takes no lock and renders nothing.

    Args:
        name: what is written on it.
        quiet_hook: called with the button.
    """

    def __init__(self, name: str, quiet_hook: Callable[["QuietButton"], None]) -> None:
        super().__init__(name, cb_hook=lambda _: None)
        self._quiet_hook = quiet_hook

    def install(self, viser_server: ViserServer) -> None:
        """Add the button to the viewer."""
        self._create_gui_handle(viser_server)
        self.gui_handle.on_click(lambda _: self._quiet_hook(self))


class HintedButton(ViewerButton):
    """A button that says what it does when the mouse rests on it.

    Args:
        name: what is written on it.
        hint: what it says.
        disabled: whether it cannot be pressed at first.
        main: whether it is one of the few that matter most; the others are grey.
    """

    def __init__(self, name: str, hint: str, disabled: bool = False, main: bool = False) -> None:
        super().__init__(name, cb_hook=lambda _: None, disabled=disabled)
        self.hint = hint
        self._color: Optional[Literal["gray"]] = None if main else "gray"

    def _create_gui_handle(self, viser_server: ViserServer) -> None:
        self.gui_handle = viser_server.gui.add_button(
            self.name, disabled=self.disabled, hint=self.hint, color=self._color
        )


class _QuietUpdate:
    """An element whose callback takes no lock and renders nothing."""

    def __init__(self, *args: Any, quiet_hook: Callable[[Any], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._quiet_hook = quiet_hook

    def install(self, viser_server: ViserServer) -> None:
        """Add the element to the viewer."""
        element: Any = self
        element._create_gui_handle(viser_server)
        element.gui_handle.on_update(lambda _: self._quiet_hook(self))


class QuietDropdown(_QuietUpdate, ViewerDropdown[str]):
    """A dropdown; arguments as of `ViewerDropdown`, and `quiet_hook`, called with it at every change."""


class QuietSlider(_QuietUpdate, ViewerSlider[int]):
    """A slider; arguments as of `ViewerSlider`, and `quiet_hook`, called with it at every change."""


class QuietRGB(ViewerRGB):
    """A colour picker that calls `cb_hook`, with its lock and its rendering, only where there is reason to.

    Arguments as of `ViewerRGB`.

    Args:
        is_news: called with the picker at every change; whether `cb_hook` is to be called.
    """

    def __init__(self, *args: Any, is_news: Callable[["QuietRGB"], bool], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_news = is_news

    def install(self, viser_server: ViserServer) -> None:
        """Add the picker to the viewer."""
        self._create_gui_handle(viser_server)

        def changed(_: Any) -> None:
            if self._is_news(self):
                self.cb_hook(self)

        self.gui_handle.on_update(changed)


class ViewerGroup(ViewerElement[None]):
    """A folder of elements in an order and under a title of their own.

    nerfstudio orders elements by attribute names and titles folders after them, but it looks no further than here. Nor
    does it see the callbacks in here, so they take no lock and render nothing.

    Args:
        name: title of the folder; where it is empty, there is no folder of its own.
        elements: what is in it, in order; further groups too.
        is_open: whether it is unfolded at first.
    """

    def __init__(self, name: str, elements: Sequence[ViewerElement[Any]], is_open: bool = True) -> None:
        super().__init__(name)
        self.elements = tuple(elements)
        self._is_open = is_open
        self._folder: Optional[GuiFolderHandle] = None

    def install(self, viser_server: ViserServer) -> None:
        """Add the folder and what is in it to the viewer."""
        if self.name:
            self._folder = viser_server.gui.add_folder(self.name, expand_by_default=self._is_open)
        with self._folder or nullcontext():
            for element in self.elements:
                element.install(viser_server)

    def remove(self) -> None:
        """Take the folder and what is in it out of the viewer."""
        for element in self.elements:
            element.remove()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None


class ViewerAttachment(ViewerControl):
    """Access to the viewer that tells when there is one.

    Args:
        hook: called once the viewer has all elements.
    """

    def __init__(self, hook: Callable[[], None]) -> None:
        super().__init__()
        self._hook = hook

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        self._hook()
