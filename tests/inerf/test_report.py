"""poses.json is strict JSON, a transforms.json of nerfstudio and a list of queries; pictures show what they should."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.inerf.lens import LensConfig  # noqa: E402
from nerfseg_plugins.inerf.output.report import (  # noqa: E402
    RunInfo,
    convergence_plot,
    overlay,
    write_poses,
)
from nerfseg_plugins.inerf.query import Query, QueryConfig, read_poses, read_queries  # noqa: E402
from nerfseg_plugins.inerf.result import Estimate, Step  # noqa: E402
from nerfseg_plugins.scene.frames import pose_to_data  # noqa: E402

from .photos import IDENTITY, TURNED, photo, pose  # noqa: E402

RUN = RunInfo(*TURNED, Path("runs/a/config.yml"), "nerfacto", 99)


def estimate(seed: int = 0, converged: bool = True, **changes: Any) -> Estimate:
    """An estimate with three steps of two phases."""
    poses = [torch.from_numpy(pose(seed + offset)[:3]).float() for offset in (20, 10, 0)]
    rows = (("adam", 0.1, 0.5), ("adam", 0.2, 0.1), ("lm", 0.4, 0.02))
    steps = [Step(*row, c2w) for row, c2w in zip(rows, poses, strict=True)]
    values: dict[str, Any] = {
        "c2w": poses[-1],
        "converged": converged,
        "reason": "the residual is small",
        "residual": 0.02,
        "covariance": torch.eye(6) * 1e-4,
        "trajectory": steps,
        "hypotheses": torch.stack(poses),
        "exposure": torch.tensor([[1.0, 1.1, 0.9], [0.0, 0.01, -0.02]]),
        "seconds": 0.5,
    }
    return Estimate(**{**values, **changes})


@pytest.fixture
def queries(tmp_path: Path) -> list[Query]:
    """Two photos in DATA/images, the larger of which was read at half its size, with a distorted lens."""
    paths = [photo(tmp_path / "images" / "b.png"), photo(tmp_path / "images" / "a.jpg", 32, 24, seed=1)]
    lens = LensConfig(fl_x=20.0, fl_y=21.0, cx=7.5, k1=0.1, p1=0.01)
    return read_queries(paths, (IDENTITY, 1.0), QueryConfig(lens=lens, max_side=16))


def strict(path: Path) -> Any:
    """JSON without the NaN that Python's reader would let pass."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_the_content(tmp_path: Path, queries: list[Query]):
    path = tmp_path / "poses.json"
    write_poses(path, [(queries[0], estimate(0)), (queries[1], estimate(1, False))], RUN)
    data = strict(path)
    assert data["run"]["method"] == "nerfacto" and data["run"]["step"] == 99
    np.testing.assert_allclose(data["run"]["scene_from_data"]["transform"], TURNED[0])
    assert data["run"]["scene_from_data"]["scale"] == 0.5 and "failed" not in data
    first, second = data["frames"]
    assert (first["file_path"], second["file_path"]) == ("images/b.png", "images/a.jpg")
    assert (first["name"], first["converged"], second["converged"]) == ("b", True, False)
    # x_scene = 0.5 (R x + t): the frame's poses are where they were before that.
    np.testing.assert_allclose(first["scene_transform_matrix"], pose(0), atol=1e-6)
    expected = pose_to_data(pose(0), *TURNED)
    np.testing.assert_allclose(first["transform_matrix"], expected, atol=1e-6)
    np.testing.assert_allclose(first["covariance"], np.eye(6) * 1e-4)
    np.testing.assert_allclose(first["exposure"], [[1, 1.1, 0.9], [0, 0.01, -0.02]], atol=1e-6)
    assert [step["phase"] for step in first["trajectory"]] == ["adam", "adam", "lm"]
    np.testing.assert_allclose(first["trajectory"][0]["transform_matrix"], pose(20), atol=1e-6)
    assert first["trajectory"][2]["loss"] == 0.02 and first["trajectory"][1]["seconds"] == 0.2


