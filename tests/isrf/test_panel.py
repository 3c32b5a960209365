"""The viewer's panel, in nerfstudio's own viewer without a browser: on boxes known by hand, and in a run's pipeline."""

import gc
import math
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO, Viewer
from torch import nn
from viser import GuiEvent, ScenePointerEvent

from nerfseg_plugins.isrf.cache import CacheConfig
from nerfseg_plugins.scene import stroke_tool
from nerfseg_plugins.scene.run import load_run
from nerfseg_plugins.scene.stroke_access import NEGATIVE, POSITIVE
from nerfseg_plugins.scene.viewing import placed

from .boxes import box_model

WIDTH, HEIGHT, FOCAL = 100, 80, 60.0
START = (-0.9, 0.0, 0.0)
AT_RED, AT_WALL = (1.0, 0.0, 0.0), (1.0, 0.5, 0.0)
"""Directions from `START`: to the red box, and past it to the wall."""
RED, GLOSSY, WALL = 0, 1, 2


def cameras() -> Cameras:
    """Two cameras that look along +x, with z up."""
    poses = torch.tensor([[[0.0, 0, -1, -0.9], [-1, 0, 0, y], [0, 1, 0, 0]] for y in (0.0, 0.2)])
    return Cameras(poses, fx=FOCAL, fy=FOCAL, cx=WIDTH / 2, cy=HEIGHT / 2, width=WIDTH, height=HEIGHT)


class Pipeline(nn.Module):
    """As much of a pipeline as the viewer and the panel ask for; the data are twice as large as the scene."""

    def __init__(self) -> None:
        super().__init__()
        self.model = box_model()
        outputs = SimpleNamespace(dataparser_transform=torch.eye(4)[:3], dataparser_scale=0.5)
        self.datamanager = SimpleNamespace(
            includes_time=False,
            config=SimpleNamespace(dataparser=None),
            train_dataparser_outputs=outputs,
            train_dataset=SimpleNamespace(cameras=cameras(), image_filenames=["images/a_1.png", "images/b_2.png"]),
        )
        for title, panel in self.model.panels().items():
            self.add_module(title, panel)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """nerfstudio's viewer, serving on a free port with nobody connected."""
    folder = tmp_path_factory.mktemp("run")
    config = ViewerConfig(websocket_host="127.0.0.1")
    view = Viewer(config, folder / "run" / "log.txt", folder, Pipeline(), train_lock=Lock())  # type: ignore[arg-type]
    yield view
    view.viser_server.stop()


@pytest.fixture
def panel(served: Viewer) -> Iterator[Any]:
    """The panel with nothing done, and the controls as they are at first, but that all voxels alike are selected."""
    found: Any = served.pipeline.get_submodule("Segment")
    before = {name: element.value for name, element in inputs(found).items()}
    found._controls.method.gui_handle._impl.value = "bilateral"
    found._controls.connected.gui_handle._impl.value = False

    def begin() -> None:
        served.pipeline.model.edits = []  # type: ignore[assignment]
        found._bench.begin()
        found._shown_after(lambda: "")

    found.jobs.submit(begin)  # in the panel's own thread: viser may still call back what an earlier test has set
    assert found.jobs.wait(20)
    yield found
    assert found.jobs.wait(20)
    if listens(served):
        fire(found._controls.pen.drop)
    for name, element in inputs(found).items():
        element.gui_handle._impl.value = before[name]


@pytest.fixture
def model(served: Viewer) -> Any:
    return served.pipeline.model


@pytest.fixture
def own(panel: Any) -> Any:
    """The controls."""
    return panel._controls


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
    for name in names:
        own = panel._controls
        fire(own.pen.finish if name == "finish" else getattr(own, name))
        assert panel.jobs.wait(20)
    return panel._controls.status.content


def send(viewer: Viewer, kind: str, direction: Any, places: Any = ((0.5, 0.5),)) -> None:
    """What viser does when a browser sends a click or a rectangle: its world is ten times as large as the scene."""
    callback = viewer.viser_server.scene._scene_pointer_cb
    assert callback is not None
    origin = tuple(x * VISER_NERFSTUDIO_SCALE_RATIO for x in START)
    callback(ScenePointerEvent(None, 0, kind, origin, direction, places))  # type: ignore[arg-type]


