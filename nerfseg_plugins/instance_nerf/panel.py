"""The viewer's panel of Instance-NeRF: a list of instances, and buttons that pick, isolate, hide and recolour."""

import weakref
from collections.abc import Mapping
from contextlib import nullcontext
from threading import RLock
from typing import Any, Optional, Protocol

from nerfstudio.viewer.viewer_elements import ViewerButton, ViewerClick, ViewerControl
from torch import nn

from nerfseg_plugins.instance_nerf.display import InstanceDisplay, label, legend, pick
from nerfseg_plugins.scene.colors import UNLABELLED_COLOR
from nerfseg_plugins.scene.elements import QuietButton, QuietDropdown, QuietRGB, ViewerMarkdown

NOTHING = "nothing"
"""The dropdown's entry where no instance is picked."""


class Shown(Protocol):
    """What the panel needs of a model."""

    display: InstanceDisplay

    @property
    def head_trained(self) -> bool:
        """Whether the instances have been trained at all."""
        ...


class InstancePanel(nn.Module):
    """Lists the instances of a model and changes its `display`.

    nerfstudio finds the elements as public attributes and orders them by attribute name, which the names here are
    chosen for. What changes the picture goes through its callbacks, under the lock of training and rendering. The panel
    holds no parameters, and its model only weakly: a module must not contain the one that it is part of.

    Args:
        model: the model, an `InstanceModel`.
        names: id -> name, where known.
    """

    def __init__(self, model: Shown, names: Mapping[int, str]) -> None:
        super().__init__()
        self._model = weakref.ref(model)
        self._names = dict(names)
        self._picked: Optional[int] = None
        # Callbacks run in threads of their own. Whoever holds this lock never waits for the one of training.
        self._lock = RLock()
        self._labels = [label(instance, names) for instance in range(model.display.num_ids)]
        self.all_instances = ViewerMarkdown(legend(model.display, names))
        self.choice = QuietDropdown(
            "Picked",
            NOTHING,
            [NOTHING, *self._labels],
            quiet_hook=self._on_choice,
            hint="The instance that the buttons below act on; type to search",
        )
        self.click = QuietButton("Pick by a click in the scene", self._on_arm)
        self.color = QuietRGB(
            "Colour",
            UNLABELLED_COLOR,
            is_news=lambda element: self._recolored(element.value) is not None,
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
        with self._lock:
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

    def _change(self, display: Optional[InstanceDisplay]) -> None:
        """Show another state; None changes nothing."""
        if display is not None:
            self._shown.display = display
            self._refresh()

    def _recolored(self, color: Any) -> Optional[InstanceDisplay]:
        """What is shown with the picked instance in another colour; None where that changes nothing."""
        display, picked = self._shown.display, self._picked
        if picked is None or tuple(display.colors[picked]) == tuple(color):
            return None
        return display.recolor(picked, color)

    # Callbacks -------------------------------------------------------------------------------------------------------

    def _on_choice(self, element: QuietDropdown) -> None:
        with self._lock:
            # Setting the element calls this too, a little later, in another thread: read before the lock is had, its
            # value may be an old one. By then it is no news, and the colour may be changing.
            instance = None if element.value == NOTHING else self._labels.index(element.value)
            if instance != self._picked:
                self.select(instance)

    def _on_color(self, element: QuietRGB) -> None:
        with self._lock:
            self._change(self._recolored(element.value))

    def _on_hide(self, element: ViewerButton) -> None:
        with self._lock:
            display, picked = self._shown.display, self._picked
            if picked is not None:
                self._change(display.hide(picked) if display.shows(picked) else display.show(picked))

    def _on_isolate(self, element: ViewerButton) -> None:
        with self._lock:
            if self._picked is not None:
                self._change(self._shown.display.isolate(self._picked))

    def _on_show_all(self, element: ViewerButton) -> None:
        with self._lock:
            self._change(self._shown.display.show_all())

    def _on_arm(self, element: QuietButton) -> None:
        # The viewer cannot be turned while it listens for clicks, so it listens for one only.
        self.viewer_control.register_pointer_cb("click", self._on_click)
        element.set_disabled(True)

    def _on_click(self, click: ViewerClick) -> None:
        self.viewer_control.unregister_pointer_cb()
        viewer = self.viewer_control.viewer
        # A training step must not meet a model in evaluation mode. A rendering may: where nothing is trained, the pick
        # does not wait for it.
        lock = None if viewer.trainer is None else viewer.train_lock
        try:
            with lock or nullcontext():
                instance = pick(self._shown, click.origin, click.direction)
            self.select(instance)
        finally:
            self.click.set_disabled(False)
