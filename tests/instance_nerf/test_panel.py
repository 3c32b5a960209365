"""The viewer's panel, in nerfstudio's own viewer without a browser: on slabs known by hand, and in a run's pipeline."""

import gc
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO, Viewer
from torch import nn
from viser import ScenePointerEvent

from nerfseg_plugins.instance_nerf.display import InstanceDisplay
from nerfseg_plugins.scene.colors import palette

from ..browser import fire, serving
from .slabs import DIRECTION, START, slab_model

NAMES = {1: "chair", 2: "desk"}


class Pipeline(nn.Module):
    """As much of a pipeline as the viewer asks for, with the panel where `HeadPipeline` puts it."""

    def __init__(self) -> None:
        super().__init__()
        own = {"mask_filenames": ["a.png"], "truth_filenames": ["a.png"], "instance_names": NAMES}
        self.model = slab_model(**own)
        self.datamanager = SimpleNamespace(includes_time=False)
        for title, panel in self.model.panels().items():
            self.add_module(title, panel)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """nerfstudio's viewer, serving on a free port with nobody connected."""
    with serving(Pipeline(), tmp_path_factory.mktemp("run")) as viewer:
        yield viewer


@pytest.fixture
def viewer(served: Viewer) -> Viewer:
    """The viewer as it is at first."""
    model: Any = served.pipeline.model
    model.display = InstanceDisplay(model.colors)
    model.panel.select(None)
    return served


@pytest.fixture
def pipeline(viewer: Viewer) -> Any:
    """What the viewer shows."""
    return viewer.pipeline


def click(viewer: Viewer, origin: tuple[float, ...], direction: tuple[float, ...]) -> None:
    """What viser does when a browser sends a click: its world is ten times as large as the scene."""
    callback = viewer.viser_server.scene._scene_pointer_cb
    assert callback is not None
    origin = tuple(x * VISER_NERFSTUDIO_SCALE_RATIO for x in origin)
    callback(ScenePointerEvent(None, 0, "click", origin, direction, ((0.5, 0.5),)))  # type: ignore[arg-type]


def listens(viewer: Viewer) -> bool:
    """Whether a click in the scene would be heard."""
    return viewer.viser_server.scene._scene_pointer_cb is not None


def test_the_viewer_shows_the_elements_in_order_in_a_folder_of_their_own(viewer, pipeline):
    names = [element.name for _, element in viewer.viewer_elements]
    buttons = ["Hide or show it", "Isolate it", "Show all"]
    assert names == ["", "Picked", "Pick by a click in the scene", "Colour", *buttons]
    assert {path.rsplit("/", 1)[0] for path, _ in viewer.viewer_elements} == {"Custom Elements/Instances"}
    assert "1 chair" in pipeline.model.panel.all_instances.content
    assert pipeline.model.panel.choice.options == ["nothing", "0 background", "1 chair", "2 desk"]


def test_a_click_picks_the_instance_and_the_scene_can_be_turned_again(viewer, pipeline):
    panel = pipeline.model.panel
    assert not listens(viewer), "while the viewer listens for clicks it cannot be turned"
    fire(panel.click)
    assert listens(viewer) and panel.click.gui_handle.disabled
    click(viewer, START, DIRECTION)
    assert not listens(viewer) and not panel.click.gui_handle.disabled
    assert panel.picked == 1 and panel.choice.value == "1 chair"
    assert panel.color.value == tuple(palette(3)[1])
    assert "**1 chair**" in panel.all_instances.content


def test_the_click_hits_where_the_scene_is_and_not_where_it_would_be_ten_times_as_large(viewer, pipeline):
    fire(pipeline.model.panel.click)
    click(viewer, (-0.2, 0.0, 0.0), DIRECTION)  # between the first slab and the second
    assert pipeline.model.panel.picked == 2


def test_a_click_on_nothing_picks_nothing(viewer, pipeline):
    panel = pipeline.model.panel
    fire(panel.choice, "1 chair")
    fire(panel.click)
    click(viewer, (0.4, 0.0, 0.0), (0.0, 1.0, 0.0))
    assert panel.picked is None and panel.choice.value == "nothing"


