"""The viewer's panel of Instance-NeRF: a list of instances, and buttons that pick, isolate, hide and recolour."""

import weakref
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Optional, Protocol

from nerfstudio.viewer.viewer_elements import (
    ViewerButton,
    ViewerClick,
    ViewerControl,
    ViewerDropdown,
    ViewerElement,
    ViewerRGB,
)
from torch import nn
from viser import GuiMarkdownHandle, ViserServer

from nerfseg_plugins.instance_nerf.display import InstanceDisplay, label, legend, pick
from nerfseg_plugins.scene.colors import UNLABELLED_COLOR

NOTHING = "nothing"
"""The dropdown's entry where no instance is picked."""


class Shown(Protocol):
    """What the panel needs of a model."""

    display: InstanceDisplay

    @property
    def head_trained(self) -> bool:
        """Whether the instances have been trained at all."""
        ...


class ViewerMarkdown(ViewerElement[str]):
    """Text in the viewer; nerfstudio has no element for it."""

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


class InstancePanel(nn.Module):
    """Lists the instances of a model and changes its `display`.

    nerfstudio finds the elements as public attributes and orders them by attribute name, which the names here are
    chosen for. It calls every callback under the lock that rendering and training take, and renders again afterwards.
    The panel holds no parameters, and its model only weakly: a module must not contain the one that it is part of.

    Args:
        model: the model, an `InstanceModel`.
        names: id -> name, where known.
    """

    def __init__(self, model: Shown, names: Mapping[int, str]) -> None:
        super().__init__()
        self._model = weakref.ref(model)
        self._names = dict(names)
        self._picked: Optional[int] = None
        self._labels = [label(instance, names) for instance in range(model.display.num_ids)]
        self.all_instances = ViewerMarkdown(legend(model.display, names))
        self.choice = ViewerDropdown(
            "Picked",
            NOTHING,
            [NOTHING, *self._labels],
            cb_hook=self._on_choice,
            hint="The instance that the buttons below act on; type to search",
        )
        self.click = ViewerButton("Pick by a click in the scene", cb_hook=self._on_arm)
        self.color = ViewerRGB(
            "Colour",
            UNLABELLED_COLOR,
            cb_hook=self._on_color,
            hint="Colour of the picked instance in instance_colormap, in this viewer only",
        )
        self.hide = ViewerButton("Hide or show it", cb_hook=self._on_hide)
        self.isolate = ViewerButton("Isolate it", cb_hook=self._on_isolate)
        self.show_all = ViewerButton("Show all", cb_hook=self._on_show_all)
        self.viewer_control = ViewerControl()

    @property
    def picked(self) -> Optional[int]:
        """The picked id."""
        return self._picked

    @property
    def _shown(self) -> Any:
        model = self._model()
        assert model is not None, "the panel outlived its model"
        return model

    def select(self, instance: Optional[int]) -> None:
        """Pick an instance, or none; the elements follow."""
        self._picked = instance
        self._set(self.choice, NOTHING if instance is None else self._labels[instance])
        if instance is not None:
            self._set(self.color, tuple(int(value) for value in self._shown.display.colors[instance]))
        self._refresh()

    def _set(self, element: Any, value: Any) -> None:
        """Set an element's value unless it has it: setting calls its callback."""
        if element.value != value:
            element.value = value

    def _refresh(self) -> None:
        self.all_instances.content = legend(self._shown.display, self._names, self._picked)

    def _change(self, display: InstanceDisplay) -> None:
        self._shown.display = display
        self._refresh()

    # Callbacks -------------------------------------------------------------------------------------------------------

    def _on_choice(self, element: ViewerDropdown) -> None:
        instance = None if element.value == NOTHING else self._labels.index(element.value)
        # Setting the element calls this too, in a thread that may wait long for the lock: by then it is no news, and
        # the colour may be being changed.
        if instance != self._picked:
            self.select(instance)

    def _on_color(self, element: ViewerRGB) -> None:
        display = self._shown.display
        if self._picked is not None and tuple(display.colors[self._picked]) != tuple(element.value):
            self._change(display.recolor(self._picked, element.value))

    def _on_hide(self, element: ViewerButton) -> None:
        display, picked = self._shown.display, self._picked
        if picked is not None:
            self._change(display.hide(picked) if display.shows(picked) else display.show(picked))

    def _on_isolate(self, element: ViewerButton) -> None:
        if self._picked is not None:
            self._change(self._shown.display.isolate(self._picked))

    def _on_show_all(self, element: ViewerButton) -> None:
        self._change(self._shown.display.show_all())

    def _on_arm(self, element: ViewerButton) -> None:
        # The viewer cannot be turned while it listens for clicks, so it listens for one only.
        self.viewer_control.register_pointer_cb("click", self._on_click)
        element.set_disabled(True)

    def _on_click(self, click: ViewerClick) -> None:
        self.viewer_control.unregister_pointer_cb()
        self.click.set_disabled(False)
        # nerfstudio locks for elements only.
        with self.viewer_control.viewer.train_lock or nullcontext():
            self.select(pick(self._shown, click.origin, click.direction))
