"""Intrinsics come from options, the run or a list, in that order; contradictions are refused."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from nerfseg_plugins.dataparsers.frame_values import Intrinsics
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.inerf.lens import LensConfig, common_lens, find_lens, focal_of_fov, lens_of, make_camera, rescaled

from .photos import LENS, photo

RUN = Intrinsics(100.0, 110.0, 60.0, 40.0, 128, 96, (0.1, 0.0, 0.0, 0.0, 0.0, 0.0), "OPENCV")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A photo of 16x12 pixels."""
    return photo(tmp_path / "a.png")


def test_options_win_over_what_is_listed(image: Path):
    lens = find_lens(image, LENS, "frame 0", LensConfig(fl_x=5.0, k1=0.2, p2=0.1, camera_model="OPENCV_FISHEYE"))
    assert lens == Intrinsics(5.0, 5.0, 8.0, 6.0, 16, 12, (0.2, 0, 0, 0, 0, 0.1), "OPENCV_FISHEYE")
    assert find_lens(image, LENS, "frame 0", LensConfig()).fx == 20
    assert find_lens(image, {}, "", LensConfig(fl_y=7.0)).fx == 7
    assert find_lens(image, LENS, "", LensConfig(like_run=True), RUN).fx == 100 * 16 / 128


@pytest.mark.parametrize(
    "model, fov, width, focal",
    [
        ("OPENCV", 90.0, 16, 8.0),  # tan 45 degrees = 1
        ("PINHOLE", 2 * math.degrees(math.atan(0.5)), 16, 16.0),
        ("OPENCV_FISHEYE", 180.0, 100, 100 / math.pi),  # the edge stands at half of pi
        ("EQUIRECTANGULAR", 360.0, 100, 50.0),  # nerfstudio's convention: half of the width
    ],
)
def test_focal_lengths_of_fields_of_view(model: str, fov: float, width: int, focal: float):
    assert focal_of_fov(fov, width, model) == pytest.approx(focal)


@pytest.mark.parametrize("model", ["OPENCV", "OPENCV_FISHEYE", "EQUIRECTANGULAR"])
def test_the_edges_stand_at_half_the_field_of_view(model: str):
    fov = 80.0
    focal = focal_of_fov(fov, 64, model)
    camera = make_camera(Intrinsics(focal, focal, 32.0, 32.0, 64, 64, (0.0,) * 6, model))
    vertical = 0.0 if model == "EQUIRECTANGULAR" else 32.0
    if model == "EQUIRECTANGULAR":
        camera.cy = torch.tensor([[0.0]])  # row 0 is the horizon
    direction = camera.generate_rays(0, coords=torch.tensor([[vertical, 64.0]])).directions[0]
    assert abs(math.degrees(math.atan2(abs(float(direction[0])), -float(direction[2])))) == pytest.approx(40, abs=0.01)


@pytest.mark.parametrize("fov, model", [(0, "OPENCV"), (180, "OPENCV"), (-5, "OPENCV"), (361, "OPENCV_FISHEYE")])
def test_fields_of_view_that_are_none(image: Path, fov: float, model):
    with pytest.raises(InputError, match=f"a fov of {fov} degrees; {model} photos see"):
        find_lens(image, {}, "", LensConfig(fov=fov, camera_model=model))


@pytest.mark.parametrize(
    "config, said",
    [
        (LensConfig(fl_x=5.0, fov=60.0), "both fov and fl_x"),
        (LensConfig(fl_x=5.0, like_run=True), "like_run beside"),
        (LensConfig(k1=0.1), "k1 but no focal length"),
        (LensConfig(camera_model="OPENCV_FISHEYE", like_run=True), "camera_model but no focal length"),
    ],
)
def test_options_that_contradict_each_other(image: Path, config: LensConfig, said: str):
    with pytest.raises(InputError, match=said):
        find_lens(image, LENS, "frame 0", config, RUN)


def test_a_focal_length_that_is_none(image: Path):
    with pytest.raises(InputError, match="correct fl_x or camera_angle_x") as caught:
        find_lens(image, {}, "", LensConfig(fl_x=-3.0))
    assert str(image) in str(caught.value)