def test_a_click_never_meets_a_training_step(viewer, pipeline, monkeypatch):
    """Where a trainer runs, the forward pass of a click is cast under the lock that its steps take."""
    monkeypatch.setattr(viewer, "trainer", SimpleNamespace(training_state="training"))
    seen = []
    hook = pipeline.model.register_forward_pre_hook(lambda *_: seen.append(viewer.train_lock.locked()))
    fire(pipeline.model.panel.click)
    click(viewer, START, DIRECTION)
    hook.remove()
    assert seen == [True] and not viewer.train_lock.locked()


def test_without_training_picking_does_not_wait_for_a_rendering(viewer, pipeline):
    panel = pipeline.model.panel
    with viewer.train_lock:  # as a rendering holds it
        fire(panel.click)
        click(viewer, START, DIRECTION)
        assert panel.picked == 1
        fire(panel.choice, "2 desk")
        assert panel.picked == 2


def test_picking_renders_nothing_and_changing_the_display_does(viewer, pipeline, monkeypatch):
    renderings = []
    monkeypatch.setattr(viewer, "_trigger_rerender", lambda: renderings.append(pipeline.model.display))
    panel = pipeline.model.panel
    fire(panel.click)
    click(viewer, START, DIRECTION)
    fire(panel.choice, "2 desk")
    fire(panel.color)  # the picker was set to the picked one's colour
    assert renderings == []
    fire(panel.color, (1, 2, 3))
    fire(panel.hide)
    assert [display.hidden for display in renderings] == [set(), {2}]
    assert renderings[0].colors[2].tolist() == [1, 2, 3]


def test_hide_show_isolate_and_show_all(viewer, pipeline):
    panel, model = pipeline.model.panel, pipeline.model
    fire(panel.choice, "1 chair")
    fire(panel.hide)
    assert model.display.hidden == {1} and "**~~1 chair~~**" in panel.all_instances.content
    fire(panel.hide)
    assert model.display.shows_all
    fire(panel.choice, "2 desk")
    fire(panel.isolate)
    assert model.display.isolated == 2 and panel.all_instances.content.count("~~") == 4
    fire(panel.show_all)
    assert model.display.shows_all and "~~" not in panel.all_instances.content


def test_recolouring_changes_what_is_shown_of_the_picked_one_only(viewer, pipeline):
    panel, model = pipeline.model.panel, pipeline.model
    fire(panel.choice, "2 desk")
    fire(panel.color, (1, 2, 3))
    assert model.display.colors[2].tolist() == [1, 2, 3] and "`#010203` **2 desk**" in panel.all_instances.content
    assert np.array_equal(model.display.colors[:2], palette(3)[:2]) and np.array_equal(model.colors, palette(3))


def test_without_a_picked_instance_buttons_do_nothing(viewer, pipeline):
    panel, shown = pipeline.model.panel, pipeline.model.display
    fire(panel.hide)
    fire(panel.isolate)
    fire(panel.color, (1, 2, 3))
    assert pipeline.model.display is shown


def test_the_panel_works_without_a_viewer():
    model = slab_model()
    model.panel.select(2)
    assert model.panel.picked == 2 and "**2**" in model.panel.all_instances.content


def test_the_panel_adds_nothing_to_checkpoints_and_no_cycle():
    model = slab_model()
    assert not [key for key in model.state_dict() if "panel" in key]
    assert not list(model.panel.parameters()) and not list(model.panel.buffers())
    assert model not in list(model.panel.modules())
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_before_the_head_is_trained_nothing_is_hidden():
    model = slab_model(trained=False)
    model.display = model.display.hide(1)
    assert model.hidden(torch.zeros(1, 3)) is None


def test_a_late_callback_of_the_dropdown_does_not_undo_a_colour_that_is_being_chosen(viewer, pipeline):
    panel = pipeline.model.panel
    fire(panel.choice, "2 desk")
    panel.color.gui_handle._impl.value = (1, 2, 3)  # the browser has sent it, its callback still waits for the lock
    fire(panel.choice)
    fire(panel.color)
    assert pipeline.model.display.colors[2].tolist() == [1, 2, 3]
