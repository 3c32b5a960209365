"""What the viewer's panel selects and saves: on boxes known by hand, and in a run's pipeline."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO
from viser import ScenePointerEvent

from ..browser import SECONDS, fire, press, viewed
from .panels import AT_RED, AT_WALL, GLOSSY, RED, WALL, boxes_of, draw, shown_by

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
    assert panel.jobs.wait(SECONDS) and model.seeded is None
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
    assert panel.jobs.wait(SECONDS)
    assert model.edits == [] and model.selected is None and model.query is None and not panel._access._drawn
    fire(own.original, False)
    assert panel.jobs.wait(SECONDS)
    assert len(model.edits) == 1 and model.selected is not None and panel._access._drawn


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