def test_intrinsics_are_those_of_the_files(tmp_path: Path, queries: list[Query]):
    """The second photo has 32x24 pixels and was read with 16x12."""
    assert queries[1].image.shape == (12, 16, 3) and float(queries[1].camera.fx) == 10
    write_poses(tmp_path / "poses.json", [(query, estimate()) for query in queries], RUN)
    data = strict(tmp_path / "poses.json")
    assert data["camera_model"] == "OPENCV"
    for frame, size in zip(data["frames"], ((16, 12), (32, 24)), strict=True):
        assert (frame["w"], frame["h"], frame["fl_x"], frame["fl_y"], frame["cx"]) == (*size, 20, 21, 7.5)
        assert frame["cy"] == size[1] / 2 and (frame["k1"], frame["p1"], frame["k4"]) == (0.1, 0.01, 0)


def test_nerfstudio_reads_it(tmp_path: Path, queries: list[Query]):
    write_poses(tmp_path / "poses.json", [(queries[0], estimate(0)), (queries[1], estimate(1))], RUN)
    config = NerfstudioDataParserConfig(
        data=tmp_path / "poses.json",
        orientation_method="none",
        center_method="none",
        auto_scale_poses=False,
        eval_mode="all",
        load_3D_points=False,
    )
    outputs = config.setup().get_dataparser_outputs("train")
    assert [path.name for path in outputs.image_filenames] == ["a.jpg", "b.png"]
    expected = pose_to_data(np.stack([pose(1), pose(0)]), *TURNED)
    np.testing.assert_allclose(outputs.cameras.camera_to_worlds, expected[:, :3], atol=1e-6)
    assert outputs.cameras.width.flatten().tolist() == [32, 16]
    assert outputs.cameras.distortion_params[0].tolist() == pytest.approx([0.1, 0, 0, 0, 0.01, 0])


def test_it_is_read_again(tmp_path: Path, queries: list[Query]):
    path = tmp_path / "results" / "poses.json"
    write_poses(path, [(queries[0], estimate(0)), (queries[1], estimate(1))], RUN)
    assert Path(strict(path)["frames"][0]["file_path"]).is_absolute()  # the photos do not lie below results/
    poses = read_poses(path, TURNED)
    np.testing.assert_allclose(poses["b"], pose(0)[:3], atol=1e-6)
    again = read_queries(path.parent, TURNED, QueryConfig(max_side=16))
    assert [query.path for query in again] == [queries[1].path, queries[0].path]
    np.testing.assert_allclose(again[0].start, pose(1)[:3], atol=1e-6)
    for query, old in zip(again, queries[::-1], strict=True):
        assert torch.equal(query.image, old.image)
        np.testing.assert_allclose(query.directions, old.directions, atol=1e-6)


