"""The viewer's panel of gsn, in nerfstudio's own viewer without a browser: on a wall of two kinds of features."""

import gc
import math
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO, Viewer
from torch import nn

from nerfseg_plugins.cli.image_based import DataOptions
from nerfseg_plugins.cli.open import Open
from nerfseg_plugins.gsn.controls import LABELS, NO_FILE, OTHER
from nerfseg_plugins.gsn.workbench import DrawnStroke, Interaction, color_of
from nerfseg_plugins.image_based.rendering import ViewsInMemory
from nerfseg_plugins.scene.stroke_access import NEGATIVE

from ..browser import SECONDS, click, fire, inputs, press, serving, viewed
from .conftest import Stages
from .scenes import SIZE, gsn, wall_views
from .things import on_left

LEFT, RIGHT = (-0.3, 0.0, -1.0), (0.3, 0.0, -1.0)
"""Directions from the origin to the two halves of the wall."""


def wall_model() -> Any:
    """It passes on the features of its source views, without training."""
    found = gsn(eval_num_rays_per_chunk=400, color="blend").eval()
    found.open_scene(ViewsInMemory("wall", wall_views(features=True)))
    return found


class Pipeline(nn.Module):
    """As much of a pipeline as the viewer and the panel ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.model = wall_model()
        outputs = SimpleNamespace(dataparser_transform=torch.eye(4)[:3], dataparser_scale=1.0)
        names = [f"images/{index}.png" for index in range(3)]
        self.datamanager = SimpleNamespace(
            includes_time=False,
            train_dataparser_outputs=outputs,
            train_dataset=SimpleNamespace(cameras=self.model.scene.cameras, image_filenames=names),
            shown=SimpleNamespace(features=None),
        )
        for title, panel in self.model.panels().items():
            self.add_module(title, panel)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """nerfstudio's viewer, serving on a free port with nobody connected."""
    with serving(Pipeline(), tmp_path_factory.mktemp("run")) as viewer:
        yield viewer


@pytest.fixture
def model(served: Viewer) -> Any:
    return served.pipeline.model


@pytest.fixture
def panel(served: Viewer, model: Any) -> Iterator[Any]:
    """The panel with nothing done, a quick look at the scene, and features alone deciding."""
    found: Any = served.pipeline.get_submodule("Segment")
    before = {name: element.value for name, element in inputs(found).items()}
    own = found._controls
    for element, value in ((own.method, "seed"), (own.connected, False), (own.views, 2), (own.resolution, 32)):
        element.gui_handle._impl.value = value

    def begin() -> None:
        model.query = None
        found._bench.begin()
        found._shown_after(lambda: "")

    found.jobs.submit(begin)  # in the panel's own thread: viser may still call back what an earlier test has set
    assert found.jobs.wait(SECONDS)
    yield found
    assert found.jobs.wait(SECONDS)
    for name, element in inputs(found).items():
        element.gui_handle._impl.value = before[name]


@pytest.fixture
def own(panel: Any) -> Any:
    """The controls."""
    return panel._controls


def draw(panel: Any, viewer: Viewer, direction: tuple[float, float, float], marks: str = "object 1") -> str:
    """Draw a dot from the origin; returns what the panel says."""
    own = panel._controls
    own.marks.gui_handle._impl.value = marks
    fire(own.pen.draw)
    click(viewer, (0.0, 0.0, 0.0), direction)
    return press(panel, "finish")