def draw(panel: Any, viewer: Viewer, *directions: tuple[float, float, float], positive: bool = True) -> str:
    """Draw a stroke; returns what the panel says."""
    own = panel._controls
    own.polarity.gui_handle._impl.value = own.polarity.options[0 if positive else 1]
    fire(own.pen.draw)
    for direction in directions:
        send(viewer, "click", direction)
    return press(panel, "finish")


def listens(viewer: Viewer) -> bool:
    """Whether a click in the scene would be heard."""
    return viewer.viser_server.scene._scene_pointer_cb is not None


def shown_by(panel: Any, voxels: Any) -> torch.Tensor:
    """(N,) bool: the voxels of the cache whose centres lie in a part of space."""
    return voxels.contains(panel.state.cache.centres())


def boxes_of(panel: Any, mask: torch.Tensor) -> dict[int, float]:
    """Share of each box's voxels that a mask holds."""
    box = panel.state.cache.features.float().argmax(dim=-1)
    return {index: float(mask[box == index].float().mean()) for index in (RED, GLOSSY, WALL)}


class Client:
    """A browser that looks on, upright along +x from `START`."""

    def __init__(self) -> None:
        position, wxyz = placed(cameras().camera_to_worlds[0])
        self.scene = SimpleNamespace(_scene_pointer_cb=None)
        self.camera = SimpleNamespace(position=position, wxyz=wxyz, fov=2 * math.atan(HEIGHT / 2 / FOCAL), aspect=1.25)

    def atomic(self) -> Any:
        return Lock()


