"""The base of image-based models: opening scenes, choosing and encoding views, rendering in chunks."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from nerfseg_plugins import compat
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.model import ImageBasedModel, ImageBasedModelConfig, bounded, mean_pose
from nerfseg_plugins.image_based.views import SourceViews


class Counting(ImageBasedModel):
    """A ray's colour is the number of source views, the scene's brightness, and the middle of its bounds."""

    def populate_modules(self) -> None:
        super().populate_modules()
        self.gain = torch.nn.Parameter(torch.ones(()))
        self.encoded: list[int] = []
        self.rendered: list[int] = []

    def encode(self, images: Tensor) -> Tensor:
        self.encoded.append(len(images))
        return images.mean((1, 2, 3), keepdim=True) * self.gain

    def render(self, rays: RayBundle, views: SourceViews) -> dict[str, Tensor]:
        assert views.maps is not None and rays.nears is not None and rays.fars is not None
        self.rendered.append(len(rays))
        each = len(rays) // views.num_scenes
        brightness = views.maps.mean((1, 2, 3, 4)).repeat_interleave(each)[:, None]
        rgb = torch.cat([torch.full_like(brightness, views.num_views), brightness, (rays.nears + rays.fars) / 2], 1)
        return {"rgb": rgb, "depth": brightness, "accumulation": torch.ones_like(brightness)}


class Row:
    """Views side by side; the image of view i is i / 10 all over."""

    def __init__(self, count: int, name: str = "row", near: float = 1.0, far: float = 3.0) -> None:
        c2w = torch.eye(4)[:3].repeat(count, 1, 1)
        c2w[:, 0, 3] = torch.arange(count)
        self.cameras = Cameras(c2w, 8.0, 8.0, 4.0, 3.0, 8, 6, camera_type=CameraType.PERSPECTIVE)
        self.name, self.background, self.bounds = name, (1.0, 1.0, 1.0), (near, far)

    def take(self, indices: Sequence[int]) -> SourceViews:
        chosen = torch.tensor(list(indices))
        return SourceViews(
            images=(chosen / 10).reshape(1, -1, 1, 1, 1).expand(1, -1, 3, 6, 8),
            c2w=self.cameras.camera_to_worlds[chosen][None],
            focal=torch.full((1, len(chosen), 2), 8.0),
            center=torch.tensor([4.0, 3.0]).expand(1, len(chosen), 2),
            near=torch.tensor([self.bounds[0]]),
            far=torch.tensor([self.bounds[1]]),
        )


def make(**options: Any) -> Counting:
    """A model in evaluation mode."""
    compat.apply()
    config = ImageBasedModelConfig(_target=Counting, **options)
    model = config.setup(scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])), num_train_data=0)
    return model.eval()


def rays_from(x: float, count: int = 5) -> RayBundle:
    """Rays along -z from (x, 0, 0)."""
    return RayBundle(
        origins=torch.tensor([[x, 0.0, 0.0]]).repeat(count, 1),
        directions=torch.tensor([[0.0, 0.0, -1.0]]).repeat(count, 1),
        pixel_area=torch.ones(count, 1),
    )


def test_renders_from_the_nearest_views_and_encodes_each_once():
    model = make(num_source_views=2)
    model.open_scene(Row(6))
    assert model(rays_from(4.2))["rgb"][0].tolist() == pytest.approx([2, 0.45, 2.0])  # views 4 and 5
    assert model(rays_from(2.9))["rgb"][0].tolist() == pytest.approx([2, 0.25, 2.0])  # views 3 and 2
    assert model(rays_from(4.4))["rgb"][0, 1].item() == pytest.approx(0.45)
    assert model.encoded == [1, 1, 1, 1]


def test_kept_encodings_are_bounded():
    model = make(num_source_views=1, encoded_views=2)
    model.open_scene(Row(6))
    for x in (0, 1, 0, 2, 0, 1):  # 0 is used again and again and stays; 1 is let go for 2
        model(rays_from(x))
    assert model.encoded == [1] * 4


def test_all_views_without_a_number():
    model = make()
    model.open_scene(Row(6))
    assert model(rays_from(0.0))["rgb"][0, 0] == 6


def test_a_camera_has_one_choice_for_all_its_chunks():
    """The last rays of the camera alone would choose other views; memory is bounded by the chunk."""
    model = make(num_source_views=2, eval_num_rays_per_chunk=20)
    model.open_scene(Row(6))
    outputs = model.get_outputs_for_camera(Row(6).cameras[3:4])
    assert outputs["rgb"].shape == (6, 8, 3)
    assert (outputs["rgb"][..., 1] - 0.25).abs().max() < 1e-6  # views 3 and 2
    assert model.rendered == [10, 10, 10, 10, 8]


def test_changed_weights_mean_other_encodings():
    model = make()
    model.open_scene(Row(3))
    before = model(rays_from(0.0))["rgb"][0, 1].item()
    state = {**model.state_dict(), "gain": torch.tensor(2.0)}
    model.load_state_dict(state)
    assert model(rays_from(0.0))["rgb"][0, 1].item() == pytest.approx(2 * before)
    model.train()
    with torch.no_grad():
        model.gain.fill_(3.0)
    assert model.eval()(rays_from(0.0))["rgb"][0, 1].item() == pytest.approx(3 * before)


def test_training_renders_from_the_views_it_is_given():
    model = make(num_source_views=2).train()
    views = SourceViews.together([Row(9).take([0, 1, 2]), Row(9, near=2.0, far=6.0).take([6, 7, 8])])
    outputs = model(rays_from(0.0, 8), views)
    assert outputs["rgb"][:, 0].tolist() == [3] * 8
    assert outputs["rgb"][:, 1].tolist() == pytest.approx([0.1] * 4 + [0.7] * 4)
    assert outputs["rgb"][:, 2].tolist() == [2.0] * 4 + [4.0] * 4
    assert model.encoded == [6]
    outputs["rgb"].sum().backward()
    assert model.gain.grad is not None and model.gain.grad != 0


def test_another_scene_replaces_the_first():
    model = make()
    model.open_scene(Row(3))
    model(rays_from(0.0))
    model.open_scene(Row(5))
    assert model(rays_from(0.0))["rgb"][0, 0] == 5
    blended = model.photo({"image": torch.tensor([[0.0, 0.0, 0.0, 0.25]])})
    assert blended.tolist() == [[0.75] * 3]  # in front of the scene's white


def test_too_few_views_and_no_scene():
    model = make(num_source_views=4)
    with pytest.raises(InputError, match="attic has 3 source views, but 4 are asked for"):
        model.open_scene(Row(3, "attic"))
    with pytest.raises(InputError, match="no scene is open"):
        model(rays_from(0.0))


def test_rays_keep_bounds_of_their_own():
    rays = rays_from(0.0, 2)
    rays.nears, rays.fars = torch.tensor([[0.3], [0.4]]), torch.tensor([[7.0], [8.0]])
    assert bounded(rays, Row(2).take([0])).nears is rays.nears


def test_mean_pose_is_a_camera():
    bundle = SimpleNamespace(
        origins=torch.tensor([[1.0, 2, 3], [3, 2, 1]]), directions=torch.tensor([[0.6, 0, 0.8], [0.8, 0, 0.6]])
    )
    pose = mean_pose(bundle)  # type: ignore[arg-type]
    torch.testing.assert_close(pose[:, :3].T @ pose[:, :3], torch.eye(3))
    assert torch.linalg.det(pose[:, :3]) > 0
    torch.testing.assert_close(-pose[:, 2], torch.tensor([0.5**0.5, 0, 0.5**0.5]))
    assert pose[:, 3].tolist() == [2, 2, 2]