@pytest.mark.parametrize("worst", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_become_null(tmp_path: Path, queries: list[Query], worst: float):
    lost = torch.full((3, 4), worst)
    broken = estimate(converged=False, c2w=lost, residual=worst, covariance=torch.full((6, 6), worst))
    broken.trajectory.append(Step("lm", 0.5, worst, lost))
    kept = estimate(1, covariance=torch.full((6, 6), worst), residual=np.float32(0.5))
    path = tmp_path / "poses.json"
    write_poses(path, [(queries[0], broken), (queries[1], kept)], RUN)
    data = strict(path)
    (frame,), (failed,) = data["frames"], data["failed"]
    assert frame["name"] == "a" and frame["covariance"] is None and frame["residual"] == 0.5
    assert failed["name"] == "b" and failed["transform_matrix"] is None and failed["scene_transform_matrix"] is None
    assert failed["residual"] is None and failed["trajectory"][-1]["loss"] is None
    assert failed["trajectory"][-1]["transform_matrix"] is None and failed["trajectory"][0]["loss"] == 0.5
    again = read_queries(path, TURNED)  # a photo whose pose was not found is still a photo
    assert [(query.name, query.start is None) for query in again] == [("a", False), ("b", True)]
    assert list(read_poses(path)) == ["a"]


def test_lenses_of_two_projections_are_named_per_frame(tmp_path: Path):
    paths = [photo(tmp_path / "a.png"), photo(tmp_path / "b.png")]
    pair = [
        read_queries(path, TURNED, QueryConfig(lens=LensConfig(fl_x=20.0, camera_model=model)))[0]
        for path, model in zip(paths, ("OPENCV", "OPENCV_FISHEYE"), strict=True)
    ]
    write_poses(tmp_path / "poses.json", [(query, estimate()) for query in pair], RUN)
    data = strict(tmp_path / "poses.json")
    assert "camera_model" not in data
    assert [frame["camera_model"] for frame in data["frames"]] == ["OPENCV", "OPENCV_FISHEYE"]
    assert int(read_queries(tmp_path / "poses.json", TURNED)[1].camera.camera_type) == 2


def test_what_is_said_of_a_run(tiny_run):
    from nerfseg_plugins.scene.run import load_run

    run = load_run(tiny_run.config)
    info = RunInfo.of(run)
    assert (info.method, info.step, info.load_config) == ("instance-nerf-tiny", 229, tiny_run.config)
    points = np.array([[0.1, 0.2, 0.3]])
    np.testing.assert_allclose((points @ info.transform[:, :3].T + info.transform[:, 3]) * info.scale,
                               run.to_scene_frame(points))  # fmt: skip


def test_overlays_by_hand():
    photo_, rendering = torch.ones(2, 3, 3), torch.zeros(2, 3, 3)
    picture = overlay(photo_, rendering)
    assert picture.dtype == np.uint8 and picture.shape == (2, 3, 3) and np.unique(picture).tolist() == [77]  # 76.5
    assert np.unique(overlay(photo_.numpy(), rendering, weight=1.0)).tolist() == [255]
    assert np.unique(overlay(rendering, 2 * photo_, weight=0.0)).tolist() == [255]  # clipped, not wrapped
    assert np.unique(overlay(photo_ * float("nan"), rendering)).tolist() == [0]
    with pytest.raises(InputError, match=r"\(2, 3, 3\) cannot be laid over a rendering of shape \(3, 3, 3\)"):
        overlay(photo_, torch.zeros(3, 3, 3))


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_plot_of_losses(tmp_path: Path, queries: list[Query], suffix: str):
    path = tmp_path / f"plots/convergence{suffix}"
    convergence_plot(path, [(queries[0], estimate())])
    assert list(path.parent.iterdir()) == [path] and path.stat().st_size > 1000
    if suffix == ".svg":
        text = path.read_text()
        assert all(f"<!-- {word} -->" in text for word in ("loss", "seconds", "adam", "lm", "converged", "b"))
        assert "rotation error" not in text


def test_a_plot_with_truths(tmp_path: Path, queries: list[Query]):
    path = tmp_path / "convergence.svg"
    truths = [torch.from_numpy(pose(0)[:3]).float(), None]
    # Loss and pose are lost on the way, and one photo has no steps at all.
    lost = estimate(1, False)
    lost.trajectory[1] = Step("adam", 0.2, float("nan"), torch.full((3, 4), float("nan")))
    convergence_plot(path, [(queries[0], estimate(0)), (queries[1], lost)], truths)
    text = path.read_text()
    words = ("rotation error (degrees)", "translation error (scene units)", "iteration", "5°", "0.05", "2 photos")
    assert all(f"<!-- {word} -->" in text for word in (*words, "converged", "not converged"))
    convergence_plot(path, [(queries[0], estimate(0)), (queries[1], estimate(trajectory=[]))], [truths[0], truths[0]])


@pytest.mark.parametrize("name, steps, said", [("a.bmp", 3, "must end in .png"), ("a.png", 0, "has a trajectory")])
def test_plots_that_cannot_be_made(tmp_path: Path, queries: list[Query], name: str, steps: int, said: str):
    shown = estimate()
    shown.trajectory = shown.trajectory[:steps]
    with pytest.raises(InputError, match=said) as caught:
        convergence_plot(tmp_path / name, [(queries[0], shown)])
    assert str(tmp_path / name) in str(caught.value) and not (tmp_path / name).exists()


def test_only_the_plot_loads_matplotlib():
    code = "import sys, nerfseg_plugins.inerf.output.report; print('loaded', 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "loaded False" in done.stdout


def test_a_plot_leaves_no_figure_open(tmp_path: Path, queries: list[Query]):
    import matplotlib.pyplot

    convergence_plot(tmp_path / "a.png", [(queries[0], estimate())])
    assert matplotlib.pyplot.get_fignums() == []