@pytest.fixture
def client(served: Viewer, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The only browser."""
    found = Client()
    monkeypatch.setattr(served.viser_server, "get_clients", lambda: {0: found})
    return found


# Layout --------------------------------------------------------------------------------------------------------------


def test_the_panel_is_a_folder_with_all_controls_of_the_original(served, own):
    assert [path.rsplit("/", 1)[0] for path, _ in served.viewer_elements] == ["Custom Elements/Segment"]
    folders = {group.name: [element.name for element in group.elements] for group in own.all.elements[2:]}
    assert list(folders) == ["View", "Strokes", "Select", "Numbers", "Words", "Buffers", "Result"]
    assert folders["View"] == ["View", "Resolution", "Display original"]
    assert folders["Select"] == ["Segment", "Seed", "Grow one step", "Grow to the end", "Undo", "Clear all"]
    for element in (element for group in own.all.elements[2:] for element in group.elements):
        assert element.gui_handle is not None and element.hint


def test_the_panel_adds_nothing_to_checkpoints_and_no_cycle():
    model = box_model()
    panel: Any = model.panel
    assert not [key for key in model.state_dict() if "panel" in key]
    assert not panel.state_dict() and not list(panel.parameters()) and model not in list(panel.modules())
    gone = weakref.ref(model)
    del model, panel
    gc.collect()
    assert gone() is None


# Looking -------------------------------------------------------------------------------------------------------------


def test_the_view_slider_puts_the_camera_where_a_training_view_was_taken(panel, own, client):
    fire(own.view, 1)
    position, wxyz = placed(cameras().camera_to_worlds[1])
    assert np.allclose(client.camera.position, position) and np.allclose(client.camera.wxyz, wxyz)
    assert client.camera.fov == pytest.approx(2 * math.atan(HEIGHT / 2 / FOCAL))
    assert r"View 1: b\_2.png" in own.status.content


@pytest.mark.parametrize(("divisor", "pixels"), [("1", 100), ("2", 64)])
def test_the_resolution_is_that_of_the_training_views_divided(panel, own, served, divisor, pixels):
    """A hundredth of a pixel more than the viewer's least."""
    fire(own.resolution, divisor)
    assert served.control_panel.max_res == pixels
    fire(own.resolution, own.resolution.options[0])
    assert served.control_panel.max_res == pixels


# Drawing -------------------------------------------------------------------------------------------------------------


def test_a_line_is_what_lies_under_the_brush_from_click_to_click(panel, own, served):
    fire(own.pen.draw)
    assert listens(served) and own.pen.draw.gui_handle.disabled and not own.pen.finish.gui_handle.disabled
    send(served, "click", (1.0, -0.1, 0.0))
    send(served, "click", (1.0, 0.1, 0.0))
    assert panel._access._drawn.keys() == {"clicks"} and "2 clicks" in own.status.content
    said = press(panel, "finish")
    assert not listens(served) and not own.pen.draw.gui_handle.disabled and own.pen.finish.gui_handle.disabled
    assert said.startswith("Positive stroke: ") and panel._access._drawn.keys() == {"positive"}
    (stroke,) = panel.state.strokes
    assert stroke.positive and (stroke.points.features[:, RED] > 0.99).all()
    # From y = -0.05 to 0.05 on the plane x = -0.4, half a scene unit away, with a brush of 3 pixels of 1/60.
    y = stroke.points.points[:, 1]
    assert float(y.min()) == pytest.approx(-0.075, abs=0.01) and float(y.max()) == pytest.approx(0.075, abs=0.01)
    assert float(stroke.points.points[:, 2].abs().max()) == pytest.approx(0.025, abs=0.01)
    # 12 pixels long, 7 wide, with round ends.
    assert len(stroke.points) == pytest.approx(12 * 7 + 29, abs=12)
    assert "1 positive and 0 negative" in own.summary.content


def test_single_clicks_are_not_joined_and_negative_ones_are_red(panel, own, served, monkeypatch):
    drawn = []
    scene = served.viser_server.scene
    monkeypatch.setattr(scene, "add_point_cloud", lambda name, points, color, **_: drawn.append((name, color, points)))
    own.pen.tool.gui_handle._impl.value = own.pen.tool.options[1]
    own.pen.radius.gui_handle._impl.value = 0.0
    draw(panel, served, (1.0, -0.1, 0.0), (1.0, 0.1, 0.0), positive=False)
    assert len(panel.state.points(False)) == 2 and panel.state.points(True) is None
    assert [(name, color) for name, color, _ in drawn] == [("/segment/clicks", NEGATIVE)] * 2 + [
        ("/segment/negative", NEGATIVE)
    ]
    # The viewer's world is ten times as large; the marks lie 4% before the surface.
    assert drawn[-1][2][:, 0] == pytest.approx([-4.19] * 2, abs=0.02)
    assert sorted(drawn[-1][2][:, 1]) == pytest.approx([-0.49, 0.49], abs=0.1) and POSITIVE != NEGATIVE


def test_a_rectangle_is_everything_in_it_as_one_looks_now(panel, own, served, client):
    own.pen.tool.gui_handle._impl.value = own.pen.tool.options[2]
    fire(own.pen.draw)
    assert own.pen.finish.gui_handle.disabled, "a rectangle is finished when it is drawn"
    send(served, "rect-select", None, ((0.45, 0.4), (0.55, 0.5)))
    assert not listens(served) and panel.jobs.wait(20)
    (stroke,) = panel.state.strokes
    assert len(stroke.points) == 10 * 8
    points = stroke.points.points
    assert (points[:, 2] > -0.005).all(), "above the middle"
    assert float(points[:, 1].abs().max()) == pytest.approx(4.5 / 60 * 0.5, abs=0.005)


def test_a_dropped_stroke_leaves_nothing(panel, own, served):
    fire(own.pen.draw)
    send(served, "click", AT_RED)
    fire(own.pen.drop)
    assert not listens(served) and not panel.state.strokes and not panel._access._drawn
    assert own.pen.drop.gui_handle.disabled and "Dropped" in own.status.content


def test_clear_strokes_takes_their_marks_away(panel, served):
    draw(panel, served, AT_RED)
    assert press(panel, "clear_strokes").startswith("Cleared the strokes")
    assert not panel.state.strokes and not panel._access._drawn


@pytest.mark.parametrize(
    ("directions", "says"),
    [
        ([], "nothing was drawn"),
        ([(-1.0, 0.0, 0.0)], "lies on empty space"),
        ([(1.0, 0.0, 0.0), (-1.0, 0.0, 0.1)], "too far apart"),
        ([(0.0, 0.0, 0.0)], "without a direction"),
    ],
)
def test_strokes_that_cannot_be_meant_are_said_and_the_camera_is_free(panel, own, served, directions, says):
    said = draw(panel, served, *directions)
    assert said.startswith("**Not done:**") and says in said
    assert not listens(served) and not panel.state.strokes and not own.pen.draw.gui_handle.disabled


def test_a_rectangle_without_a_browser_is_said_and_the_camera_is_free(panel, own, served):
    own.pen.tool.gui_handle._impl.value = own.pen.tool.options[2]
    fire(own.pen.draw)
    send(served, "rect-select", None, ((0.4, 0.4), (0.6, 0.6)))
    assert "no browser looks" in own.status.content and not listens(served)


def test_a_failure_while_drawing_is_said_and_raised_and_the_camera_is_free(panel, own, served, monkeypatch):
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    fire(own.pen.draw)
    monkeypatch.setattr(stroke_tool, "brush_rays", broken)
    send(served, "click", AT_RED)
    with pytest.raises(RuntimeError, match="a bug"):
        fire(own.pen.finish)
    assert not listens(served) and "**Failed** (RuntimeError)" in own.status.content


def test_drawing_again_begins_anew(panel, own, served):
    fire(own.pen.draw)
    send(served, "click", AT_WALL)
    fire(own.pen.draw)
    send(served, "click", AT_RED)
    press(panel, "finish")
    assert (panel.state.points(True).features[:, RED] > 0.99).all() and not listens(served)


# Selecting -----------------------------------------------------------------------------------------------------------


def test_segment_selects_what_the_stroke_lies_on_and_shows_it(panel, own, served, model):
    draw(panel, served, AT_RED)
    said = press(panel, "segment")
    assert boxes_of(panel, panel.state.region) == {RED: 1.0, GLOSSY: 0.0, WALL: 0.0}
    assert f"{int(panel.state.region.sum()):,} of {len(panel.state.cache):,} voxels" in said and " s)" in said
    assert torch.equal(shown_by(panel, model.selected), panel.state.region) and len(model.query) == 1


def test_the_walker_shows_no_seed_as_it_does_not_grow_from_one(panel, own, served, model):
    fire(own.method, "walker")
    draw(panel, served, AT_RED)
    assert "from a seed of" in press(panel, "segment")
    assert model.seeded is None and torch.equal(shown_by(panel, model.selected), panel.state.region)


def test_a_negative_stroke_is_left_out(panel, own, served):
    """The squared distance of any two boxes is 2: at a threshold beyond it all would be near enough."""
    fire(own.tau, 2.01)
    draw(panel, served, AT_RED)
    draw(panel, served, AT_WALL, positive=False)
    press(panel, "seed")
    assert boxes_of(panel, panel.state.seed)[WALL] == 0 and boxes_of(panel, panel.state.seed)[RED] == 1


def test_growing_goes_step_by_step_or_to_the_end_and_is_undone(panel, own, served, model):
    draw(panel, served, AT_RED)
    press(panel, "seed")
    core = (panel.state.cache.centres()[:, 1:].abs() < 0.03).all(dim=-1) & panel.state.region
    panel._bench.become(panel.state.with_region(core, seed=core), "")
    said = press(panel, "grow_step")
    one = int(panel.state.region.sum())
    assert int(core.sum()) < one and f"to {one:,} voxels in 1 steps; more may join" in said
    press(panel, "grow_step")
    assert int(panel.state.region.sum()) > one
    said = press(panel, "grow")
    assert "nothing more joins" in said and boxes_of(panel, panel.state.region)[RED] == 1
    assert torch.equal(shown_by(panel, model.seeded), core)
    assert torch.equal(shown_by(panel, model.selected), panel.state.region)
    assert "stays at" in press(panel, "grow")
    assert press(panel, "undo", "undo").startswith("Took back") and int(panel.state.region.sum()) == one
    assert int(shown_by(panel, model.selected).sum()) == one


def test_a_voxel_that_absorbs_too_little_does_not_take_part(panel, own, served):
    """Voxels at the border of a box are nearly empty only in real scenes; here all absorb all, but free ones."""
    draw(panel, served, AT_RED)
    press(panel, "seed")
    cache = panel.state.cache
    thin = cache.density.clone()
    thin[panel.state.region.nonzero()[::2, 0]] = 1.0  # alpha 1 - exp(-1 * 2 / 256) = 0.008
    panel._bench.become(panel.state.without_strokes(), "")
    object.__setattr__(cache, "density", thin)
    panel._bench.become(panel.state.with_region(panel.state.region & (thin > 1)), "")
    before = int(panel.state.region.sum())
    fire(own.alpha, 0.01)
    press(panel, "grow")
    with_threshold = int(panel.state.region.sum())
    fire(own.alpha, 0.0)
    press(panel, "grow")
    object.__setattr__(cache, "density", torch.full_like(thin, 1e4))
    assert with_threshold == before < int(panel.state.region.sum())


def test_nothing_or_everything_selected_is_said_and_the_scene_stays_as_it_was(panel, own, served, model):
    draw(panel, served, AT_RED)
    press(panel, "segment")
    before = panel.state
    fire(own.tau, 0.0)
    said = press(panel, "segment")
    assert said.startswith("**Not done:**") and "raise tau" in said
    fire(own.tau, 2.01)
    said = press(panel, "segment")
    assert said.startswith("**Not done:**") and "lower tau" in said
    assert panel.state is before and model.selected is not None


@pytest.mark.parametrize(
    ("button", "says"),
    [
        ("segment", "draw a stroke"),
        ("seed", "draw a stroke"),
        ("grow", "no region to grow"),
        ("grow_step", "no region to grow"),
        ("undo", "nothing left to undo"),
        ("add_positive", "nothing is selected"),
        ("replace_negative", "nothing is selected"),
        ("merge", "positive buffer is empty"),
        ("apply", "nothing is selected"),
        ("save", "no edit to save"),
        ("load", "no saved edit"),
        ("from_words", "no words"),
    ],
)
def test_buttons_with_nothing_to_act_on_say_so(panel, button, says):
    said = press(panel, button)
    assert said.startswith("**Not done:**") and says in said


def test_buffers_are_filled_shown_and_merged(panel, own, served, model):
    draw(panel, served, AT_RED)
    press(panel, "segment", "replace_positive", "clear_strokes")
    draw(panel, served, AT_WALL)
    press(panel, "segment", "add_positive", "replace_negative")
    assert boxes_of(panel, panel.state.positive) == {RED: 1.0, GLOSSY: 0.0, WALL: 1.0}
    fire(own.shown, "positive buffer")
    assert panel.jobs.wait(20) and model.seeded is None
    assert torch.equal(shown_by(panel, model.selected), panel.state.positive)
    press(panel, "merge")
    assert own.shown.value == "region", "what is new is shown"
    assert boxes_of(panel, panel.state.region) == {RED: 1.0, GLOSSY: 0.0, WALL: 0.0}
    assert "Buffers: positive" in own.summary.content
    press(panel, "clear")
    assert panel.state.region is None and model.selected is None
    press(panel, "undo")
    assert panel.state.region is not None and model.selected is not None


def test_display_original_shows_the_scene_as_it_was_trained(panel, own, served, model):
    draw(panel, served, AT_RED)
    press(panel, "segment")
    fire(own.action, "remove")
    press(panel, "apply")
    fire(own.original, True)
    assert panel.jobs.wait(20)
    assert model.edits == [] and model.selected is None and model.query is None and not panel._access._drawn
    fire(own.original, False)
    assert panel.jobs.wait(20)
    assert len(model.edits) == 1 and model.selected is not None and panel._access._drawn


# Locks ---------------------------------------------------------------------------------------------------------------


def test_no_callback_waits_for_a_rendering_and_no_rendering_meets_a_change(panel, own, served, model):
    with served.train_lock:  # as a rendering holds it
        fire(own.pen.draw)
        send(served, "click", AT_RED)
        fire(own.pen.finish)
        fire(own.segment)
        assert not panel.jobs.wait(0.05) and not panel.state.strokes and model.selected is None
    assert panel.jobs.wait(20) and model.selected is not None


def test_the_surface_is_looked_for_beside_renderings_but_never_beside_training(panel, served, model, monkeypatch):
    seen, config = [], CacheConfig(resolution=24)
    found = model.voxel_cache(panel._bench._access.cameras, config)
    monkeypatch.setattr(
        model, "voxel_cache", lambda *_: seen.append((served.train_lock.locked(), model.training)) or found
    )
    panel._bench.cache(config)
    monkeypatch.setattr(served, "trainer", SimpleNamespace(training_state="training"))
    model.train()
    panel._bench.cache(config)
    assert seen == [(False, False), (True, False)] and model.training
    model.eval()


def test_a_job_that_fails_is_said_and_reported_and_the_next_one_runs(panel, own, served, monkeypatch, capsys):
    def broken(*_: Any) -> str:
        raise RuntimeError("a bug")

    draw(panel, served, AT_RED)
    monkeypatch.setattr(type(panel._bench), "undo", broken)
    own.undo.cb_hook = panel._later(panel._bench.undo)
    assert "**Failed** (RuntimeError)" in press(panel, "undo") and "a bug" in capsys.readouterr().err
    assert press(panel, "clear_strokes").startswith("Cleared")
    monkeypatch.undo()
    own.undo.cb_hook = panel._later(panel._bench.undo)


def test_before_the_features_are_trained_strokes_are_refused(panel, served, model):
    model.head_steps -= 1
    assert "not trained yet" in draw(panel, served, AT_RED)
    model.head_steps += 1


# Results -------------------------------------------------------------------------------------------------------------


def test_an_edit_of_the_region_is_shown_and_one_of_the_same_name_replaces_it(panel, own, served, model):
    """The data are twice as large as the scene, so half a unit of theirs is a quarter of the scene's."""
    draw(panel, served, AT_RED)
    press(panel, "segment")
    fire(own.action, "move")
    assert "zero" in press(panel, "apply")
    fire(own.translation, (0.0, 0.5, 0.0))
    assert "Applied to object" in press(panel, "apply")
    (edit,) = model.edits
    assert edit.action == "move" and edit.transform[:3, 3].tolist() == [0, 0.25, 0]
    assert torch.equal(shown_by(panel, edit.voxels), panel.state.region)
    fire(own.action, "recolour")
    fire(own.color, (0, 0, 255))
    press(panel, "apply")
    fire(own.name, "copy")
    press(panel, "apply")
    assert [(edit.name, edit.action, edit.color) for edit in model.edits] == [
        ("object", "recolor", (0.0, 0.0, 1.0)),
        ("copy", "recolor", (0.0, 0.0, 1.0)),
    ]
    assert "Edits: object (recoloured), copy (recoloured)" in own.summary.content
    press(panel, "undo")
    assert [edit.name for edit in model.edits] == ["object"]


def test_names_that_are_no_file_names_are_refused(panel, own, served):
    draw(panel, served, AT_RED)
    press(panel, "segment")
    fire(own.name, "../config")
    assert "no name for what is saved" in press(panel, "apply")


def test_while_the_run_trains_nothing_is_saved(panel, own, served, monkeypatch):
    monkeypatch.setattr(served, "trainer", SimpleNamespace(training_state="training"))
    assert "still trains" in press(panel, "save")


@pytest.fixture
def run_copy(isrf_run: Path, tmp_path: Path) -> Path:
    """config.yml of a run that may be changed."""
    shutil.copytree(isrf_run.parent, tmp_path / "run")
    return tmp_path / "run" / "config.yml"


@contextmanager
def viewed(config: Path) -> Iterator[Any]:
    """The panel of a run in a viewer of its own, as ns-viewer shows it."""
    run = load_run(config)
    settings = ViewerConfig(websocket_host="127.0.0.1")
    view = Viewer(settings, config.parent / "viewer.log", config.parent, run.pipeline, train_lock=Lock())
    try:
        yield run.pipeline.get_submodule("Segment")
    finally:
        view.viser_server.stop()


def test_what_is_saved_is_shown_again_by_its_own_config_and_by_load(run_copy):
    with viewed(run_copy) as panel:
        own, access = panel._controls, panel._access
        assert own.saved.options == ["no saved edit"]
        pose = access.cameras.camera_to_worlds[0]
        fire(own.pen.draw)
        access._control.viser_server.scene._scene_pointer_cb(
            ScenePointerEvent(
                None,  # type: ignore[arg-type]
                0,
                "click",
                tuple((pose[:, 3] * VISER_NERFSTUDIO_SCALE_RATIO).tolist()),
                tuple((-pose[:, 2]).tolist()),
                ((0.5, 0.5),),
            )
        )
        assert "larger voxels" in press(panel, "finish", "seed"), "this run has trained for a moment only"
        fire(own.voxels, 32)
        press(panel, "seed")
        fire(own.action, "remove")
        fire(own.name, "thing")
        said = press(panel, "apply", "save")
        assert said.startswith("Saved") and own.saved.value == "thing"
        removed = panel.state.edits[0].voxels
        press(panel, "clear")
        assert panel.state.edits == ()
        press(panel, "load")
        assert [edit.name for edit in panel.state.edits] == ["thing"]
        assert torch.equal(panel.state.edits[0].voxels.coords(), removed.coords())
    with viewed(run_copy.parent / "thing.yml") as panel:
        assert "Edits: thing (removed)" in panel._controls.summary.content
        assert panel._controls.saved.value == "thing"
        assert press(panel, "undo").startswith("**Not done:**"), "what the run shows was not done here"
        (run_copy.parent / "edits" / "thing.npz").write_bytes(b"damaged")
        assert "thing.npz is no readable edit" in press(panel, "load") and len(panel.state.edits) == 1


def test_words_are_refused_where_the_features_know_none(isrf_run):
    with viewed(isrf_run) as panel:
        fire(panel._controls.words, "a chair")
        said = press(panel, "from_words")
        assert said.startswith("**Not done:**") and "classical, which knows no text" in said and "--source clip" in said
