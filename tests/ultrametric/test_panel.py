"""The viewer's panel on a tiny run, in nerfstudio's own viewer without a browser."""

import gc
import json
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO
from plyfile import PlyData
from viser import GuiEvent, ScenePointerEvent

from nerfseg_plugins.scene.elements import ViewerMarkdown
from nerfseg_plugins.scene.run import load_run
from nerfseg_plugins.ultrametric.hierarchy_file import write_run_with_hierarchy

from ..browser import serving


@contextmanager
def viewed(config: Path) -> Iterator[Any]:
    """A run in a viewer of its own, as ns-viewer shows it."""
    run = load_run(config)
    with serving(run.pipeline, config.parent) as viewer:
        panel: Any = run.pipeline.get_submodule("Hierarchy")
        assert panel.jobs.wait(60)
        yield SimpleNamespace(panel=panel, own=panel._controls, model=run.pipeline.model, viewer=viewer, run=run)


@pytest.fixture(scope="module")
def config(ultrametric_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a copy of the run, whose folder may be written into."""
    folder = tmp_path_factory.mktemp("panel") / "run"
    shutil.copytree(ultrametric_run.parent, folder)
    return folder / "config.yml"


@pytest.fixture(scope="module")
def served(config: Path) -> Iterator[Any]:
    """The run with its hierarchy, which the panel has built; many tests use it one after the other."""
    with viewed(config) as found:
        assert "Build hierarchy" in found.own.status.content and found.model.hierarchy is None
        assert "there is no hierarchy yet" in press(found, "parent")
        told = heard(found)
        fire(found, "granularity", 0.45)
        fire(found, "min_size", 3)
        assert all(said.startswith("There is no hierarchy yet; press Build") for said in told) and len(told) == 2
        said = press(found, "build")
        assert "of at least 3 points at granularity 0.450" in said.replace("\\", ""), "as was set before"
        assert told[2] == "Looking for the surfaces of the scene …"
        assert told[3].startswith("Looking for the surface of the scene: 1 of ")
        assert said.split()[1:3] == ["segments", "of"] and (config.parent / "hierarchy.npz").is_file()
        yield found


@pytest.fixture
def shown(served: Any) -> Any:
    """The same, with nothing picked."""
    if listens(served):
        press(served, "done")
    fire(served, "min_size", 4)
    fire(served, "granularity", 0.1)
    press(served, "forget")
    assert served.model.granularity == 0.1 and served.model.min_size == 4 and served.model.picked is None
    return served


def fire(found: Any, name: str, value: Any = None) -> None:
    """What viser does when a browser sends a new value, or a press of a button."""
    handle = getattr(found.own, name).gui_handle
    if value is not None:
        handle._impl.value = value
    for callback in handle._impl.update_cb:
        callback(GuiEvent(client=None, client_id=None, target=handle))
    assert found.panel.jobs.wait(60)


def press(found: Any, name: str) -> str:
    """Press a button, wait for what it does, and return what the panel says."""
    fire(found, name)
    return found.own.status.content


def heard(found: Any) -> list[str]:
    """All that the panel says from now on."""
    said: list[str] = []
    say = found.panel._say
    found.panel._say = lambda text: (said.append(text), say(text))
    return said


def listens(found: Any) -> bool:
    """Whether a click in the scene would be heard."""
    return found.viewer.viser_server.scene._scene_pointer_cb is not None


def click(found: Any, direction: Any = None) -> str:
    """Click from the first training view, on the point of the hierarchy nearest to its middle unless said otherwise."""
    pose = found.run.pipeline.datamanager.train_dataset.cameras.camera_to_worlds[0].numpy()
    if direction is None:
        away = found.model.hierarchy.points - pose[:, 3]
        ahead = -(away / np.linalg.norm(away, axis=1, keepdims=True)) @ pose[:, 2]
        direction = away[ahead.argmax()]
    callback = found.viewer.viser_server.scene._scene_pointer_cb
    assert callback is not None
    origin = tuple((pose[:, 3] * VISER_NERFSTUDIO_SCALE_RATIO).tolist())
    callback(ScenePointerEvent(None, 0, "click", origin, tuple(map(float, direction)), ((0.5, 0.5),)))  # type: ignore[arg-type]
    assert found.panel.jobs.wait(60)
    return found.own.status.content


def cloud(found: Any) -> Any:
    """The points in the viewer's scene."""
    return found.panel._access._drawn.get("points")


def test_all_elements_are_in_one_folder_and_say_what_they_are(served):
    assert "Custom Elements/Hierarchy" in {path.rsplit("/", 1)[0] for path, _ in served.viewer.viewer_elements}
    folders = {group.name: [element.name for element in group.elements] for group in served.own.all.elements[2:]}
    assert folders["Segments"] == ["Granularity", "Segments", "Minimum size", "Show points"]
    assert folders["Pick"][1:] == ["Pick by clicks", "Done", "Parent", "Child", "Forget", "Name", "Save"]
    for group in served.own.all.elements[2:]:
        assert all(element.hint for element in group.elements if not isinstance(element, ViewerMarkdown))


def test_the_panel_adds_nothing_to_checkpoints_and_no_cycle(ultrametric_run):
    model: Any = load_run(ultrametric_run).pipeline.model
    panel = model.panel
    assert not [key for key in model.state_dict() if "panel" in key]
    assert not panel.state_dict() and not list(panel.parameters()) and model not in list(panel.modules())
    gone = weakref.ref(panel._bench)
    del model, panel
    gc.collect()
    assert gone() is None


def test_the_slider_sets_the_granularity_and_recolours_the_points(shown):
    fire(shown, "points", True)
    before = cloud(shown)
    fire(shown, "granularity", 0.5)
    assert shown.model.granularity == 0.5 and cloud(shown) is not before
    number = len(shown.model.hierarchy.cut(0.5, 4))
    assert f"{number:,} segments of at least 4 points at granularity 0.500" in shown.own.status.content.replace(
        "\\", ""
    )
    fire(shown, "points", False)
    assert cloud(shown) is None


def test_a_number_of_segments_sets_the_slider(shown):
    wanted = len(shown.model.cut())
    fire(shown, "granularity", 2.0)
    fire(shown, "segments", wanted)
    assert shown.panel.jobs.wait(60) and len(shown.model.cut()) == wanted
    assert shown.own.granularity.value == shown.model.granularity < 2


@pytest.mark.parametrize(
    ("name", "value", "says"), [("segments", 0, "0 segments were asked for"), ("min_size", 0, "must be 1 or more")]
)
def test_numbers_that_are_none_are_said(shown, name, value, says):
    fire(shown, name, value)
    assert "**Not done:**" in shown.own.status.content and says in shown.own.status.content
    assert shown.model.min_size == 4 and shown.model.granularity == 0.1


def test_a_larger_minimum_size_leaves_fewer_segments(shown):
    before = len(shown.model.cut())
    fire(shown, "min_size", 50)
    assert shown.model.min_size == 50 and len(shown.model.cut()) < before


def test_clicks_pick_a_segment_then_its_parents_and_child_goes_back(shown):
    press(shown, "pick")
    assert listens(shown) and shown.own.pick.gui_handle.disabled and not shown.own.done.gui_handle.disabled
    assert click(shown).startswith("Picked a segment")
    first, tree = shown.model.picked, shown.model.hierarchy
    assert first in shown.model.cut().nodes and "Picked: " in shown.own.picked.content
    assert click(shown).startswith("Picked a segment")
    second = shown.model.picked
    assert tree.nodes.size[second] >= tree.nodes.size[first] + 4
    assert {*tree.members(first)} < {*tree.members(second)} and "1 level above" in shown.own.picked.content
    press(shown, "child")
    assert shown.model.picked == first
    press(shown, "parent")
    assert shown.model.picked == second
    fire(shown, "granularity", 0.2)
    assert shown.model.picked == second, "the slider leaves it alone"
    press(shown, "done")
    assert not listens(shown) and not shown.own.pick.gui_handle.disabled
    press(shown, "forget")
    assert shown.model.picked is None and shown.own.picked.content == "Nothing is picked"
    assert "nothing is picked" in press(shown, "parent") and "nothing is picked" in press(shown, "save")


def test_a_click_past_everything_is_said_and_clicks_are_still_heard(shown):
    press(shown, "pick")
    away = shown.run.pipeline.datamanager.train_dataset.cameras.camera_to_worlds[0].numpy()[:, 2]
    assert click(shown, away).startswith("**Not done:**")
    assert shown.model.picked is None and listens(shown)


def test_a_picked_segment_is_saved_in_the_frame_of_the_data(shown, config):
    press(shown, "pick")
    click(shown)
    fire(shown, "name", "cup")
    assert press(shown, "save").startswith("Saved ")
    vertex = PlyData.read(str(config.parent / "segments" / "cup.ply"))["vertex"].data
    tree, picked = shown.model.hierarchy, shown.model.picked
    inside = np.isin(np.arange(len(tree)), tree.members(picked))
    assert (vertex["label"] == inside).all()
    points = np.stack([vertex[axis] for axis in "xyz"], axis=1)
    assert np.allclose(points, shown.run.to_data_frame(tree.points), atol=1e-5)
    about = json.loads((config.parent / "segments" / "cup.json").read_text())
    assert about["node"] == picked and about["size"] == inside.sum() and about["granularity"] == 0.1
    fire(shown, "name", "../cup")
    assert "is no name for a segment" in press(shown, "save")


def test_segments_are_an_output_and_a_picked_one_is_bright_in_it(shown):
    camera = shown.run.pipeline.datamanager.train_dataset.cameras[0:1]
    outputs = shown.model.get_outputs_for_camera(camera)
    plain = outputs["segment_colormap"]
    press(shown, "pick")
    click(shown)
    marked = shown.model.get_outputs_for_camera(camera)["segment_colormap"]
    assert (marked <= plain + 1e-6).all() and (marked < plain - 0.01).any()
    assert (marked == plain).all(dim=-1).any()


def test_segments_are_shown_as_soon_as_the_viewer_knows_the_output_but_only_once(shown):
    panel = shown.viewer.control_panel
    press(shown, "build")
    assert "segment_colormap" not in panel._output_render.options
    panel.update_output_options(["rgb", "features", "segment_colormap"])  # as the first rendering does
    panel._output_render.value = "rgb"
    press(shown, "forget")
    assert panel.output_render == "segment_colormap"
    panel._output_render.value = "rgb"
    press(shown, "forget")
    assert panel.output_render == "rgb"


def test_while_the_run_trains_no_hierarchy_is_made(shown, monkeypatch):
    monkeypatch.setattr(shown.viewer, "trainer", SimpleNamespace(training_state="training"))
    assert "still trains" in press(shown, "build")


def test_a_hierarchy_of_these_weights_is_read_and_one_of_others_is_made_anew(shown, config):
    path = config.parent / "hierarchy.npz"
    kept, before = path.stat().st_mtime_ns, shown.model.hierarchy
    press(shown, "build")
    assert path.stat().st_mtime_ns == kept and shown.model.hierarchy is not before
    assert (shown.model.hierarchy.points == before.points).all()
    path.write_bytes(b"damaged")
    said = press(shown, "build")
    assert "segments of at least" in said and path.stat().st_size > 1000
    assert (shown.model.hierarchy.points == before.points).all()


def test_a_run_that_is_shown_with_its_hierarchy_begins_with_it(served, config):
    written = write_run_with_hierarchy(config, config.parent / "hierarchy.npz", 0.25, 7)
    with viewed(written) as found:
        assert found.model.hierarchy is not None and found.own.granularity.value == 0.25
        assert "of at least 7 points at granularity 0.250" in found.own.status.content.replace("\\", "")
