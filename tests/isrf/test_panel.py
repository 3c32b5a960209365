"""The viewer's panel, in nerfstudio's own viewer without a browser: what it shows, and strokes on boxes."""

import gc
import math
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nerfseg_plugins.isrf.cache import CacheConfig
from nerfseg_plugins.scene import stroke_tool
from nerfseg_plugins.scene.stroke_access import NEGATIVE, POSITIVE
from nerfseg_plugins.scene.viewing import placed

from ..browser import SECONDS, fire, press
from .boxes import box_model
from .panels import AT_RED, AT_WALL, FOCAL, HEIGHT, RED, cameras, draw, listens, send

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
    assert not listens(served) and panel.jobs.wait(SECONDS)
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


# Locks ---------------------------------------------------------------------------------------------------------------


def test_no_callback_waits_for_a_rendering_and_no_rendering_meets_a_change(panel, own, served, model):
    with served.train_lock:  # as a rendering holds it
        fire(own.pen.draw)
        send(served, "click", AT_RED)
        fire(own.pen.finish)
        fire(own.segment)
        assert not panel.jobs.wait(0.05) and not panel.state.strokes and model.selected is None
    assert panel.jobs.wait(SECONDS) and model.selected is not None


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
