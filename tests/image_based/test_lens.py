"""Undistorting, against OpenCV and against nerfstudio's rays."""

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.lens import FISHEYE, PERSPECTIVE, check_lens, distort, sampled, undistortion

FOCAL, CENTER, SIZE = (40.0, 44.0), (31.0, 26.0), (50, 60)
K1, K2, P1, P2 = -0.12, 0.05, 0.004, -0.003


def test_lenses_as_opencv_has_them():
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (20, 2))
    in_space = np.concatenate([points, np.ones((20, 1))], axis=1)
    nowhere, plain = np.zeros(3), np.eye(3)
    theirs, _ = cv2.projectPoints(in_space, nowhere, nowhere, plain, np.array([K1, K2, P1, P2]))
    ours = distort(torch.from_numpy(points), PERSPECTIVE, torch.tensor([K1, K2, 0, 0, P1, P2]))
    np.testing.assert_allclose(ours.numpy(), theirs[:, 0], atol=1e-6)
    theirs, _ = cv2.fisheye.projectPoints(in_space[None], nowhere, nowhere, plain, np.zeros(4))
    np.testing.assert_allclose(distort(torch.from_numpy(points), FISHEYE, torch.zeros(6)), theirs[0], atol=1e-6)


@pytest.mark.parametrize("kind", [CameraType.PERSPECTIVE, CameraType.FISHEYE])
def test_a_pixel_of_the_pinhole_image_sees_what_its_ray_sees(kind: CameraType):
    """The ray of nerfstudio through where the pixel comes from has the direction of the pinhole pixel."""
    distortion = torch.tensor([K1, K2, 0.01, 0.0, P1, P2])
    grid = undistortion(SIZE, SIZE, torch.tensor(FOCAL), torch.tensor(CENTER), kind.value, distortion)
    camera = Cameras(torch.eye(4)[None, :3], *(torch.tensor([value]) for value in (*FOCAL, *CENTER)), SIZE[1], SIZE[0])
    camera.camera_type, camera.distortion_params = torch.tensor([[kind.value]]), distortion[None]
    for row, column in ((3, 7), (25, 30), (40, 52)):
        place = (grid[row, column] + 1) / 2 * torch.tensor([SIZE[1], SIZE[0]])
        ray = camera.generate_rays(torch.tensor([[0]]), coords=place.flip(0)[None]).directions[0]
        expected = torch.tensor(
            [(column + 0.5 - CENTER[0]) / FOCAL[0], -(row + 0.5 - CENTER[1]) / FOCAL[1], -1.0], dtype=torch.float32
        )
        torch.testing.assert_close(ray / -ray[2], expected, atol=1e-4, rtol=0)


def test_maps_of_other_resolutions_span_the_same_image():
    lens = torch.tensor(FOCAL), torch.tensor(CENTER), PERSPECTIVE, torch.tensor([K1, K2, 0, 0, P1, P2])
    fine, coarse = undistortion(SIZE, (50, 60), *lens), undistortion(SIZE, (5, 6), *lens)
    means = fine.view(5, 10, 6, 10, 2).mean(dim=(1, 3))
    torch.testing.assert_close(coarse, means, atol=5e-3, rtol=0)


def test_nothing_changes_without_distortion():
    image = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    grid = undistortion(SIZE, SIZE, torch.tensor(FOCAL), torch.tensor(CENTER), PERSPECTIVE, torch.zeros(6))
    np.testing.assert_array_equal(sampled(image, grid), image)


def test_cameras_that_are_no_photos_are_refused():
    with pytest.raises(InputError, match="attic has equirectangular cameras"):
        check_lens(CameraType.EQUIRECTANGULAR.value, "attic")
