"""`nerfseg segment` on a run of gsn: from strokes on several objects to masks, and a scene that shows them again."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from PIL import Image

from nerfseg_plugins.cli.eval import Eval
from nerfseg_plugins.cli.image_based import DataOptions
from nerfseg_plugins.cli.open import Open
from nerfseg_plugins.cli.segment import Segment
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.saved import write_run_with_segments
from nerfseg_plugins.gsn.survey import FOLDER as SURVEYS
from nerfseg_plugins.scene import run as runs
from nerfseg_plugins.scene.config_file import read_config
from nerfseg_plugins.scene.run import Run, load_run
from nerfseg_plugins.segments.masks import read_ids
from nerfseg_plugins.segments.stroke_files import Drawing, write_strokes
from nerfseg_plugins.segments.strokes import polyline_inside

from .conftest import Stages

VIEW = 1
PIXELS = "24"


@pytest.fixture(scope="module")
def config(stages: Stages, rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUN/room.yml of a copy of the run, which shows the second room."""
    folder = tmp_path_factory.mktemp("segment") / "run"
    shutil.copytree(stages.gsn.parent, folder)
    Open(folder / "config.yml", where=DataOptions(data=rooms / "room_4"), name="room").main()
    return folder / "room.yml"


@pytest.fixture(scope="module")
def loaded(config: Path) -> Run:
    """The run, loaded once."""
    return load_run(config)


