"""`nerfseg turntable` and `nerfseg photo render`, with a network of random weights."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.cli.image_based import load_model
from nerfseg_plugins.cli.main import entrypoint
from nerfseg_plugins.cli.photo_render import PhotoRender

from .category_runs import SIDE, write_run


def nerfseg(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["nerfseg", *arguments])
    entrypoint()


def refusal(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        nerfseg(monkeypatch, *arguments)
    said = str(caught.value.code)
    assert said.startswith("error: ") and "\n" not in said
    return said


def frames_of(path: Path) -> tuple[tuple[int, int], int]:
    """Size and number of frames of a video, as ffmpeg decodes them."""
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(str(path))
    return next(reader)["size"], sum(1 for _ in reader)


def test_around_chosen_objects(
    category: Path, category_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    chosen = ["--scenes", "1", "rings/e", "--views", "1", "4", "--frames", "5", "--output-path", str(tmp_path)]
    nerfseg(monkeypatch, "turntable", "--load-config", str(category_run), *chosen)
    said = capsys.readouterr().out
    for name in ("discs/d", "rings/e"):
        video = tmp_path / f"{name}_views_001_004.mp4"
        assert f"wrote {video}" in said and frames_of(video) == ((SIDE, SIDE), 5)
        with Image.open(video.with_suffix(".png")) as picture:
            found = np.asarray(picture)
        for place, view in enumerate((1, 4)):
            with Image.open(category / name.replace("/", "_test/") / f"rgb/{view:06d}.png") as photo:
                np.testing.assert_array_equal(found[:, place * SIDE : (place + 1) * SIDE], np.asarray(photo))
    assert len(list(tmp_path.rglob("*.*"))) == 4


def test_the_first_frame_is_on_the_side_of_the_source(
    category_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """At the source's own elevation and distance it is the picture from the source's place."""
    from nerfseg_plugins.cli import scenes
    from nerfseg_plugins.image_based.rendering import render_cameras, to_bytes

    elevation = -np.degrees(np.arcsin(np.sqrt(1 - 0.81)))
    flags = ["--elevation", f"{elevation}", "--radius", "2", "--frames", "3", "--video", "gif", "--scale", "1.5"]
    where = ["--load-config", str(category_run), "--views", "2", "--output-path", str(tmp_path)]
    nerfseg(monkeypatch, "turntable", *where, *flags)
    opened = load_model(category_run)
    reference = scenes.SceneOptions(scenes=("0",)).find(opened.config)[0]
    shown = scenes.read_scene(reference, opened.config, (2,))
    opened.model.open_scene(shown.sources)
    cameras = shown.sources.cameras[:1]
    cameras.rescale_output_resolution(1.5)
    expected = to_bytes(next(render_cameras(opened.model, cameras))["rgb"])
    with Image.open(tmp_path / "discs/c_views_002.gif") as found:
        assert found.size == (24, 24) and found.n_frames == 3  # type: ignore[attr-defined]
        difference = np.asarray(found.convert("RGB")).astype(float) - expected
    assert np.abs(difference).mean() < 6, "up to GIF's palette"


def test_through_the_cameras(category_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flags = ["--path", "cameras", "--frames", "4", "--views", "0", "--output-path", str(tmp_path)]
    nerfseg(monkeypatch, "turntable", "--load-config", str(category_run), *flags)
    assert frames_of(tmp_path / "discs/c_views_000.mp4")[1] == 4


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--views", "7"], "discs/c has no view 7; its 7 views count from 0"),
        (["--views", "0", "--scenes", "nothing"], "has no scene 'nothing'"),
        (["--views", "0", "--frames", "0"], "--frames is 0"),
        (["--views", "0", "--radius", "0"], "--radius is 0.0"),
        (["--views", "0", "--elevation", "100"], "100.0 degrees"),
        (["--views", "0", "--scale", "0.01"], "at --scale 0.01"),
    ],
)
def test_bad_flags(flags: list[str], said: str, category_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    where = ["--load-config", str(category_run), "--output-path", str(tmp_path / "out")]
    assert said in refusal(monkeypatch, "turntable", *where, *flags)
    assert not list(tmp_path.rglob("*.mp4"))


# Photos ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with one normalised photo."""
    picture = np.full((32, 32, 3), 255, np.uint8)
    picture[10:22, 6:26] = (30, 60, 200)
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture).save(tmp_path / "photos" / "blue_normalize.png")
    Image.fromarray(picture).save(tmp_path / "photos" / "other.png")
    return tmp_path / "photos"


def test_around_a_photo(category: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the data that the run was trained on are gone."""
    shutil.copytree(category, tmp_path / "data")
    config = write_run(tmp_path / "run", tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    where = ["--load-config", str(config), "--images", str(photos), "--output-path", str(tmp_path / "out")]
    nerfseg(monkeypatch, "photo", "render", *where, "--frames", "4", "--size", "24", "16", "--input-size", "16")
    folder = tmp_path / "out" / "blue_normalize_frames"
    assert sorted(path.name for path in folder.iterdir()) == ["0000.png", "0001.png", "0002.png", "0003.png"]
    assert frames_of(tmp_path / "out" / "blue_normalize_video.mp4") == ((24, 16), 4)
    with Image.open(folder / "0002.png") as picture:
        assert picture.size == (24, 16)
    nerfseg(monkeypatch, "photo", "render", *where, "--frames", "2", "--video", "gif", "--elevation", "-20")
    with Image.open(tmp_path / "out" / "blue_normalize_video.gif") as moving:
        assert moving.n_frames == 2  # type: ignore[attr-defined]


def test_the_dummy_camera_of_a_photo(photos: Path):
    command = PhotoRender(load_config=Path("config.yml"), images=[], input_size=16)
    with Image.open(photos / "blue_normalize.png") as picture:
        scene = command.scene_of(Path("blue.png"), np.asarray(picture))
    views = scene.take([0])
    assert views.images.shape == (1, 1, 3, 16, 16) and views.c2w[0, 0].tolist() == [
        [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, pytest.approx(1.3)],
    ]  # fmt: skip
    assert views.focal[0, 0].tolist() == pytest.approx([131.25 / 8] * 2) and views.center[0, 0].tolist() == [8, 8]
    assert (float(views.near), float(views.far)) == pytest.approx((0.8, 1.8))
    # Two pixels make one: the car reaches from row 10 / 2 to 22 / 2.
    assert views.images[0, 0, :, 5, 8].tolist() == pytest.approx([30 / 255, 60 / 255, 200 / 255])
    assert views.images[0, 0, :, 4, 8].tolist() == [1, 1, 1]


def test_photos_that_cannot_be_used(category_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def said(*flags: str) -> str:
        where = ["--load-config", str(category_run), "--output-path", str(tmp_path / "out")]
        return refusal(monkeypatch, "photo", "render", *where, *flags)

    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'} has no *_normalize.png" in said("--images", str(tmp_path / "empty"))
    assert "does not exist" in said("--images", str(tmp_path / "nowhere"))
    Image.new("RGB", (30, 20)).save(tmp_path / "wide.png")
    assert "wide.png has 30x20 pixels, but a normalised photo is square" in said("--images", str(tmp_path / "wide.png"))
    assert "--near is 2.0 and --far 1.8" in said("--images", str(photos), "--near", "2")
    assert "--frames is 0" in said("--images", str(photos), "--frames", "0")
    assert "--size is 2 16" in said("--images", str(photos), "--size", "2", "16")
    assert not (tmp_path / "out").exists()
