"""Pictures from many cameras, several at once."""

from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from nerfseg_plugins import compat
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.model import ImageBasedModel, ImageBasedModelConfig
from nerfseg_plugins.image_based.rendering import ViewsInMemory, path_cameras, render_cameras, to_bytes
from nerfseg_plugins.image_based.views import SourceViews


class Directions(ImageBasedModel):
    """A ray's colour is where it goes; its depth is the mean brightness of the source views."""

    def populate_modules(self) -> None:
        super().populate_modules()
        self.gain = torch.nn.Parameter(torch.ones(()))
        self.rendered: list[int] = []

    def encode(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3), keepdim=True) * self.gain

    def render(self, rays: RayBundle, views: SourceViews) -> dict[str, Tensor]:
        assert views.maps is not None and rays.fars is not None
        self.rendered.append(len(rays))
        depth = views.maps.mean().expand(len(rays), 1)
        return {"rgb": rays.directions, "depth": depth, "accumulation": rays.fars}


def scene(count: int = 4) -> ViewsInMemory:
    """Views side by side, the image of view i is i / 10 all over."""
    c2w = torch.eye(4)[:3].repeat(1, count, 1, 1)
    c2w[0, :, 0, 3] = torch.arange(count)
    images = (torch.arange(count) / 10).view(1, -1, 1, 1, 1).expand(1, count, 3, 6, 8)
    focal, center = torch.full((1, count, 2), 8.0), torch.tensor([4.0, 3.0]).expand(1, count, 2)
    return ViewsInMemory("row", SourceViews(images, c2w, focal, center, torch.tensor([1.0]), torch.tensor([3.0])))


def make(**options: Any) -> Directions:
    compat.apply()
    config = ImageBasedModelConfig(_target=Directions, **options)
    model = config.setup(scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])), num_train_data=0)
    model.open_scene(scene())
    return model.eval()


def test_the_same_as_one_by_one():
    model = make()
    cameras = scene().cameras
    found = list(render_cameras(model, cameras, ("rgb", "accumulation")))
    assert len(found) == 4 and model.rendered == [4 * 48]
    for index, outputs in enumerate(found):
        one = model.get_outputs_for_camera(cameras[index : index + 1])
        torch.testing.assert_close(outputs["rgb"], one["rgb"])
        assert outputs["accumulation"].shape == (6, 8, 1) and (outputs["accumulation"] == 3).all()


@pytest.mark.parametrize(
    ("chunk", "expected"), [(400, [96, 96]), (192, [48] * 4), (80, [20, 20, 8] * 4), (3, [1] * 192), (4000, [192])]
)
def test_no_more_rays_of_four_views_at_once_than_the_chunk(chunk: int, expected: list[int]):
    model = make()
    assert len(list(render_cameras(model, scene().cameras, chunk=chunk))) == 4
    assert model.rendered == expected


def test_each_camera_has_its_nearest_sources():
    model = make(num_source_views=1)
    c2w = torch.eye(4)[:3].repeat(3, 1, 1)
    c2w[:, 0, 3] = torch.tensor([1.1, 0.9, 3.0])
    cameras = Cameras(c2w, 8.0, 8.0, 4.0, 3.0, 8, 6, camera_type=CameraType.PERSPECTIVE)
    depths = [float(outputs["depth"].mean()) for outputs in render_cameras(model, cameras, ("depth",))]
    assert depths == pytest.approx([0.1, 0.1, 0.3]) and model.rendered == [96, 48]


def test_a_path_has_the_lens_of_the_views():
    path = np.tile(np.eye(4)[:3], (5, 1, 1))
    path[:, 1, 3] = range(5)
    cameras = path_cameras(path, scene().cameras[1:2], scale=0.5)
    assert cameras.shape == (5,)
    assert (int(cameras.width[0]), int(cameras.height[0])) == (4, 3)
    assert [float(value[4]) for value in (cameras.fx, cameras.fy, cameras.cx, cameras.cy)] == [4, 4, 2, 1.5]
    np.testing.assert_allclose(cameras.camera_to_worlds.numpy(), path)
    with pytest.raises(InputError, match=r"--scale 0\.1 .* 1x1 pixels"):
        path_cameras(path, scene().cameras[:1], scale=0.1)


def test_an_output_that_is_not_there():
    with pytest.raises(InputError, match="renders no 'normals'; it has accumulation, depth, rgb"):
        list(render_cameras(make(), scene().cameras, ("normals",)))


def test_views_in_memory_are_views():
    there = scene()
    assert there.take([2]).images[0, 0, 0, 0, 0] == pytest.approx(0.2)
    torch.testing.assert_close(there.cameras.camera_to_worlds, there.views.c2w[0])
    assert float(there.cameras.cx[0]) == 4.0


def test_pictures_as_bytes():
    assert to_bytes(torch.tensor([[[-1.0, 0.5, 2.0]]])).tolist() == [[[0, 128, 255]]]
