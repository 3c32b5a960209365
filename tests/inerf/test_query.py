"""Photos are found and read; their lenses, masks and poses come from where they should."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.inerf.lens import LensConfig, make_camera  # noqa: E402
from nerfseg_plugins.inerf.query import Query, QueryConfig, distinct_names, read_poses, read_queries  # noqa: E402

from .photos import HEIGHT, IDENTITY, LENS, TURNED, WIDTH, photo, pose, transforms  # noqa: E402

SAME = (IDENTITY, 1.0)
FOCAL = QueryConfig(lens=LensConfig(fl_x=20.0))


def test_one_image(tmp_path: Path):
    path = photo(tmp_path / "kitchen.png")
    (query,) = read_queries(path, SAME, FOCAL)
    assert (query.name, query.path, query.start, query.truth) == ("kitchen", path, None, None)
    assert query.image.shape == (HEIGHT, WIDTH, 3) and query.image.dtype == torch.float32
    assert query.mask.shape == (HEIGHT, WIDTH) and query.mask.dtype == torch.bool and bool(query.mask.all())
    assert query.camera.shape == (1,)
    assert (float(query.camera.fx), float(query.camera.cx), float(query.camera.cy)) == (20, WIDTH / 2, HEIGHT / 2)
    assert torch.equal(query.camera.camera_to_worlds[0], torch.eye(4)[:3])


def test_many_images_keep_their_order_and_folders_sort_naturally(tmp_path: Path):
    for name in ("view10.png", "view2.jpg", "view1.JPG"):
        photo(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo")
    photo(tmp_path / ".hidden.png")
    assert [query.name for query in read_queries(tmp_path, SAME, FOCAL)] == ["view1", "view2", "view10"]
    chosen = [tmp_path / "view10.png", tmp_path / "view1.JPG"]
    assert [query.name for query in read_queries(chosen, SAME, FOCAL)] == ["view10", "view1"]


@pytest.mark.parametrize("folder", [False, True])
def test_poses_of_a_transforms_file_are_starts_or_truths(tmp_path: Path, folder: bool):
    path = transforms(tmp_path, ["images/b.png", "images/a.png"])
    source = tmp_path if folder else path
    queries = read_queries(source, SAME)
    assert [query.name for query in queries] == ["a", "b"]
    np.testing.assert_allclose(queries[0].start, pose(1)[:3], atol=1e-6)
    assert queries[0].start.dtype == torch.float32 and queries[0].truth is None
    truths = read_queries(source, SAME, QueryConfig(poses_are="truth"))
    np.testing.assert_allclose(truths[1].truth, pose(0)[:3], atol=1e-6)
    assert truths[1].start is None


def test_poses_are_carried_into_the_scene(tmp_path: Path):
    """By hand: x_scene = 0.5 (R [x, y, z] + [1, 2, 3]), R a quarter turn about z; axes keep their length."""
    photo(tmp_path / "a.png")
    matrix = [[1, 0, 0, 4], [0, 1, 0, 5], [0, 0, 1, 6], [0, 0, 0, 1]]
    (tmp_path / "list.json").write_text(
        json.dumps({**LENS, "frames": [{"file_path": "a.png", "transform_matrix": matrix}]})
    )
    expected = [[0, -1, 0, -2.0], [1, 0, 0, 3.0], [0, 0, 1, 4.5]]
    (query,) = read_queries(tmp_path / "list.json", TURNED)
    np.testing.assert_allclose(query.start, expected, atol=1e-7)
    np.testing.assert_allclose(read_poses(tmp_path / "list.json", TURNED)["a"], expected, atol=1e-7)


def test_rounded_poses_become_rotations(tmp_path: Path):
    path = tmp_path / "starts.json"
    rounded = pose(3).round(2)
    path.write_text(json.dumps({"frames": [{"file_path": "a.png", "transform_matrix": rounded.tolist()}]}))
    assert np.abs(rounded[:3, :3].T @ rounded[:3, :3] - np.eye(3)).max() > 1e-3
    for found in (read_poses(path)["a"], read_poses(path, TURNED)["a"]):
        np.testing.assert_allclose(found[:, :3].T @ found[:, :3], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(read_poses(path)["a"], rounded[:3], atol=0.01)


def test_frames_need_no_pose_and_may_leave_out_the_suffix(tmp_path: Path):
    path = transforms(tmp_path, ["a.png", "b.png"], posed=False)
    meta = json.loads(path.read_text())
    meta["frames"][1]["file_path"] = "./b"
    path.write_text(json.dumps(meta))
    queries = read_queries(path, SAME)
    assert [query.name for query in queries] == ["a", "b"]
    assert all(query.start is None and query.truth is None for query in queries)
    assert float(queries[0].camera.fx) == 20 and float(queries[0].camera.cy) == 6.5


def test_listed_photos_that_do_not_exist_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = transforms(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "b.png").unlink()
    assert [query.name for query in read_queries(path, SAME)] == ["a", "c"]
    assert f"1 of the images that {path} lists do not exist (first: b.png)" in capsys.readouterr().out


def test_a_list_may_name_photos_elsewhere(tmp_path: Path):
    """poses.json lies where results go, not beside the photos."""
    absolute = photo(tmp_path / "camera" / "a.png")
    photo(tmp_path / "camera" / "b.png", seed=1)
    (tmp_path / "results").mkdir()
    path = tmp_path / "results" / "poses.json"
    path.write_text(json.dumps({**LENS, "frames": [{"file_path": str(absolute)}, {"file_path": "../camera/b.png"}]}))
    queries = read_queries(tmp_path / "results", SAME)
    assert sorted(query.name for query in queries) == ["a", "b"]


def test_masks_of_frames_are_used_unless_others_are_given(tmp_path: Path):
    path = transforms(tmp_path, ["a.png"])
    meta = json.loads(path.read_text())
    meta["frames"][0]["mask_path"] = "own/a.png"
    path.write_text(json.dumps(meta))
    (tmp_path / "own").mkdir()
    left = np.zeros((HEIGHT, WIDTH), np.uint8)
    left[:, :8] = 255
    Image.fromarray(left).save(tmp_path / "own" / "a.png")
    Image.fromarray(255 - left).save(tmp_path / "other.png")
    assert torch.equal(read_queries(path, SAME)[0].mask, torch.from_numpy(left > 0))
    other = read_queries(path, SAME, QueryConfig(masks=tmp_path / "other.png"))[0].mask
    assert torch.equal(other, torch.from_numpy(left == 0))


def test_photos_are_reduced_with_their_lens_and_mask(tmp_path: Path):
    """50x30 to at most 24: 24x14, and the lens by the sizes found, not by one factor."""
    path = photo(tmp_path / "a.png", 50, 30)
    mask = np.ones((30, 50), np.uint8)
    mask[:, 25:] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    lens = LensConfig(fl_x=40.0, fl_y=30.0, cx=20.0, cy=10.0, k1=0.1)
    (query,) = read_queries(path, SAME, QueryConfig(lens=lens, masks=tmp_path / "mask.png", max_side=24))
    assert query.image.shape == (14, 24, 3) and query.mask.shape == (14, 24)
    camera = query.camera
    assert (int(camera.width), int(camera.height)) == (24, 14)
    assert [float(camera.fx), float(camera.fy)] == pytest.approx([40 * 24 / 50, 30 * 14 / 30])
    assert [float(camera.cx), float(camera.cy)] == pytest.approx([20 * 24 / 50, 10 * 14 / 30])
    assert camera.distortion_params.tolist() == [pytest.approx([0.1, 0, 0, 0, 0, 0])]
    # Pixel 10 ends at 11 * 50 / 24 = 22.9 and its filter reaches half a pixel further, to 23.96; pixel 11's to 26.04.
    assert bool(query.mask[:, :11].all()) and not bool(query.mask[:, 11:].any())
    assert read_queries(path, SAME, QueryConfig(lens=lens, max_side=50))[0].image.shape == (30, 50, 3)


def test_start_files_win_over_listed_poses_and_leave_truths(tmp_path: Path):
    path = transforms(tmp_path, ["images/a.png", "images/b.png"])
    starts = tmp_path / "starts.json"
    frames = [{"file_path": f"elsewhere/{name}", "transform_matrix": pose(seed).tolist()} for name, seed in
              (("b.jpg", 7), ("a", 8), ("unused.png", 9))]  # fmt: skip
    starts.write_text(json.dumps({"frames": frames}))
    queries = read_queries(path, SAME, QueryConfig(start=starts))
    np.testing.assert_allclose(queries[0].start, pose(8)[:3], atol=1e-6)
    assert queries[0].truth is None
    queries = read_queries(path, SAME, QueryConfig(start=starts, poses_are="truth"))
    np.testing.assert_allclose(queries[1].start, pose(7)[:3], atol=1e-6)
    np.testing.assert_allclose(queries[1].truth, pose(1)[:3], atol=1e-6)


def test_two_photos_of_one_name_get_names_of_their_own(tmp_path: Path):
    paths = [photo(tmp_path / folder / "a.png", seed=index) for index, folder in enumerate(("x", "y", "z"))]
    queries = read_queries(paths, SAME, FOCAL)
    assert [query.name for query in queries] == ["a", "a-2", "a-3"]
    assert [query.path for query in queries] == paths


def test_names_are_safe_as_file_names():
    paths = [Path(name) for name in ("my photo (1).jpg", "my photo [1].jpg", "été.v2.png", "A.png", "a.png", "_.png")]
    assert distinct_names(paths) == ["my_photo_1", "my_photo_1-2", "été_v2", "A", "a-2", "photo"]
    assert distinct_names([Path("a-2.png"), Path("a.png"), Path("b/a.png")]) == ["a-2", "a", "a-3"]


def test_directions_are_those_of_the_pixel_centres():
    """A pinhole by hand: column 2 of 4 with its centre at 2.5, half a pixel right of the axis, f = 5 -> x = 0.1."""
    camera = make_camera(_lens(4, 3, fx=5, fy=10, cx=2, cy=1))
    directions = _query(camera).directions
    assert directions.shape == (3, 4, 3)
    expected = np.array([0.1, 0.05, -1])  # row 0 lies above the axis: y is up
    np.testing.assert_allclose(directions[0, 2], expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_allclose(directions.norm(dim=-1), 1, atol=1e-6)


def test_directions_are_free_of_distortion():
    """Points thrown onto the image by OpenCV come back, for both of its models."""
    import cv2

    points = np.random.default_rng(0).uniform(-0.4, 0.4, (12, 2))
    matrix = np.array([[30.0, 0, 8], [0, 32.0, 6], [0, 0, 1]])
    solid = np.concatenate([points, np.ones((12, 1))], axis=1)
    for model, coefficients, project in (
        ("OPENCV", (0.08, -0.05, 0.0, 0.0, 0.002, -0.001), cv2.projectPoints),
        ("OPENCV_FISHEYE", (0.08, -0.05, 0.01, 0.002, 0.0, 0.0), cv2.fisheye.projectPoints),
    ):
        k1, k2, k3, k4, p1, p2 = coefficients
        own = np.array([k1, k2, k3, k4] if model == "OPENCV_FISHEYE" else [k1, k2, p1, p2, k3])
        turn = np.zeros(3)
        if model == "OPENCV":
            pixels = project(solid, turn, turn, matrix, own)[0][:, 0]
        else:
            pixels = project(solid[:, None], turn, turn, matrix, own)[0][:, 0]
        camera = make_camera(_lens(16, 12, fx=30, fy=32, cx=8, cy=6, distortion=coefficients, model=model))
        rays = camera.generate_rays(0, coords=torch.from_numpy(pixels[:, ::-1].copy()).float())
        assert rays.directions.shape == (12, 3)
        expected = solid * [1, -1, -1]  # OpenCV looks along +z with y down
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(rays.directions, expected, atol=1e-4)
        # and the whole image agrees with single rays
        whole = _query(camera).directions
        single = camera.generate_rays(0, coords=torch.tensor([[3.5, 11.5]])).directions
        np.testing.assert_allclose(whole[3, 11], single[0], atol=1e-6)


def test_a_fisheye_looks_ahead_at_its_axis():
    camera = make_camera(_lens(5, 3, fx=4, fy=4, cx=2.5, cy=1.5, model="OPENCV_FISHEYE"))
    assert not bool(camera.generate_rays(0, keep_shape=True).directions[1, 2].isfinite().all())  # why it is mended
    directions = _query(camera).directions
    assert directions[1, 2].tolist() == [0, 0, -1] and bool(directions.isfinite().all())
    np.testing.assert_allclose(directions[1, 3], [np.sin(0.25), 0, -np.cos(0.25)], atol=1e-6)


def test_a_real_capture(tmp_path: Path):
    """The phone capture as published: distorted lens, and images that do not exist."""
    default = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("NERFSEG_DATA") or default).resolve() / "fox"
    if not folder.is_dir():
        pytest.skip(f"no real capture in {folder} (set NERFSEG_DATA)")
    queries = read_queries(folder, SAME)
    assert len(queries) == 50 and queries[0].name == "0001"
    camera = queries[0].camera
    assert camera.distortion_params.shape == (1, 6) and float(camera.fx) == pytest.approx(343.88)
    assert queries[0].directions.shape == (480, 270, 3)
    (alone,) = read_queries(
        shutil.copy(folder / "images" / "0001.jpg", tmp_path),
        SAME,
        QueryConfig(lens=LensConfig(like_run=True), max_side=240),
        run_cameras=camera,
    )
    assert alone.image.shape == (240, 135, 3) and float(alone.camera.fx) == pytest.approx(343.88 / 2)


def _lens(width: int, height: int, fx: float, fy: float, cx: float, cy: float, distortion=(0.0,) * 6, model="OPENCV"):
    from nerfseg_plugins.dataparsers.frame_values import Intrinsics

    return Intrinsics(fx, fy, cx, cy, width, height, distortion, model)


def _query(camera) -> Query:
    height, width = int(camera.height), int(camera.width)
    return Query("a", Path("a.png"), torch.zeros(height, width, 3), torch.ones(height, width, dtype=torch.bool), camera)
