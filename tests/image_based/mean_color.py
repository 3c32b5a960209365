"""A small image-based method for tests: colours are those of the source views where a ray's middle lies in them."""

from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from torch import Tensor

from nerfseg_plugins.image_based.datamanager import ImageBasedDataManagerConfig
from nerfseg_plugins.image_based.model import ImageBasedModel, ImageBasedModelConfig
from nerfseg_plugins.image_based.pipeline import ImageBasedPipelineConfig
from nerfseg_plugins.image_based.projection import lookup, project
from nerfseg_plugins.image_based.trainer import ImageBasedTrainerConfig
from nerfseg_plugins.image_based.views import SourceViews


@dataclass
class MeanColorConfig(ImageBasedModelConfig):
    """Configuration of the test's method."""

    _target: type = field(default_factory=lambda: MeanColor)
    """target class to instantiate"""
    width: int = 3
    """Channels of an encoding."""


class MeanColor(ImageBasedModel):
    """One layer to encode, one to decode."""

    config: MeanColorConfig

    def populate_modules(self) -> None:
        super().populate_modules()
        self.encoder = torch.nn.Conv2d(3, self.config.width, 1)
        self.decoder = torch.nn.Linear(self.config.width, 3)

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def render(self, rays: RayBundle, views: SourceViews) -> dict[str, Tensor]:
        assert rays.nears is not None and rays.fars is not None and views.maps is not None
        # As networks do, it draws something itself.
        middle = (rays.nears + rays.fars) / 2 * (1 + 0.01 * (torch.rand_like(rays.nears) - 0.5) * self.training)
        points = (rays.origins + middle * rays.directions).view(views.num_scenes, -1, 3)
        found = lookup(views.maps, project(points, views).pixels, views.size).mean(dim=1).flatten(0, 1)
        rgb = torch.sigmoid(self.decoder(found))
        return {"rgb": rgb, "depth": middle, "expected_depth": middle, "accumulation": torch.ones_like(middle)}

    def get_loss_dict(self, outputs: Any, batch: Any, metrics_dict: Any = None) -> dict[str, Tensor]:
        return {"rgb": torch.nn.functional.mse_loss(outputs["rgb"], self.photo(batch))}

    def get_param_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        return {"encoder": list(self.encoder.parameters()), "decoder": list(self.decoder.parameters())}


def trainer_config(dataparser: Any, model: Any = None, **options: Any) -> ImageBasedTrainerConfig:
    """A run of the test's method; `options` are the datamanager's."""
    group = {"optimizer": AdamOptimizerConfig(lr=1e-2), "scheduler": None}
    config = ImageBasedTrainerConfig(
        method_name="mean-color",
        max_num_iterations=6,
        steps_per_save=1000,
        steps_per_eval_batch=4,
        steps_per_eval_image=5,
        steps_per_eval_all_images=10**9,
        mixed_precision=False,
        pipeline=ImageBasedPipelineConfig(
            datamanager=ImageBasedDataManagerConfig(
                dataparser=dataparser, **{"rays_per_scene": 16, "eval_num_rays_per_batch": 8, **options}
            ),
            model=model or MeanColorConfig(),
        ),
        optimizers={"encoder": group, "decoder": dict(group)},
        vis="tensorboard",
    )
    config.machine.device_type = "cpu"
    config.viewer.quit_on_train_completion = True
    return config