def ids_along(model: Any, x: float) -> int:
    """The id that the middle of the wall's left or right half is rendered with."""
    outputs = model.get_outputs_for_camera(model.scene.cameras[1:2])
    return int(model.predict_ids(outputs)[SIZE // 2, SIZE // 2 + round(x * SIZE)])


# Layout --------------------------------------------------------------------------------------------------------------


def test_the_panel_is_a_folder_of_hinted_controls(served: Viewer, own: Any):
    assert [path.rsplit("/", 1)[0] for path, _ in served.viewer_elements] == ["Custom Elements/Segment"]
    folders = {group.name: group.elements for group in own.all.elements[2:]}
    assert list(folders) == ["Strokes", "Select", "Numbers", "Words", "Result"]
    for element in (element for elements in folders.values() for element in elements):
        assert element.gui_handle is not None and element.hint


def test_controls_say_what_they_set(own: Any):
    assert len(LABELS) == len(set(LABELS.values())) == 13 and LABELS[OTHER] == 0
    fire(own.marks, "object 7")
    assert own.label == 7
    fire(own.marks, OTHER)
    assert own.label == 0
    fire(own.tau, 0.7)
    fire(own.clusters, 3)
    config, survey = own.select_config(), own.survey_config()
    assert (config.method, config.tau, config.clusters, config.connected) == ("seed", 0.7, 3, False)
    assert (survey.views, survey.resolution) == (2, 32)


def test_the_panel_adds_nothing_to_checkpoints_and_no_cycle():
    model = wall_model()
    panel: Any = model.panel
    assert not [key for key in model.state_dict() if "panel" in key]
    assert not panel.state_dict() and not list(panel.parameters()) and model not in list(panel.modules())
    gone = weakref.ref(model)
    del model, panel
    gc.collect()
    assert gone() is None


# Strokes -------------------------------------------------------------------------------------------------------------


def test_strokes_have_the_colours_of_their_objects_and_lie_before_the_surface(
    panel: Any, served: Viewer, monkeypatch: pytest.MonkeyPatch
):
    drawn: dict[str, Any] = {}
    scene = served.viser_server.scene
    monkeypatch.setattr(
        scene, "add_point_cloud", lambda name, points, color, **_: drawn.update({name: (points, color)})
    )
    draw(panel, served, LEFT, "object 2")
    said = draw(panel, served, RIGHT, OTHER)
    assert said.startswith("Negative stroke: ") and len({color_of(label) for label in range(13)}) == 13
    (points, color), (_, negative) = drawn["/segment/object 2"], drawn["/segment/negative"]
    assert color == color_of(2) and negative == color_of(0) == NEGATIVE
    surface = panel.state.strokes[0].marks.points[:, 2] * VISER_NERFSTUDIO_SCALE_RATIO
    assert points[:, 2] == pytest.approx(0.96 * surface.numpy(), rel=1e-3)
    assert "1 on 1 objects, 1 on none" in panel._controls.summary.content
    press(panel, "undo")
    assert len(panel.state.strokes) == 1
    assert press(panel, "clear_strokes").startswith("Cleared the strokes") and not panel.state.strokes


def test_a_stroke_is_as_wide_as_its_brush(panel: Any, own: Any, served: Viewer):
    """A radius of 3 pixels marks 29."""
    assert own.pen.radius.value == 3
    said = draw(panel, served, LEFT)
    (stroke,) = panel.state.strokes
    assert said.startswith("Stroke on object 1: 29 points") and len(stroke.marks) == 29
    directions = stroke.marks.points / -stroke.marks.points[:, 2:]
    away = (directions - torch.tensor(LEFT)).norm(dim=-1)
    assert float(away.max()) == pytest.approx(3 / SIZE, rel=0.2) and math.isclose(float(away.min()), 0, abs_tol=1e-3)


def test_marks_without_a_place_to_look_from_are_shown_where_they_are():
    """As words mark them."""
    marks = on_left()
    assert torch.equal(DrawnStroke(1, marks).points(), marks.points)
    state = Interaction().with_stroke(DrawnStroke(3, marks)).with_stroke(DrawnStroke(0, marks))
    assert state.describe() == "Strokes: 1 on 1 objects, 1 on none"


def test_a_stroke_on_empty_space_is_said(panel: Any, served: Viewer):
    said = draw(panel, served, (0.0, 0.0, 1.0))
    assert said.startswith("**Not done:**") and "empty space" in said and not panel.state.strokes


# Selecting -----------------------------------------------------------------------------------------------------------


def test_two_objects_are_selected_shown_and_taken_back(panel: Any, served: Viewer, model: Any):
    draw(panel, served, LEFT, "object 1")
    draw(panel, served, RIGHT, "object 2")
    said = press(panel, "segment")
    assert said.startswith("Selected 2 objects") and "Selected: 2 objects" in panel._controls.summary.content
    assert (ids_along(model, -0.3), ids_along(model, 0.3)) == (1, 2)
    assert panel.state.query is model.query and model.query.names == ("object 1", "object 2")
    assert press(panel, "undo").startswith("Took back") and model.query is None and len(panel.state.strokes) == 2
    press(panel, "segment", "clear")
    assert model.query is None and panel.state.query is None and not panel.state.strokes


def test_a_negative_stroke_is_left_out(panel: Any, served: Viewer, model: Any):
    """The squared distance of the halves is 2: at a threshold beyond it all would be near enough."""
    fire(panel._controls.tau, 2.0)
    draw(panel, served, LEFT)
    draw(panel, served, RIGHT, OTHER)
    press(panel, "segment")
    assert (ids_along(model, -0.3), ids_along(model, 0.3)) == (1, 0)


def test_the_scene_is_looked_at_once(panel: Any, served: Viewer, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    monkeypatch.setattr(panel._bench, "_doing", said.append)
    draw(panel, served, LEFT)
    panel._bench._kept = None
    press(panel, "segment", "segment")
    assert sum("rendering" in text for text in said) <= 1 and panel._bench._kept is not None
    first = panel._bench._kept[2]
    press(panel, "segment")
    assert panel._bench._kept[2] is first


def test_while_the_run_trains_each_look_is_a_new_one(panel: Any, served: Viewer, monkeypatch: pytest.MonkeyPatch):
    draw(panel, served, LEFT)
    monkeypatch.setattr(served, "trainer", SimpleNamespace(training_state="training"))
    panel._bench._kept = None
    press(panel, "segment")
    assert panel.state.query is not None and panel._bench._kept is None
    assert "still trains" in press(panel, "save")


@pytest.mark.parametrize(
    ("button", "says"),
    [
        ("segment", "draw a stroke"),
        ("undo", "nothing left to undo"),
        ("save", "nothing is selected yet"),
        ("load", "save something first"),
        ("from_words", "there are no words"),
    ],
)
def test_buttons_with_nothing_to_act_on_say_so(panel: Any, button: str, says: str):
    said = press(panel, button)
    assert said.startswith("**Not done:**") and says in said


def test_everything_selected_is_said_and_the_scene_stays_as_it_was(panel: Any, own: Any, served: Viewer, model: Any):
    draw(panel, served, LEFT)
    press(panel, "segment")
    before = panel.state
    own.tau.gui_handle._impl.value = 2.5
    said = press(panel, "segment")
    assert said.startswith("**Not done:**") and "lower tau" in said
    assert panel.state is before and model.query is before.query


def test_no_callback_waits_for_a_rendering(panel: Any, served: Viewer, model: Any):
    assert served.train_lock is not None
    with served.train_lock:  # as a rendering holds it
        own = panel._controls
        fire(own.pen.draw)
        click(served, (0.0, 0.0, 0.0), LEFT)
        fire(own.pen.finish)
        fire(own.segment)
        assert not panel.jobs.wait(0.05) and not panel.state.strokes and model.query is None
    assert panel.jobs.wait(SECONDS) and model.query is not None


# Files ---------------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_shown_again_by_its_own_config_and_by_load(stages: Stages, rooms: Path, tmp_path: Path):
    run = shutil.copytree(stages.gsn.parent, tmp_path / "run")
    Open(run / "config.yml", where=DataOptions(data=rooms / "room_4"), name="room").main()
    path = run / "segments" / "thing.npz"
    with viewed(run / "room.yml") as panel:
        own, access, model = panel._controls, panel._access, panel._bench.model
        for element, value in ((own.method, "seed"), (own.views, 1), (own.resolution, 32), (own.connected, False)):
            element.gui_handle._impl.value = value
        assert own.saved.options == [NO_FILE]
        pose = access.cameras.camera_to_worlds[0]
        fire(own.pen.draw)
        click(access.viewer, (pose[:, 3] * VISER_NERFSTUDIO_SCALE_RATIO).tolist(), (-pose[:, 2]).tolist())
        press(panel, "finish", "segment")
        query: Any = panel.state.query
        fire(own.name, "../thing")
        assert "no name for what is saved" in press(panel, "save") and not path.exists()
        fire(own.name, "thing")
        assert press(panel, "save").startswith("Saved; show it again with --load-config ")
        assert own.saved.options == ["thing"] and own.saved.value == "thing"
        press(panel, "clear")
        assert model.query is None
        assert press(panel, "load").startswith("Loaded object 1")
        assert torch.equal(model.query.shares, query.shares)
        said = press(panel, "from_words")
        assert "there are no words" in said
        fire(own.words, "a chair")
        assert "are those of labels, which knows no text" in press(panel, "from_words")
    with viewed(run / "thing.yml") as panel:
        assert "Selected: 1 objects" in panel._controls.summary.content and panel._controls.saved.value == "thing"
        assert torch.equal(panel._bench.model.query.shares, query.shares)
        assert press(panel, "undo").startswith("**Not done:**"), "what the run shows was not done here"
        before = panel.state
        path.write_bytes(b"damaged")
        assert "thing.npz is no readable selection" in press(panel, "load") and panel.state is before
        path.unlink()
        assert "there is no 'thing'" in press(panel, "load")
