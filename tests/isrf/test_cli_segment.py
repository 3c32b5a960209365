"""`nerfseg segment` on a tiny run: from strokes to masks, pictures and an edit that loads again."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from PIL import Image

from nerfseg_plugins.cli import segment_query
from nerfseg_plugins.cli.segment import Segment
from nerfseg_plugins.cli.segment_strokes import drawn, lift_strokes, views_of
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.kept import VOXELS
from nerfseg_plugins.scene.run import Run, load_run, render_views
from nerfseg_plugins.segments.masks import read_ids
from nerfseg_plugins.segments.stroke_files import Drawing, read_strokes, write_strokes
from nerfseg_plugins.segments.strokes import polyline_inside

VIEW = 2
RESOLUTION = "48"


@pytest.fixture(scope="module")
def config(isrf_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a copy of the run, whose folder may be written into."""
    folder = tmp_path_factory.mktemp("segment") / "run"
    shutil.copytree(isrf_run.parent, folder)
    return folder / "config.yml"


@pytest.fixture(scope="module")
def loaded(config: Path) -> Run:
    """The run, loaded once."""
    return segment_query.open_isrf_run(config)


@pytest.fixture(autouse=True)
def _loaded_once(config: Path, loaded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading takes longer than all else; other configurations are loaded as ever."""
    original = segment_query.open_isrf_run
    monkeypatch.setattr(segment_query, "open_isrf_run", lambda path: loaded if path == config else original(path))


@pytest.fixture(scope="module")
def truth(loaded: Run) -> tuple[int, np.ndarray]:
    """The largest object in the view that is drawn into, and its mask there."""
    ids = read_ids(mask_of(loaded, VIEW))
    counts = np.bincount(ids[ids > 0])
    return int(counts.argmax()), ids == counts.argmax()


@pytest.fixture(scope="module")
def strokes(truth: tuple[int, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """strokes.json with a line on the object and one beside it."""
    path = tmp_path_factory.mktemp("strokes") / "strokes.json"
    _, mask = truth
    inside, outside = (tuple(polyline_inside(part, 0, 3, 3)) for part in (mask, ~mask))
    write_strokes(path, [Drawing(VIEW, True, inside, radius=1), Drawing(VIEW, False, outside, radius=1)])
    return path


def mask_of(run: Run, view: int) -> Path:
    image = Path(run.dataset("train").image_filenames[view])
    return image.parents[1] / "masks" / f"{image.stem}.png"


def segment(config: Path, *flags: Any, name: str = "thing", masks: str = "none") -> None:
    """`nerfseg segment`, parsed by its own parser."""
    always = ["--load-config", config, "--name", name, "--resolution", RESOLUTION, "--masks", masks]
    tyro.cli(Segment, args=[str(word) for word in (*always, *flags)]).main()


def refused(message: str, config: Path, *flags: Any, **options: Any) -> str:
    """The command ends in one sentence, and leaves the run and its folder as they were."""
    before = files_of(config)
    with pytest.raises(InputError, match=message) as caught:
        segment(config, *flags, **options)
    assert files_of(config) == before
    return str(caught.value)


def files_of(config: Path) -> dict[Path, int]:
    """All files of a run with the time of their last change, but for what only spares time."""
    files = (path for path in config.parent.rglob("*") if path.is_file() and path.name != VOXELS)
    return {path: path.stat().st_mtime_ns for path in files}


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


# From strokes to files -----------------------------------------------------------------------------------------------


def test_strokes_become_masks_pictures_and_an_edit(config: Path, loaded: Run, strokes: Path, capsys):
    before = config.read_bytes()
    segment(config, "--strokes", strokes, "--action", "remove", name="gone", masks="all")
    said = capsys.readouterr().out
    assert "surface voxels" in said and f"ns-viewer --load-config {config.parent / 'gone.yml'}" in said
    assert config.read_bytes() == before and loaded.pipeline.model.edits == []

    folder = config.parent / "edits" / "gone"
    report = json.loads((folder / "segment.json").read_text())
    assert report["action"] == "remove" and report["objects"] == {"1": "gone"} and report["masks"] == 13
    counts = report["voxels"]
    assert 0 < counts["seed"] <= counts["scene"] and 0 < counts["selected"] < counts["scene"]
    assert {"cache", "select", "masks"} <= report["seconds"].keys()
    assert size(folder / "strokes.png") == (2 * 48 + 4, 20 + 36)
    assert size(folder / "overview.png")[0] == 4 * 48 + 3 * 4

    for split, count in (("train", 10), ("val", 3)):
        masks = sorted((folder / "masks" / split).iterdir())
        assert [path.stem for path in masks] == sorted(
            Path(path).stem
            for path in loaded.dataset(split).image_filenames  # type: ignore[arg-type]
        )
        assert len(masks) == count
        with Image.open(masks[0]) as image:
            assert image.mode.startswith("I;16") and image.size == (48, 36)
        assert {value for path in masks for value in np.unique(read_ids(path)).tolist()} <= {0, 1}
    assert [path for path in config.parent.rglob("*") if path.name.startswith(".")] == []


def test_an_edit_holds_what_was_marked_and_shows_where_it_is_loaded(config: Path, loaded: Run, strokes: Path):
    segment(config, "--strokes", strokes, "--action", "remove", name="shown")
    edited = load_run(config.parent / "shown.yml")
    (edit,) = edited.pipeline.model.edits  # type: ignore[attr-defined]
    assert (edit.name, edit.action) == ("shown", "remove") and len(edit.voxels) > 0
    views = views_of(loaded, "train")
    for stroke in drawn(read_strokes(strokes), views):
        points = lift_strokes(loaded, [stroke], "train")
        assert points is not None
        share = float(edit.voxels.contains(points.points).float().mean())
        assert (share > 0.8) if stroke.positive else (share < 0.1), (share, stroke.positive)
    pictures = [next(render_views(run, "train", ("rgb",), (VIEW,))).outputs["rgb"] for run in (loaded, edited)]
    assert (pictures[0] - pictures[1]).abs().amax(dim=-1).gt(0.02).float().mean() > 0.02
    untouched = load_run(config)
    again = next(render_views(untouched, "train", ("rgb",), (VIEW,))).outputs["rgb"]
    assert torch.equal(again, pictures[0])


def test_the_same_command_selects_the_same(config: Path, strokes: Path):
    found = []
    for _ in range(2):
        segment(config, "--strokes", strokes, "--overwrite", name="same")
        with np.load(config.parent / "edits" / "same.npz") as stored:
            found.append({name: stored[name] for name in stored.files})
    assert found[0].keys() == found[1].keys()
    assert all((found[0][name] == found[1][name]).all() for name in found[0])


def test_voxels_are_found_once(config: Path, loaded: Run, strokes: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    def count() -> int:
        segment(config, "--strokes", strokes, "--overwrite", name="once")
        return json.loads((config.parent / "edits" / "once" / "segment.json").read_text())["voxels"]["scene"]

    found, path = count(), config.parent / VOXELS
    model = loaded.pipeline.model
    with monkeypatch.context() as patch:
        patch.setattr(model, "voxel_cache", lambda *_: pytest.fail("there was a file"))
        assert count() == found
    for damage in (path.read_bytes()[:100], b""):
        path.write_bytes(damage)
        assert count() == found and "it is made anew" in capsys.readouterr().out
    segment(config, "--strokes", strokes, "--overwrite", "--resolution", "32", name="once")
    assert "another resolution" in capsys.readouterr().out
    assert count() == found


def test_recolour_and_move_are_in_the_units_of_people(config: Path, loaded: Run, strokes: Path):
    segment(config, "--strokes", strokes, "--action", "recolor", "--color", 0, 51, 255, name="blue")
    (edit,) = load_run(config.parent / "blue.yml").pipeline.model.edits  # type: ignore[attr-defined]
    assert edit.color == pytest.approx((0, 0.2, 1))
    segment(config, "--strokes", strokes, "--action", "move", "--translation", 0, 0, 0.5, name="up")
    (edit,) = load_run(config.parent / "up.yml").pipeline.model.edits  # type: ignore[attr-defined]
    centre = loaded.to_data_frame(edit.voxels.centres().numpy().mean(0, keepdims=True))
    moved = loaded.to_scene_frame(centre + np.array([0, 0, 0.5]))
    before = loaded.to_scene_frame(centre)[0]
    np.testing.assert_allclose(edit.transform.numpy()[:3] @ [*before, 1], moved[0], atol=1e-6)


def test_objects_add_up(config: Path, strokes: Path, truth: tuple[int, np.ndarray], loaded: Run):
    segment(config, "--strokes", strokes, name="first")
    ids = read_ids(mask_of(loaded, VIEW))
    other = next(number for number in np.unique(ids[ids > 0]) if number != truth[0])
    points = ",".join(f"{x},{y}" for x, y in polyline_inside(ids == other, 0, 2, 2))
    flags = ("--positive-points", f"{VIEW}:{points}", "--radius", 1, "--action", "remove")
    first = config.parent / "edits" / "first.npz"
    segment(config, *flags, "--load-edit", first, name="second", masks="val")
    segment(config.parent / "first.yml", *flags, name="third")
    for name in ("second", "third"):
        edits = load_run(config.parent / f"{name}.yml").pipeline.model.edits  # type: ignore[attr-defined]
        assert [(edit.name, edit.action) for edit in edits] == [("first", "none"), (name, "remove")]
    report = json.loads((config.parent / "edits" / "second" / "segment.json").read_text())
    assert report["objects"] == {"1": "first", "2": "second"} and report["masks"] == 3
    message = f"shows an edit already, so it is unclear what {first}"
    refused(message, config.parent / "first.yml", *flags, "--load-edit", first, name="fourth")
    refused(
        "first.npz has an object 'first' already", config, *flags, "--load-edit", first, "--overwrite", name="first"
    )
    refused("would overwrite .*first.yml", config.parent / "first.yml", *flags, "--overwrite", name="first")


def test_strokes_in_held_out_views_and_by_name(config: Path, loaded: Run, tmp_path: Path):
    image = Path(loaded.dataset("val").image_filenames[1])
    marks = np.zeros((36, 48, 4), np.uint8)
    marks[20:24, 20:26] = 255
    Image.fromarray(marks).save(tmp_path / "marks.png")
    flags = ("--positive", f"{image.stem}:{tmp_path / 'marks.png'}")
    segment(config, *flags, "--split", "val", "--output-path", tmp_path / "out", name="held-out")
    report = json.loads((tmp_path / "out" / "segment.json").read_text())
    assert report["split"] == "val" and report["strokes"][0]["view"] == 1 and report["strokes"][0]["pixels"] == 24
    assert not (config.parent / "edits" / "held-out").exists() and (config.parent / "held-out.yml").is_file()
    refused("no train view is called", config, *flags, name="not-there")


# What is refused -----------------------------------------------------------------------------------------------------


def test_an_interrupt_leaves_nothing(config: Path, strokes: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    before = files_of(config)
    monkeypatch.setattr("nerfseg_plugins.segments.masks.write_ids", interrupt)
    with pytest.raises(KeyboardInterrupt):
        segment(config, "--strokes", strokes, name="interrupted", masks="val")
    assert files_of(config) == before


def test_a_name_that_exists_is_not_replaced(config: Path, strokes: Path):
    segment(config, "--strokes", strokes, name="there")
    flags = ("--strokes", strokes)
    assert "--overwrite" in refused(r"there\.npz exists already", config, *flags, name="there")
    segment(config, *flags, "--overwrite", name="there")
    for name in ("config", "../there", "a/b", ""):
        refused("is no name for what is saved", config, *flags, name=name)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "nothing says what the object is"),
        (("--negative-points", f"{VIEW}:5,5"), "nothing says what the object is"),
        (("--positive-points", f"{VIEW}:48,5"), f"train view {VIEW} .* lies outside the image"),
        (("--positive-points", f"{VIEW}:nan,5"), "not a finite number"),
        (("--positive-points", "10:5,5"), "no train view 10"),
        (("--positive-points", "chair:5,5"), "called 'chair'"),
        (("--positive-points", f"{VIEW}:5,5", "--radius", "-1"), "has radius -1"),
        (("--positive-points", f"{VIEW}:5,5", "--negative-points", f"{VIEW}:6,6"), "marked positive .* and negative"),
        (("--positive", f"{VIEW}:nowhere.png"), "nowhere.png does not exist"),
        (("--strokes", "nowhere.json"), "nowhere.json does not exist"),
        (("--positive-points", f"{VIEW}:5,5", "--resolution", "2"), "--resolution is 2"),
        (("--positive-points", f"{VIEW}:5,5", "--action", "move"), "both are zero"),
        (("--positive-points", f"{VIEW}:5,5", "--color", "1", "2", "3"), "--color belongs to"),
        (("--positive-points", f"{VIEW}:5,5", "--load-edit", "nowhere.npz"), "nowhere.npz does not exist"),
        (("--positive-points", f"{VIEW}:5,5", "--tau", "-1"), "tau is -1"),
        (("--positive-points", f"{VIEW}:5,5", "--tau", "nan"), "tau is nan"),
        (("--positive-points", f"{VIEW}:5,5", "--clusters", "0"), "clusters is 0"),
        (("--positive-points", f"{VIEW}:5,5", "--method", "bilateral", "--sigma-f", "0"), "sigma_f is 0.0"),
        (("--positive-points", f"{VIEW}:5,5", "--walker.sigma-c", "0"), "walker.sigma_c is 0.0"),
        (("--positive-points", f"{VIEW}:5,5", "--sigma-f", "2"), "--sigma-f belongs to --method bilateral"),
        (("--positive-points", f"{VIEW}:5,5", "--method", "seed", "--walker.prior", "1"), "belongs to --method walker"),
        (("--text", "a chair"), "manifest.json says that the features are those of classical"),
    ],
)
def test_bad_input_is_refused(config: Path, flags: tuple[str, ...], message: str):
    refused(message, config, *flags)


@pytest.mark.parametrize(
    ("tau", "message"), [("0", "^0 of .* raise tau"), ("5", "all voxels are like the positive strokes; lower tau")]
)
def test_what_selects_nothing_or_everything_is_said_in_words(config: Path, tau: str, message: str):
    flags = ("--positive-points", f"{VIEW}:20,20", "--method", "seed", "--no-connected", "--tau", tau)
    assert "nothing was written" in refused(message, config, *flags)


def test_bad_input_ends_the_command_with_a_sentence_and_code_1(config: Path, monkeypatch: pytest.MonkeyPatch):
    from nerfseg_plugins.cli.main import entrypoint

    flags = ["--load-config", str(config), "--name", "thing", "--positive-points", "99:1,1"]
    monkeypatch.setattr("sys.argv", ["nerfseg", "segment", *flags])
    with pytest.raises(SystemExit) as caught:
        entrypoint()
    assert str(caught.value.code).startswith("error: --positive-points 99:1,1: there is no train view 99")


@pytest.mark.parametrize("method", ["bilateral", "seed"])
def test_the_other_ways_of_selecting(config: Path, strokes: Path, method: str):
    segment(config, "--strokes", strokes, "--method", method, name=method)
    report = json.loads((config.parent / "edits" / method / "segment.json").read_text())
    assert report["settings"]["method"] == method and report["voxels"]["seed"] <= report["voxels"]["selected"]
    assert (method == "seed") == (report["voxels"]["seed"] == report["voxels"]["selected"])


def test_a_picture_of_another_size_is_refused(config: Path, tmp_path: Path):
    Image.new("L", (50, 36), 255).save(tmp_path / "marks.png")
    said = refused("is 50x36 pixels", config, "--positive", f"{VIEW}:{tmp_path / 'marks.png'}")
    assert str(tmp_path / "marks.png") in said and f"train view {VIEW}" in said and "48x36" in said


def test_strokes_on_empty_space_are_refused(config: Path, loaded: Run, monkeypatch: pytest.MonkeyPatch):
    field = loaded.pipeline.model.field  # type: ignore[attr-defined]
    original = field.get_density

    def thin(samples: Any) -> Any:
        density, geo = original(samples)
        return density * 1e-6, geo

    loaded.pipeline.model.voxel_cache(loaded.dataset("train").cameras, cache_config(int(RESOLUTION)))  # type: ignore
    monkeypatch.setattr(field, "get_density", thin)
    said = refused("empty space", config, "--positive-points", f"{VIEW}:5,5")
    assert f"train view {VIEW}" in said and "--positive-points" in said


def cache_config(resolution: int) -> Any:
    from nerfseg_plugins.isrf.cache import CacheConfig

    return CacheConfig(resolution=resolution)


def test_a_run_of_another_method_is_refused(tiny_run):
    said = refused(
        "is a run of instance-nerf-tiny, which has no features", tiny_run.config, "--positive-points", "0:5,5"
    )
    assert "ns-train isrf" in said
    with pytest.raises(InputError, match="does not exist"):
        segment(tiny_run.folder / "nothing" / "config.yml", "--positive-points", "0:5,5")


def test_a_run_whose_features_are_not_trained_is_refused(config: Path, tmp_path: Path):
    shutil.copytree(config.parent / "nerfstudio_models", tmp_path / "nerfstudio_models")
    shutil.copy(config, tmp_path / "config.yml")
    sorted((tmp_path / "nerfstudio_models").iterdir())[-1].unlink()
    refused("features are not trained yet", tmp_path / "config.yml", "--positive-points", "0:5,5")


def test_an_edit_of_another_checkpoint_is_refused(config: Path, strokes: Path, tmp_path: Path):
    segment(config, "--strokes", strokes, name="own")
    folder = tmp_path / "other"
    shutil.copytree(config.parent, folder)
    path = sorted((folder / "nerfstudio_models").iterdir())[-1]
    state = torch.load(path, weights_only=True)
    key = next(key for key in state["pipeline"] if key.startswith("_model.head.") and key.endswith("weight"))
    state["pipeline"][key] += 0.1
    torch.save(state, path)
    flags = ("--strokes", strokes, "--load-edit", config.parent / "edits" / "own.npz")
    assert "own.npz" in refused("made for other weights", folder / "config.yml", *flags, name="more")