@pytest.fixture(autouse=True)
def _loaded_once(config: Path, loaded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading takes longer than all else; other configurations are loaded as ever."""
    original = runs.load_run
    monkeypatch.setattr(
        runs, "load_run", lambda path, *more, **given: loaded if path == config else original(path, *more, **given)
    )


@pytest.fixture(scope="module")
def truth(loaded: Run) -> np.ndarray:
    """True ids of the view that is drawn into."""
    return read_ids(loaded.dataset("val").metadata["truth_filenames"][VIEW])


@pytest.fixture(scope="module")
def objects(truth: np.ndarray) -> list[int]:
    """The two largest things in that view."""
    return np.argsort(-np.bincount(truth[truth > 0]))[:2].tolist()


@pytest.fixture(scope="module")
def strokes(truth: np.ndarray, objects: list[int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """strokes.json with a line on each of them."""
    path = tmp_path_factory.mktemp("strokes") / "strokes.json"
    lines = [tuple(polyline_inside(truth == one, 0, 4, 1)) for one in objects]
    write_strokes(path, [Drawing(VIEW, True, line, radius=1, object=n) for n, line in enumerate(lines, start=1)])
    return path


def segment(config: Path, *flags: Any, name: str = "things", masks: str = "none") -> None:
    """`nerfseg segment`, parsed by its own parser."""
    always = ["--load-config", config, "--name", name, "--resolution", PIXELS, "--masks", masks, "--split", "val"]
    tyro.cli(Segment, args=[str(word) for word in (*always, *flags)]).main()


def files_of(config: Path) -> dict[Path, int]:
    """All files of a run with the time of their last change, but for what only spares time."""
    files = (path for path in config.parent.rglob("*") if path.is_file() and path.parent.name != SURVEYS)
    return {path: path.stat().st_mtime_ns for path in files}


def refused(message: str, config: Path, *flags: Any, **options: Any) -> str:
    """The command ends in one sentence, and leaves the run and its folder as they were."""
    before = files_of(config)
    with pytest.raises(InputError, match=message) as caught:
        segment(config, *flags, **options)
    assert files_of(config) == before
    return str(caught.value)


def test_strokes_become_masks_pictures_and_a_scene_that_shows_them(
    config: Path, loaded: Run, strokes: Path, objects: list[int], truth: np.ndarray, tmp_path: Path, capsys
):
    before = config.read_bytes()
    segment(config, "--strokes", strokes, masks="val")
    said = capsys.readouterr().out
    assert "things 1" in said and f"ns-viewer --load-config {config.parent / 'things.yml'}" in said
    assert config.read_bytes() == before and loaded.pipeline.model.query is None

    folder = config.parent / "segments" / "things"
    report = json.loads((folder / "segment.json").read_text())
    assert report["objects"] == {"1": "things 1", "2": "things 2"} and report["masks"] == 2
    assert [one["object"] for one in report["strokes"]] == [1, 2]
    assert {"look", "select", "masks"} <= report["seconds"].keys()
    with Image.open(folder / "overview.png") as sheet:
        assert sheet.width == 3 * 48 + 2 * 4
    masks = sorted((folder / "masks" / "val").iterdir())
    assert len(masks) == 2 and not (folder / "masks" / "train").exists()
    found = read_ids(masks[VIEW])
    assert found.shape == truth.shape and set(np.unique(found).tolist()) == {0, 1, 2}
    for number, one in enumerate(objects, start=1):
        line = polyline_inside(truth == one, 0, 4, 1)
        assert np.mean([found[y, x] == number for x, y in line]) > 0.7, "what was drawn on is what was meant"

    again = load_run(config.parent / "things.yml")
    assert again.pipeline.datamanager.shown.name == loaded.pipeline.datamanager.shown.name
    assert again.pipeline.model.query.names == ("things 1", "things 2")
    view = next(runs.render_views(again, "val", indices=[VIEW]))
    assert np.array_equal(again.pipeline.model.predict_ids(view.outputs).numpy(), found)
    assert (view.outputs["segment_colormap"] != view.outputs["rgb"]).any()
    # Other commands know the objects, too.
    Eval(config.parent / "things.yml", tmp_path / "metrics.json").main()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["pq"] is not None and metrics["class_miou"] is None


def test_views_are_looked_at_once(config: Path, loaded: Run, strokes: Path, monkeypatch, capsys):
    segment(config, "--strokes", strokes, name="first")
    capsys.readouterr()
    segment(config, "--strokes", strokes, "--overwrite", name="first")
    assert "rendering" not in capsys.readouterr().out
    kept = list((config.parent / SURVEYS).iterdir())
    assert len(kept) == 1
    kept[0].write_bytes(b"nonsense")
    segment(config, "--strokes", strokes, "--overwrite", name="first")
    assert "it is made anew" in capsys.readouterr().out and kept[0].stat().st_size > 1000


def test_the_same_strokes_select_the_same(config: Path, strokes: Path):
    found = []
    for name in ("one", "two"):
        segment(config, "--strokes", strokes, name=name)
        with np.load(config.parent / "segments" / f"{name}.npz") as stored:
            found.append(stored["shares"])
    np.testing.assert_array_equal(*found)


def test_one_object_by_points_and_a_rectangle(config: Path, truth: np.ndarray, objects: list[int]):
    rows, columns = np.nonzero(truth == objects[0])
    point = f"{VIEW}:{columns[len(rows) // 2]},{rows[len(rows) // 2]}"
    segment(
        config, "--positive-points", point, "--radius", "1", "--negative-rectangle", f"{VIEW}:0,0,3,3", name="single"
    )
    report = json.loads((config.parent / "segments" / "single" / "segment.json").read_text())
    assert report["objects"] == {"1": "single"} and [one["object"] for one in report["strokes"]] == [1, 0]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--action", "remove"), "--action remove belongs to runs of isrf"),
        (("--load-edit", "edit.npz"), "--load-edit belongs to runs of isrf"),
        (("--method", "bilateral"), "--method bilateral belongs to runs of isrf"),
        (("--tau", "-1"), "tau is -1.0"),
        (("--tau", "0", "--method", "seed", "--no-connected"), "nothing is like the strokes"),
        (("--positive-points", f"{VIEW}:500,5"), "lies outside the image"),
        (("--positive-points", "9:5,5"), "there is no held-out view 9"),
        (("--text", "a chair"), "are those of labels, which knows no text"),
        (("--resolution", "4"), "--resolution is 4"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(config: Path, strokes: Path, flags, says: str):
    refused(says, config, "--strokes", strokes, *flags, name="never")


def test_without_strokes_nothing_is_selected(config: Path):
    refused("nothing says what the object is", config, name="never")


def test_two_objects_on_one_pixel_are_refused(config: Path, tmp_path: Path):
    path = tmp_path / "strokes.json"
    write_strokes(path, [Drawing(VIEW, True, points=((5, 5),), object=n) for n in (1, 2)])
    said = refused("pixels are marked object 2", config, "--strokes", path, name="never")
    assert str(path) in said


def test_a_name_that_shows_a_scene_is_not_overwritten(config: Path, strokes: Path):
    refused("exists already; pass --overwrite", config, "--strokes", strokes, name="room")
    refused("which shows a scene; choose another name", config, "--strokes", strokes, "--overwrite", name="room")


def test_a_run_without_features_is_refused(stages: Stages):
    with pytest.raises(InputError, match="is a run of gnt-tiny, which renders no features") as caught:
        segment(stages.gnt, "--positive-points", "0:5,5")
    assert str(stages.gnt) in str(caught.value)


def test_a_selection_belongs_to_its_scene(config: Path, rooms: Path, strokes: Path):
    segment(config, "--strokes", strokes, name="moved")
    run = config.parent
    Open(run / "moved.yml", where=DataOptions(data=rooms / "room_3"), name="elsewhere").main()
    pipeline = read_config(run / "elsewhere.yml").pipeline
    assert pipeline.model.segments is None
    path = write_run_with_segments(run, pipeline, "wrong", run / "segments" / "moved.npz")
    with pytest.raises(InputError, match="other weights or another scene") as caught:
        load_run(path)
    assert "moved.npz" in str(caught.value)


def test_a_selection_follows_the_scene_that_is_open(loaded: Run):
    """Another scene that is opened in the same model shows nothing of it."""
    model: Any = loaded.pipeline.model
    model.query = object()
    model.open_scene(loaded.pipeline.datamanager.shown)
    assert model.query is None and model.why_no_ids() is not None
    assert torch.equal(model.predict_ids({"segment_id": torch.tensor([[[2.0]]])}), torch.tensor([[2]]))
