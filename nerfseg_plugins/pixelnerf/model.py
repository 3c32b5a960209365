"""pixelNeRF: a radiance field predicted from one or a few images (Yu et al. 2021, arXiv 2012.02190)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import mse_loss

from nerfseg_plugins.image_based.model import ImageBasedModel, ImageBasedModelConfig
from nerfseg_plugins.image_based.views import SourceViews
from nerfseg_plugins.pixelnerf import sampling
from nerfseg_plugins.pixelnerf.field import FieldConfig, PixelNerfField
from nerfseg_plugins.pixelnerf.published import load_imagenet, load_published


@dataclass
class PixelNerfModelConfig(ImageBasedModelConfig):
    """Configuration of pixelNeRF."""

    _target: type = field(default_factory=lambda: PixelNerfModel)
    """target class to instantiate"""
    networks: FieldConfig = field(default_factory=FieldConfig)
    """Sizes of the networks."""
    samples: sampling.SamplingConfig = field(default_factory=sampling.SamplingConfig)
    """Samples of a ray."""
    coarse_weight: float = 1.0
    """Weight of the coarse rendering's loss beside the fine one's."""
    pretrained_weights: Optional[Path] = None
    """A published checkpoint (`pixel_nerf_latest`) from which a new training begins."""
    imagenet: bool = False
    """Begin a new training with torchvision's ImageNet weights in the encoder, which has to be a ResNet34; fetched
    once."""


class PixelNerfModel(ImageBasedModel):
    """A radiance field in the frames of the source views.

    Outputs per ray: `rgb` (3), `depth` = `expected_depth` (1, distance along the unit ray), `accumulation` (1) and the
    coarse network's `rgb_coarse`, `depth_coarse` and `accumulation_coarse`.
    """

    config: PixelNerfModelConfig

    def populate_modules(self) -> None:
        """Build the networks."""
        super().populate_modules()
        self.field = PixelNerfField(self.config.networks)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """All weights that are trained: `hidden`, the matrices between hidden layers of the networks of points, for
        optimizers of matrices such as Muon, and `fields`, the others."""
        hidden = [*self.field.mlp_coarse.hidden_matrices(), *self.field.mlp_fine.hidden_matrices()]
        apart = {id(weight) for weight in hidden}
        others = [weight for weight in self.field.parameters() if id(weight) not in apart]
        groups = {"fields": others, "hidden": hidden}
        return {name: [weight for weight in group if weight.requires_grad] for name, group in groups.items()}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Take over weights before the first step of a new training; a continued one has its own."""
        if self.config.pretrained_weights is None and not self.config.imagenet:
            return []
        before = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        return [TrainingCallback(before, lambda step: self.adopt_weights(), iters=(0,))]

    def adopt_weights(self) -> None:
        """Load the weights that the configuration names.

        Raises:
            InputError: they cannot be fetched or read, or are of other sizes.
        """
        if self.config.imagenet:
            load_imagenet(self.field.encoder)
        if self.config.pretrained_weights is not None:
            load_published(self.field, self.config.pretrained_weights)

    # Rendering --------------------------------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> Tensor:
        """Maps (N, D, h, w) of images (N, 3, H, W) in [0, 1]."""
        return self.field.encode(images)

    def render(self, rays: RayBundle, views: SourceViews) -> dict[str, Tensor]:
        """Render rays, at random samples while training, else at the same ones for every ray."""
        make = sampling.draw if self.training else sampling.fixed
        return self.render_at(rays, views, make(len(rays), self.config.samples, rays.origins.device))

    def render_at(self, rays: RayBundle, views: SourceViews, draws: sampling.Draws) -> dict[str, Tensor]:
        """Render rays at the samples that `draws` lead to; differentiable by the rays, samples staying where they are.

        Args:
            rays: (B * R,), scene by scene, with nears and fars.
            views: of the B scenes, with maps.
            draws: for all rays.
        """
        assert rays.nears is not None and rays.fars is not None
        near, far, config = rays.nears, rays.fars, self.config.samples
        first = sampling.stratified(near, far, draws.coarse)
        coarse, weights = self._composite(rays, views, first, fine=False)
        second = [
            sampling.importance(weights, near, far, draws.importance, config.weight_floor),
            sampling.around_depth(coarse["depth"], near, far, draws.depth, config.depth_std),
        ]
        if config.merge_coarse:
            second.append(first)
        outputs, _ = self._composite(rays, views, sampling.merge(*second), fine=True)
        outputs["expected_depth"] = outputs["depth"]
        return outputs | {f"{name}_coarse": value for name, value in coarse.items()}

    def _composite(
        self, rays: RayBundle, views: SourceViews, distances: Tensor, fine: bool
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Colour, depth and opacity of rays from samples at distances (R, S), and the samples' weights (R, S)."""
        assert rays.nears is not None and rays.fars is not None
        points = rays.origins[:, None] + distances[..., None] * rays.directions[:, None]
        directions = rays.directions[:, None].expand_as(points)
        per_scene = (views.num_scenes, -1, 3)
        density, rgb = self.field(points.reshape(per_scene), directions.reshape(per_scene), views, fine)
        weights = sampling.weights_of(density.view_as(distances), distances, rays.fars)
        opacity = weights.sum(dim=-1, keepdim=True)
        color = (weights[..., None] * rgb.view_as(points)).sum(dim=-2) + (1 - opacity) * self._backdrop()
        depth = sampling.expected_depth(weights, distances, rays.nears, rays.fars)
        return {"rgb": color, "depth": depth, "accumulation": opacity}, weights

    def _backdrop(self) -> Tensor:
        """(3,) the colour behind the scene: that of the data, black where they have none."""
        color = self.renderer_rgb.background_color
        return (color if isinstance(color, Tensor) else torch.zeros(3)).to(self.device)

    # Training ---------------------------------------------------------------------------------------------------------

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: Optional[dict[str, Tensor]] = None
    ) -> dict[str, Tensor]:
        """Mean squared errors of both renderings."""
        true = self.photo(batch)
        return {
            "rgb_loss": mse_loss(outputs["rgb"], true),
            "coarse_loss": self.config.coarse_weight * mse_loss(outputs["rgb_coarse"], true),
        }
