"""A tiny pixelNeRF with weights that matter, and source views of noise."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins import compat
from nerfseg_plugins.image_based.views import SourceViews
from nerfseg_plugins.pixelnerf.encoder import EncoderConfig
from nerfseg_plugins.pixelnerf.field import FieldConfig
from nerfseg_plugins.pixelnerf.mlp import MlpConfig
from nerfseg_plugins.pixelnerf.model import PixelNerfModel, PixelNerfModelConfig
from nerfseg_plugins.pixelnerf.sampling import SamplingConfig


def looking_at_origin(position: Tensor) -> Tensor:
    """(3, 4) pose of an OpenGL camera at a place (3,)."""
    back = normalize(position, dim=0)
    right = normalize(torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), back), dim=0)
    return torch.stack([right, torch.linalg.cross(back, right), back, position], dim=1)


@pytest.fixture
def make_views() -> Callable[..., SourceViews]:
    """Views of noise from around the origin, two units away."""

    def make(scenes: int = 1, views: int = 2, size: int = 16, seed: int = 0) -> SourceViews:
        generator = torch.Generator().manual_seed(seed)
        places = 2 * normalize(torch.randn(scenes * views, 3, generator=generator), dim=-1)
        return SourceViews(
            images=torch.rand(scenes, views, 3, size, size, generator=generator),
            c2w=torch.stack([looking_at_origin(place) for place in places]).view(scenes, views, 3, 4),
            focal=torch.full((scenes, views, 2), 1.2 * size),
            center=torch.full((scenes, views, 2), size / 2),
            near=torch.full((scenes,), 1.2),
            far=torch.full((scenes,), 2.8),
        )

    return make


@pytest.fixture
def make_rays() -> Callable[..., RayBundle]:
    """Rays towards the surroundings of the origin from two units away."""

    def make(count: int, seed: int = 1) -> RayBundle:
        generator = torch.Generator().manual_seed(seed)
        origins = 2 * normalize(torch.randn(count, 3, generator=generator), dim=-1)
        towards = 0.3 * torch.randn(count, 3, generator=generator)
        return RayBundle(origins, normalize(towards - origins, dim=-1), torch.full((count, 1), 1e-6))

    return make


@pytest.fixture
def make_model() -> Callable[..., PixelNerfModel]:
    """A model of miniature networks none of whose layers is silent."""

    def make(seed: int = 0, normalize_z: bool = True, **options: Any) -> PixelNerfModel:
        compat.apply()
        torch.manual_seed(seed)
        networks = FieldConfig(
            encoder=EncoderConfig(blocks=(1, 1), width=8, num_stages=2, first_pool=False),
            coarse=MlpConfig(width=16, num_blocks=2, pool_before=1),
            fine=MlpConfig(width=16, num_blocks=3, pool_before=2),
            normalize_z=normalize_z,
        )
        config = PixelNerfModelConfig(networks=networks, samples=SamplingConfig(12, 6, 4), **options)
        model = config.setup(scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])), num_train_data=0)
        for name, weight in model.field.named_parameters():
            if "fc_1.weight" in name:
                torch.nn.init.kaiming_normal_(weight)
            if name.endswith("lin_out.bias"):
                weight.data[3] = 1.0
        return model.eval()

    return make
