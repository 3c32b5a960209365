"""`nerfseg pose estimate` on a tiny run: what it writes, how it goes on, what it refuses."""

import json
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.cli.main import entrypoint
from nerfseg_plugins.cli.pose_estimate import PoseEstimate
from nerfseg_plugins.cli.pose_options import PhotoOptions, SearchOptions
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import read_json
from nerfseg_plugins.inerf.lens_config import LensConfig

QUICK = {"coarse": False, "rays": 48, "steps": 2, "samples_per_ray": 0}


def estimate(run, output: Path, photos: PhotoOptions, preset: Any = "lm", **options: Any) -> None:
    """Run the command with few rays and steps."""
    search = SearchOptions(preset=preset, **{**QUICK, **options.pop("search", {})})
    PoseEstimate(run.config, photos, search, output, picture_size=24, **options).main()


@pytest.fixture(scope="module")
def listed(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transforms.json of the held-out photos, which lie elsewhere."""
    meta = read_json(tiny_run.data / "val_transforms.json")
    for frame in meta["frames"]:
        frame["file_path"] = str(tiny_run.data / frame["file_path"])
        frame.pop("mask_path", None)  # instance ids, of which 0 is the room itself
    path = tmp_path_factory.mktemp("photos") / "transforms.json"
    path.write_text(json.dumps(meta))
    return path


@pytest.fixture(scope="module")
def done(tiny_run, listed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an estimation from the true poses."""
    output = tmp_path_factory.mktemp("poses")
    estimate(tiny_run, output, PhotoOptions([listed], truth=listed))
    return output


def test_what_is_written(done: Path, listed: Path):
    from nerfseg_plugins.inerf.output.pictures import TITLES

    poses, truths = read_json(done / "poses.json"), read_json(listed)
    assert [frame["name"] for frame in poses["frames"]] == ["0010", "0011", "0012"]
    for frame, true in zip(poses["frames"], truths["frames"], strict=True):
        # Two steps from the truth, in the data's frame and unit: a room of some metres.
        off = np.subtract(frame["transform_matrix"], true["transform_matrix"])
        assert 0 < np.abs(off).max() < 0.5
        assert frame["trajectory"] and frame["reason"]
        assert frame["fl_x"] == pytest.approx(true.get("fl_x", truths["fl_x"]))
        with Image.open(done / f"{frame['name']}.png") as sheet:
            assert sheet.width > len(TITLES) * 24
        assert (done / f"{frame['name']}.mp4").stat().st_size > 500
    metrics = read_json(done / "metrics.json")
    assert metrics["photos"] == 3 and metrics["errors"]["count"] == 3
    assert metrics["converged"] + len(metrics["not_converged"]) == 3
    assert metrics["errors"]["rotation_median"] < 10
    with Image.open(done / "convergence.png") as plot:
        assert plot.width > 1000  # three panels, since the truth is known


def test_what_is_done_is_kept(tiny_run, listed: Path, done: Path, capsys):
    before = (done / "poses.json").read_bytes()
    (done / "0011.png").unlink()
    estimate(tiny_run, done, PhotoOptions([listed], truth=listed))
    assert (done / "poses.json").read_bytes() == before
    assert (done / "0011.png").is_file(), "pictures that are missing are made up for"
    said = capsys.readouterr().out
    assert "2 of 3 photos are done already" in said
    assert "of 3 photos converged" in said and "0010" in said


def test_an_interrupted_estimation_goes_on(tiny_run, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from nerfseg_plugins.inerf.estimate import Estimator

    real, asked = Estimator.estimate, []

    def interrupted_in_the_second(self, query, start=None):
        asked.append(query.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(self, query, start)

    monkeypatch.setattr(Estimator, "estimate", interrupted_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        estimate(tiny_run, tmp_path, PhotoOptions([listed]), overlay="gif")
    kept = read_json(tmp_path / "poses.json")["frames"]
    assert [frame["name"] for frame in kept] == ["0010"]
    estimate(tiny_run, tmp_path, PhotoOptions([listed]), overlay="gif")
    assert asked == ["0010", "0011", "0011", "0012"]
    frames = read_json(tmp_path / "poses.json")["frames"]
    assert len(frames) == 3
    assert {**frames[0], "seconds": 0} == {**kept[0], "seconds": 0}
    with Image.open(tmp_path / "0012.gif") as moving:
        assert moving.n_frames > 1 and moving.size == (24, 18)


def test_other_settings_are_refused_and_can_begin_anew(tiny_run, listed: Path, done: Path, tmp_path: Path):
    for name in ("poses.json", "settings.json"):
        (tmp_path / name).write_bytes((done / name).read_bytes())
    photos = PhotoOptions([listed])
    mend = "give --output-path another folder, or pass --overwrite"
    with pytest.raises(InputError) as caught:
        estimate(tiny_run, tmp_path, photos, search={"rays": 50})
    assert str(caught.value) == f"{tmp_path} holds poses that were found with another rays (48, now 50); {mend}"
    one = tiny_run.data / "images" / "0010.png"
    few = PhotoOptions([one], start=listed, lens=LensConfig(like_run=True))
    with pytest.raises(InputError) as caught:
        estimate(tiny_run, tmp_path, few)
    assert str(caught.value) == f"{tmp_path} holds the pose of 0011, which is not among the photos; {mend}"
    estimate(tiny_run, tmp_path, few, search={"rays": 50}, overlay="none", overwrite=True)
    assert [frame["name"] for frame in read_json(tmp_path / "poses.json")["frames"]] == ["0010"]
    (tmp_path / "settings.json").unlink()
    with pytest.raises(InputError) as caught:
        estimate(tiny_run, tmp_path, few)
    assert str(caught.value) == f"{tmp_path} holds a poses.json that this command did not write; {mend}"


def test_a_photo_that_changed_is_estimated_anew(tiny_run, listed: Path, tmp_path: Path):
    photo = tmp_path / "photos" / "0010.png"
    photo.parent.mkdir()
    with Image.open(tiny_run.data / "images" / "0010.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    Image.fromarray(pixels).save(photo)
    photos = PhotoOptions([photo], start=listed, lens=LensConfig(like_run=True))
    estimate(tiny_run, tmp_path / "out", photos, overlay="none")
    first = read_json(tmp_path / "out" / "poses.json")["frames"][0]
    Image.fromarray(255 - pixels).save(photo)
    estimate(tiny_run, tmp_path / "out", photos, overlay="none")
    assert read_json(tmp_path / "out" / "poses.json")["frames"][0]["residual"] != first["residual"]


def test_a_photo_with_nothing_to_begin_with_fails_alone(tiny_run, tmp_path: Path, capsys):
    """A ramp of grey has no keypoints; the other photo is found by its own pose."""
    ramp = np.linspace(0, 255, 48).astype(np.uint8)[None, :, None].repeat(36, 0).repeat(3, 2)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    photos = PhotoOptions([tmp_path / "ramp.png"], lens=LensConfig(like_run=True))
    estimate(tiny_run, tmp_path / "out", photos, preset="best", search={"init": "match"})
    poses = read_json(tmp_path / "out" / "poses.json")
    assert poses["frames"] == [] and poses["failed"][0]["transform_matrix"] is None
    assert str(tmp_path / "ramp.png") in poses["failed"][0]["reason"]
    assert read_json(tmp_path / "out" / "metrics.json")["not_converged"] == ["ramp"]
    assert not (tmp_path / "out" / "ramp.png").exists()
    said = capsys.readouterr().out
    assert "0 of 1 photos converged\nNOT CONVERGED, do not trust the poses of: ramp" in said


def nerfseg(*arguments: object) -> str:
    """The command line itself, which must refuse; what it says."""
    sys.argv = ["nerfseg", "pose", *map(str, arguments)]
    with pytest.raises(SystemExit) as caught:
        entrypoint()
    return str(caught.value.code)


@pytest.fixture
def argv(monkeypatch: pytest.MonkeyPatch):
    """Puts sys.argv back."""
    monkeypatch.setattr(sys, "argv", sys.argv)


@pytest.mark.usefixtures("argv")
def test_bad_input_of_the_command_line(tiny_run, tmp_path: Path):
    photo = tiny_run.data / "images" / "0010.png"
    missing = tmp_path / "config.yml"
    common = ("estimate", "--load-config", tiny_run.config, "--output-path", tmp_path / "out")
    assert nerfseg("estimate", "--load-config", missing, "--images", photo) == (
        f"error: {missing} does not exist; pass the config.yml inside a run's folder (outputs/.../config.yml)"
    )
    assert nerfseg(*common, "--images", photo) == (
        f"error: {photo} has no intrinsics; give fl_x (with fl_y, cx, cy, k1, ... where known) or fov, or like_run if "
        "the run's own camera took it, or list it in a transforms.json with fl_x"
    )
    assert nerfseg(*common, "--images", tmp_path / "none.png") == (
        f"error: {tmp_path / 'none.png'} does not exist; check the path"
    )
    assert nerfseg(*common, "--images", photo, "--fov", "60", "--preset", "lm") == (
        f"error: {photo} has no pose to start from; give --start FILE.json, or search without one: --preset best"
    )
    assert nerfseg(*common, "--images", photo, "--rays", "3") == "error: --rays is 3; give 6 or more"
    assert nerfseg(*common, "--images", photo, "--picture-size", "2") == "error: --picture-size is 2; give 16 or more"
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("argv")
def test_bad_poses(tiny_run, listed: Path, tmp_path: Path):
    photo = tiny_run.data / "images" / "0010.png"
    common = ("estimate", "--load-config", tiny_run.config, "--images", photo, "--like-run")
    meta = read_json(listed)
    path = tmp_path / "start.json"

    def start(pose: Any) -> str:
        frame = {"file_path": "0010.png", "transform_matrix": pose}
        path.write_text(json.dumps({**meta, "frames": [frame]}))
        return nerfseg(*common, "--start", path)

    sheared = np.diag([1.0, 1, 2, 1]).tolist()
    assert start(sheared) == (
        f"error: frame 0 (0010.png) of {path} has a pose whose rotation scales or shears (determinant 2, 3 from "
        "orthonormal); correct it or remove the frame"
    )
    assert start(np.full((4, 4), np.nan).tolist()) == (
        f"error: frame 0 (0010.png) of {path} has a pose that is not finite; correct it or remove the frame"
    )
    path.write_text(json.dumps({**meta, "frames": [{"file_path": "x.png", "transform_matrix": np.eye(4).tolist()}]}))
    assert nerfseg(*common, "--truth", path) == f"error: {path} has no pose for any of the photos (first: {photo})"


@pytest.mark.usefixtures("argv")
def test_runs_of_other_methods_are_refused(tmp_path: Path):
    from nerfstudio.configs.method_configs import method_configs

    for name in ("splatfacto", "nerfacto"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yml").write_text(_yaml(method_configs[name]))
    path = tmp_path / "splatfacto" / "config.yml"
    assert nerfseg("estimate", "--load-config", path, "--images", "x.png") == (
        f"error: {path} is a run of splatfacto, which renders whole images, not rays; pass a run of nerfacto or of a "
        "method built on it"
    )
    path = tmp_path / "nerfacto" / "config.yml"
    assert str(path.parent / "nerfstudio_models") in nerfseg("estimate", "--load-config", path, "--images", "x.png")
    path.write_text("just: a file\n")
    assert nerfseg("estimate", "--load-config", path, "--images", "x.png") == (
        f"error: {path} is not the configuration of a nerfstudio run; pass the config.yml in a run's folder"
    )


def _yaml(config: Any) -> str:
    import yaml

    return yaml.dump(config)


def test_the_options_are_those_of_the_modules():
    """The command line reads its options without torch, and must offer what there is."""
    from nerfseg_plugins.inerf.config import PRESETS, Init
    from nerfseg_plugins.inerf.residuals import Channels, Loss
    from nerfseg_plugins.inerf.samplers import Sampling

    hints = get_type_hints(SearchOptions)
    assert get_args(hints["preset"]) == tuple(PRESETS)
    for name, kind in (("init", Init), ("sampling", Sampling), ("loss", Loss), ("channels", Channels)):
        assert get_args(hints[name])[0] == kind


def test_what_overrides_a_preset():
    config = SearchOptions(
        preset="adam", rays=7, steps=9, loss="l1", fit_exposure=False, sampling="points", seed=3
    ).config()
    assert (config.solver, config.init, config.rays, config.seed) == ("adam", "start", 7, 3)
    assert (config.adam.steps, config.lm.iterations) == (9, 9)
    assert (config.photometric.loss, config.photometric.exposure) == ("l1", False)
    assert config.sampler.sampling == "points"
    assert SearchOptions().config().seed == 0