@pytest.mark.parametrize("size, fits", [((64, 48), True), ((256, 192), True), ((127, 96), True), ((120, 96), False),
                                        ((96, 128), False)])  # fmt: skip
def test_the_runs_lens_fits_photos_of_its_shape(tmp_path: Path, size: tuple[int, int], fits: bool):
    path = photo(tmp_path / "b.png", *size)
    config = LensConfig(like_run=True)
    if not fits:
        with pytest.raises(InputError) as caught:
            find_lens(path, {}, "", config, RUN)
        message = str(caught.value)
        assert message.startswith(f"{path} is {size[0]}x{size[1]} pixels, of another shape") and "128x96" in message
        assert "fov" in message
        return
    lens = find_lens(path, {}, "", config, RUN)
    assert (lens.width, lens.height) == size and lens.distortion == RUN.distortion
    assert lens.fx == pytest.approx(100 * size[0] / 128) and lens.cy == pytest.approx(40 * size[1] / 96)


def test_like_run_without_a_run(image: Path):
    with pytest.raises(InputError, match="there is no run") as caught:
        find_lens(image, LENS, "", LensConfig(like_run=True))
    assert str(image) in str(caught.value)


def cameras(focals: list[float], **other) -> Cameras:
    """Cameras of 20x10 pixels."""
    count = len(focals)
    values = {"fy": 10.0, "cx": 10.0, "cy": 5.0, "width": 20, "height": 10, **other}
    return Cameras(torch.eye(4)[None, :3].expand(count, 3, 4), torch.tensor(focals)[:, None], **values)


def test_the_lens_that_cameras_share():
    lens = common_lens(cameras([20.0, 20.1, 19.98]))
    assert lens == Intrinsics(pytest.approx(20.0), 10.0, 10.0, 5.0, 20, 10, (0.0,) * 6, "OPENCV")


def test_lenses_of_two_sizes_are_one():
    both = cameras([20.0, 40.0], fy=torch.tensor([[10.0], [20.0]]), cx=torch.tensor([[10.0], [20.0]]),
                   cy=torch.tensor([[5.0], [10.0]]), width=torch.tensor([[20], [40]]),
                   height=torch.tensor([[10], [20]]))  # fmt: skip
    assert common_lens(both).fx == 20


@pytest.mark.parametrize(
    "different",
    [
        cameras([20.0, 25.0]),
        cameras([20.0] * 2, camera_type=[CameraType.PERSPECTIVE, CameraType.FISHEYE]),
        cameras([20.0] * 2, distortion_params=torch.tensor([[0.0] * 6, [0.3] + [0.0] * 5])),
        cameras([20.0] * 2, height=torch.tensor([[10], [15]]), fy=torch.tensor([[10.0], [15.0]]),
                cy=torch.tensor([[5.0], [7.5]])),
    ],
)  # fmt: skip
def test_lenses_that_differ(different: Cameras):
    with pytest.raises(InputError, match="photos of different lenses; give fl_x or fov"):
        common_lens(different)


@pytest.mark.parametrize("model", ["OPENCV", "OPENCV_FISHEYE", "EQUIRECTANGULAR"])
def test_lenses_survive_nerfstudios_cameras(model: str):
    lens = Intrinsics(343.88, 343.6225, 138.6395, 241.317, 270, 480, (0.0578421, -0.08, 0, 0, -1e-3, 2e-4), model)
    assert lens_of(make_camera(lens)) == lens
    plain = Intrinsics(343.88, 343.6225, 138.6395, 241.317, 270, 480, (0.0,) * 6, model)
    assert make_camera(plain).distortion_params is None and lens_of(make_camera(plain)) == plain


def test_projections_that_photos_here_cannot_have():
    with pytest.raises(InputError, match="ORTHOPHOTO cannot be inverted"):
        lens_of(cameras([20.0], camera_type=CameraType.ORTHOPHOTO))


def test_rescaling_goes_by_both_sides():
    lens = rescaled(RUN, 64, 32)
    np.testing.assert_allclose([lens.fx, lens.fy, lens.cx, lens.cy], [50, 110 / 3, 30, 40 / 3])
    assert (lens.width, lens.height, lens.distortion) == (64, 32, RUN.distortion)
