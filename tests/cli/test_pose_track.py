"""`nerfseg pose track` on a film of a tiny run, rendered from its own scene."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from nerfseg_plugins.cli.main import entrypoint
from nerfseg_plugins.cli.pose_options import open_run
from nerfseg_plugins.files import read_json

FRAMES = 4
QUICK = ("--coarse", False, "--rays", 32, "--tracking-rays", 48, "--steps", 2, "--hypotheses", 4, "--init", "global")


@pytest.fixture(autouse=True)
def _argv(monkeypatch: pytest.MonkeyPatch):
    """Puts sys.argv back."""
    monkeypatch.setattr(sys, "argv", sys.argv)


def nerfseg(*arguments: object) -> None:
    sys.argv = ["nerfseg", "pose", "track", *map(str, arguments)]
    entrypoint()


def refused(*arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        nerfseg(*arguments)
    return str(caught.value.code)


def path_of_a_camera(run: Any) -> list[torch.Tensor]:
    """(3, 4) poses on a straight way, turning a little."""
    first = run.dataset("val").cameras.camera_to_worlds[0].double().numpy()
    poses = []
    for frame in range(FRAMES):
        turn = Rotation.from_rotvec([0, 0.02 * frame, 0]).as_matrix()
        position = first[:, 3:] + 0.01 * frame * first[:, :1]
        poses.append(torch.from_numpy(np.hstack([first[:, :3] @ turn, position])).float())
    return poses


@pytest.fixture(scope="module")
def film(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of numbered frames, and the same as a video."""
    from nerfseg_plugins.inerf.output.pictures import rendering, to_bytes
    from nerfseg_plugins.inerf.protocol import held_out_queries
    from nerfseg_plugins.inerf.scene import FrozenScene
    from nerfseg_plugins.scene.video import write_video

    run = open_run(tiny_run.config)
    query, scene = held_out_queries(run, 1)[0], FrozenScene(run.pipeline.model)
    folder = tmp_path_factory.mktemp("film")
    pictures = [to_bytes(rendering(scene, query, pose)) for pose in path_of_a_camera(run)]
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"frame{index + 8}.png")  # 8, 9, 10, 11: not in the order of letters
    write_video(folder / "film.mp4", iter(pictures), 10)
    return folder, folder / "film.mp4"


def test_a_constant_velocity_goes_on():
    from nerfseg_plugins.inerf.tracking import predicted

    assert predicted([]) is None
    poses = []
    for frame in range(3):
        turn = Rotation.from_rotvec([0, 0, np.radians(10) * frame]).as_matrix()
        circle = np.array([[np.cos(np.radians(10) * frame)], [np.sin(np.radians(10) * frame)], [0.5]])
        poses.append(torch.from_numpy(np.hstack([turn, circle])).float())
    assert predicted(poses[:1]) is poses[0]
    ahead = predicted(poses[:2])
    assert ahead is not None
    torch.testing.assert_close(ahead, poses[2])  # on a circle, not on its tangent


def test_a_folder_of_frames(tiny_run, film: tuple[Path, Path], tmp_path: Path, capsys):
    nerfseg("--load-config", tiny_run.config, "--images", film[0], "--like-run", "--output-path", tmp_path, *QUICK)
    poses = read_json(tmp_path / "poses.json")
    assert [Path(frame["file_path"]).name for frame in poses["frames"]] == [f"frame{i}.png" for i in (8, 9, 10, 11)]
    metrics = read_json(tmp_path / "metrics.json")
    assert metrics["frames"] == FRAMES and metrics["frames_per_second"] > 0
    assert 1 <= metrics["searched"] <= FRAMES
    assert (tmp_path / "overlay.mp4").stat().st_size > 500
    with Image.open(tmp_path / "residuals.png") as plot:
        assert plot.width > 800
    assert f"of {FRAMES} frames converged" in capsys.readouterr().out


def test_a_video(tiny_run, film: tuple[Path, Path], tmp_path: Path):
    """Every second frame; the poses name pictures that are there, so that others can be trained on them."""
    common = ("--load-config", tiny_run.config, "--output-path", tmp_path, *QUICK)
    nerfseg(*common, "--video", film[1], "--fov", 60, "--every", 2, "--max-frames", 2)
    frames = read_json(tmp_path / "poses.json")["frames"]
    assert [frame["file_path"] for frame in frames] == ["frames/000000.jpg", "frames/000002.jpg"]
    with Image.open(tmp_path / "frames" / "000002.jpg") as taken, Image.open(film[0] / "frame10.png") as drawn:
        difference = np.asarray(taken).astype(float) - np.asarray(drawn)
    assert np.abs(difference).mean() < 6, "the frame that the picture was encoded from"
    assert frames[0]["fl_x"] == pytest.approx(24 / np.tan(np.radians(30)), rel=1e-4)


def test_an_interrupt_keeps_what_was_found(tiny_run, film: tuple[Path, Path], tmp_path: Path, monkeypatch):
    from nerfseg_plugins.inerf.estimate import Estimator

    real, asked = Estimator.estimate, []

    def interrupted(self, query, start=None):
        asked.append(query.path.name)
        if query.path.name == "frame10.png":
            raise KeyboardInterrupt
        return real(self, query, start)

    monkeypatch.setattr(Estimator, "estimate", interrupted)
    with pytest.raises(SystemExit) as caught:
        nerfseg("--load-config", tiny_run.config, "--images", film[0], "--like-run", "--output-path", tmp_path, *QUICK)
    assert caught.value.code == 130
    assert len(read_json(tmp_path / "poses.json")["frames"]) == 2


def test_bad_input(tiny_run, film: tuple[Path, Path], tmp_path: Path):
    run = ("--load-config", tiny_run.config, "--output-path", tmp_path / "out")
    missing = tmp_path / "config.yml"
    assert refused(*run) == "error: pass either --video FILE or --images FOLDER"
    assert refused(*run, "--video", "a.mp4", "--images", "b") == "error: pass either --video FILE or --images FOLDER"
    assert refused(*run, "--video", film[1]) == (
        f"error: {film[1]} has no intrinsics; give --fl-x or --fov, or --like-run if the run's own camera took it"
    )
    assert refused(*run, "--images", film[0]).startswith(
        f"error: {film[0] / 'frame8.png'} has no intrinsics; give fl_x"
    )
    assert refused("--load-config", missing, "--images", film[0]) == (
        f"error: {missing} does not exist; pass the config.yml inside a run's folder (outputs/.../config.yml)"
    )
    assert refused(*run, "--video", tmp_path / "a.mp4", "--fov", 60) == (
        f"error: {tmp_path / 'a.mp4'} does not exist; name a video"
    )
    (tmp_path / "text.mp4").write_text("no film")
    assert refused(*run, "--video", tmp_path / "text.mp4", "--fov", 60) == (
        f"error: {tmp_path / 'text.mp4'} cannot be read as a video; convert it, for instance to mp4, or give --images "
        "FOLDER"
    )
    (tmp_path / "empty").mkdir()
    assert refused(*run, "--images", tmp_path / "empty") == (
        f"error: {tmp_path / 'empty'} holds no images; name the folder of the frames"
    )
    assert refused(*run, "--images", film[0], "--every", 0) == "error: --every is 0; give 1 or more"
    assert refused(*run, "--images", film[0], "--preset", "lm") == (
        "error: the first frame has no pose to start from; track with --preset best or with --init auto"
    )
    assert not (tmp_path / "out").exists()
