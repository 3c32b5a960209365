"""The visual hull of masks, as a test of cameras."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from nerfseg_plugins.dataparsers.dvr import DVRDataParserConfig
from nerfseg_plugins.dataparsers.foreground_files import read_foreground
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation.visual_hull import carve_hull, draw_voxels, hull_iou
from nerfseg_plugins.rooms.generate import write_many

SCAN = Path(os.environ.get("NERFSEG_DATA") or Path(__file__).parents[3] / "shared" / "data") / "dtu_scan37"
BOX = np.array([[-1.0] * 3, [1.0] * 3])


def orbit(count: int, width: int = 60, height: int = 50, focal: float = 70.0, distance: float = 4.0) -> Cameras:
    """Cameras in many directions from the origin, looking at it."""
    rng = np.random.default_rng(2)
    poses = []
    for _ in range(count):
        back = rng.normal(size=3)
        back /= np.linalg.norm(back)
        right = np.cross([0.0, 0.0, 1.0], back)
        right /= np.linalg.norm(right)
        poses.append(np.stack([right, np.cross(back, right), back, distance * back], axis=1))
    return Cameras(
        camera_to_worlds=torch.tensor(np.stack(poses), dtype=torch.float32),
        fx=focal,
        fy=focal,
        cx=width / 2,
        cy=height / 2,
        width=width,
        height=height,
        camera_type=CameraType.PERSPECTIVE,
    )


def ball_masks(cameras: Cameras, centre: np.ndarray, radius: float) -> np.ndarray:
    """(N, H, W) bool: rays of the pixels' centres that hit a ball."""
    masks = []
    for index in range(len(cameras)):
        height, width = int(cameras.height[index]), int(cameras.width[index])
        v, u = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
        local = np.stack([u - width / 2, height / 2 - v, np.full_like(u, -float(cameras.fx[index]))], axis=-1)
        c2w = cameras.camera_to_worlds[index].double().numpy()
        rays = local @ c2w[:, :3].T
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        offset = centre - c2w[:, 3]
        along = rays @ offset
        masks.append(offset @ offset - along**2 < radius**2)
    return np.stack(masks)


def test_a_ball_is_carved():
    cameras, centre = orbit(30, 180, 150, 210.0), np.array([0.2, -0.1, 0.1])
    masks = ball_masks(cameras, centre, 0.5)
    points, side = carve_hull(cameras, masks, BOX, 40)
    assert side == pytest.approx(0.05)
    distance = np.linalg.norm(points - centre, axis=1)
    assert distance.max() < 0.65
    ball = 4 / 3 * np.pi * 0.5**3
    # A hull of 30 views is a little larger than its object, but for a pixel at its edge.
    assert 0.95 * ball < len(points) * side**3 < 1.15 * ball
    assert hull_iou(cameras, masks, BOX, 40).min() > 0.95


def test_wrong_cameras_show():
    cameras = orbit(30)
    masks = ball_masks(cameras, np.zeros(3), 0.5)
    right = hull_iou(cameras, masks, BOX, 40).mean()
    moved = cameras[torch.arange(30)]
    moved.camera_to_worlds = cameras.camera_to_worlds + torch.randn(
        30, 3, 4, generator=torch.Generator().manual_seed(1)
    ) * (torch.tensor([0.0, 0, 0, 0.1]))
    mirrored = cameras[torch.arange(30)]
    mirrored.camera_to_worlds = cameras.camera_to_worlds * torch.tensor([1.0, -1, -1, 1])  # OpenCV read as OpenGL
    assert hull_iou(moved, masks, BOX, 40).mean() < right - 0.1
    assert hull_iou(mirrored, masks, BOX, 40).mean() < 0.05


def test_carving_by_brute_force():
    cameras = orbit(4, 20, 16, 22.0)
    masks = ball_masks(cameras, np.array([0.3, 0.0, 0.0]), 0.6)
    expected = []
    for x in np.arange(-0.875, 1, 0.25):
        for y in np.arange(-0.875, 1, 0.25):
            for z in np.arange(-0.875, 1, 0.25):
                seen, kept = 0, True
                for view in range(4):
                    world = np.eye(4)
                    world[:3] = cameras.camera_to_worlds[view].double().numpy()
                    right, up, back, _ = np.linalg.inv(world) @ [x, y, z, 1]
                    column, row = int(np.floor(10 + 22 * right / -back)), int(np.floor(8 - 22 * up / -back))
                    if 0 <= column < 20 and 0 <= row < 16:
                        seen += 1
                        kept = kept and bool(masks[view, row, column])
                if kept and seen >= 2:
                    expected.append((x, y, z))
    points, _ = carve_hull(cameras, masks, BOX, 8)
    assert len(expected) > 20 and sorted(map(tuple, points.tolist())) == sorted(expected)


