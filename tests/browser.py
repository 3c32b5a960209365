"""What a browser does to the panel, without one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.viewer.viewer import Viewer
from viser import GuiEvent, ScenePointerEvent

from nerfseg_plugins.scene.run import load_run

SECONDS = 30
"""That a button may take."""


@contextmanager
def serving(pipeline: Any, folder: Path) -> Iterator[Viewer]:
    """nerfstudio's viewer of a pipeline, serving on a free port with nobody connected."""
    config = ViewerConfig(websocket_host="127.0.0.1")
    viewer = Viewer(config, folder / "viewer.log", folder, pipeline, train_lock=Lock())
    try:
        yield viewer
    finally:
        viewer.viser_server.stop()


@contextmanager
def viewed(config: Path) -> Iterator[Any]:
    """The panel in which strokes select, of a run in a viewer of its own, as ns-viewer shows it."""
    run = load_run(config)
    with serving(run.pipeline, config.parent):
        yield run.pipeline.get_submodule("Segment")


def inputs(panel: Any) -> dict[str, Any]:
    """The controls that have values."""
    found = {**vars(panel._controls), **vars(panel._controls.pen)}
    return {name: element for name, element in found.items() if hasattr(element, "default_value")}


def fire(element: Any, value: Any = None) -> None:
    """What viser does when a browser sends a new value, or a press of a button."""
    handle = element.gui_handle
    if value is not None:
        handle._impl.value = value
    for callback in handle._impl.update_cb:
        callback(GuiEvent(client=None, client_id=None, target=handle))


def press(panel: Any, *names: str) -> str:
    """Press buttons, wait for what they do, and return what the panel says."""
    own = panel._controls
    for name in names:
        fire(own.pen.finish if name == "finish" else getattr(own, name))
        assert panel.jobs.wait(SECONDS)
    return own.status.content


def click(viewer: Viewer, origin: Sequence[float], direction: Sequence[float]) -> None:
    """What viser does when a browser sends a click; in its own world, which is larger than the scene."""
    callback = viewer.viser_server.scene._scene_pointer_cb
    assert callback is not None
    callback(ScenePointerEvent(None, 0, "click", tuple(origin), tuple(direction), ((0.5, 0.5),)))  # type: ignore[arg-type]