def test_voxels_as_squares():
    camera = Cameras(
        camera_to_worlds=torch.eye(4)[None, :3],  # at the origin, looking along -z
        fx=10.0,
        fy=10.0,
        cx=4.0,
        cy=3.0,
        width=8,
        height=6,
        camera_type=CameraType.PERSPECTIVE,
    )
    # At depth 10 a voxel of side 2 is 2 pixels wide: columns 3 and 4 around x = 4, rows 2 and 3 around y = 3.
    image = draw_voxels(camera, 0, np.array([[0.0, 0.0, -10.0]]), 2.0)
    assert np.argwhere(image).tolist() == [[2, 3], [2, 4], [3, 3], [3, 4]]
    # One to the right and up: x = 5, y = 2.
    image = draw_voxels(camera, 0, np.array([[1.0, 1.0, -10.0]]), 2.0)
    assert np.argwhere(image).tolist() == [[1, 4], [1, 5], [2, 4], [2, 5]]
    # A tiny voxel fills the pixel that it is in; behind the camera and outside the image nothing is drawn.
    assert np.argwhere(draw_voxels(camera, 0, np.array([[0.6, -0.3, -10.0]]), 1e-3)).tolist() == [[3, 4]]
    outside = np.array([[0.0, 0.0, 10.0], [9.0, 0.0, -10.0], [0.0, -20.0, -10.0]])
    assert not draw_voxels(camera, 0, outside, 2.0).any()
    assert draw_voxels(camera, 0, np.array([[0.0, 0.0, -1.0]]), 9.0).all()  # larger than the image
    assert not draw_voxels(camera, 0, np.zeros((0, 3)), 1.0).any()


def test_boxes_with_unequal_sides():
    cameras = orbit(6)
    masks = np.ones((6, 50, 60), dtype=bool)
    points, side = carve_hull(cameras, masks, np.array([[0.0, 0, 0], [0.4, 0.2, 0.1]]), 8)
    assert side == pytest.approx(0.05) and len(points) == 8 * 4 * 2
    assert np.allclose(points.min(0), 0.025) and np.allclose(points.max(0), [0.375, 0.175, 0.075])


def test_a_written_chair(tmp_path):
    write_many(tmp_path / "data", "dvr", 1, (1, 0, 0), 16, 64, 64)
    outputs = DVRDataParserConfig(data=tmp_path / "data").setup().get_dataparser_outputs("train")
    masks = np.stack([read_foreground(path) for path in outputs.metadata["foreground_filenames"]])
    iou = hull_iou(outputs.cameras, masks, BOX, 80)
    assert iou.shape == (16,) and iou.mean() > 0.9
    shuffled = np.roll(masks, 1, axis=0)  # each camera with another's mask
    assert hull_iou(outputs.cameras, shuffled, BOX, 80).mean() < 0.5


@pytest.mark.skipif(not SCAN.is_dir(), reason="there is no dtu_scan37 (set NERFSEG_DATA)")
def test_a_real_scan():
    outputs = DVRDataParserConfig(data=SCAN).setup().get_dataparser_outputs("train")
    masks = np.stack([read_foreground(path, (300, 400)) for path in outputs.metadata["foreground_filenames"]])
    assert hull_iou(outputs.cameras, masks, BOX, 64).mean() >= 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masks": np.zeros((3, 50, 60))}, "masks are float64 of shape"),
        ({"masks": np.zeros((2, 50, 60), dtype=bool)}, "give 3 bool masks"),
        ({"masks": np.zeros((3, 60, 50), dtype=bool)}, "camera 0 has 60x50 pixels but the masks 50x60; scale one"),
        ({"box": BOX[::-1]}, "give two corners"),
        ({"box": BOX[0]}, "give two corners"),
        ({"resolution": 0}, "and resolution 0; give two corners and 1 or more voxels"),
    ],
)
def test_what_does_not_fit_together(change, message):
    arguments = {"masks": np.zeros((3, 50, 60), dtype=bool), "box": BOX, "resolution": 4, **change}
    with pytest.raises(InputError, match=message):
        hull_iou(orbit(3), **arguments)


def test_masks_without_an_object():
    masks = np.zeros((3, 50, 60), dtype=bool)
    assert hull_iou(orbit(3), masks, BOX, 4).tolist() == [1, 1, 1]  # nothing, and nothing is seen
    masks[0] = True
    assert hull_iou(orbit(3), masks, BOX, 4).tolist() == [0, 1, 1]
