"""HeadModel: nerfacto, and one head on its frozen geometry.

The first `geometry_steps` steps train nerfacto as it is. Then geometry and colour freeze bit-exactly, and one head
learns on the samples that the frozen densities weigh. A technique supplies the head, what is composited, its loss and
its outputs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional, Union

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import Frustums, RayBundle, RaySamples
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.model_components.ray_samplers import UniformSampler
from nerfstudio.model_components.scene_colliders import AABBBoxCollider
from nerfstudio.models.nerfacto import NerfactoModel, NerfactoModelConfig
from torch import Tensor, nn
from torch.nn import Parameter

from nerfseg_plugins.scene.feature_field import FeatureField
from nerfseg_plugins.scene.stages import Stage


@dataclass
class HeadModelConfig(NerfactoModelConfig):
    """Nerfacto with a head; every nerfacto option keeps its meaning."""

    _target: type = field(default_factory=lambda: HeadModel)
    """target class to instantiate"""
    geometry_steps: int = 30_000
    """Steps of the first stage, geometry and colour; the rest of the run trains the head."""
    bounds: Literal["auto", "box", "contraction", "nerfacto"] = "auto"
    """Whether the scene ends at its box or is contracted: auto takes the box where the data declare a room, else
    contraction, sampled between the data's near and far where they declare these instead of near_plane and far_plane;
    nerfacto samples exactly as that method does."""
    head_samples_per_ray: int = 8
    """Samples of a ray that the head sees: those of largest weight."""
    head_num_levels: int = 16
    """Levels of the head's hash grid."""
    head_max_res: int = 2048
    """Finest resolution of the head's hash grid."""
    head_log2_hashmap_size: int = 19
    """Log2 of the entries per level of the head's hash grid."""
    head_hidden_dim: int = 64
    """Width of the head's MLP."""
    head_num_layers: int = 3
    """Layers of the head's MLP."""


class FrozenSamples(NamedTuple):
    """What a head sees of R rays: their S samples of largest weight.

    In training they are constants; in evaluation they can be differentiated by the rays, to find a camera by what a
    head shows.
    """

    positions: Tensor
    """(R, S, 3), scene frame."""
    geo: Tensor
    """(R, S, G) features of the frozen geometry."""
    weights: Tensor
    """(R, S, 1) rendering weights of the frozen densities."""
    depth: Tensor
    """(R, 1) expected distance along the ray, scene units; the nearest of all samples where the ray meets nothing."""


class ShownField(NamedTuple):
    """What evaluation shows at the S samples of R rays."""

    density: Tensor
    """(R, S, 1) per scene unit."""
    geo: Tensor
    """(R, S, G) features of the frozen geometry."""
    colors: Tensor
    """(R, S, 3) in [0, 1]."""
    positions: Tensor
    """(R, S, 3) where the head is asked, scene frame: the samples, or where what is shown there has been taken from."""


class BoxCollider(AABBBoxCollider):
    """Near and far where a ray enters and leaves the scene box, with the same near plane in training and evaluation.

    nerfstudio's drops the near plane in evaluation, which shows the fog in front of a camera that training never saw.
    """

    def set_nears_and_fars(self, ray_bundle: RayBundle) -> RayBundle:
        """Set `nears` and `fars` (R, 1), scene units."""
        bundle = super().set_nears_and_fars(ray_bundle)
        assert bundle.nears is not None and bundle.fars is not None
        bundle.nears = bundle.nears.clamp_min(self.near_plane)
        bundle.fars = torch.maximum(bundle.fars, bundle.nears + 1e-6)
        return bundle


class HeadModel(NerfactoModel):
    """Nerfacto plus one head; see the module's text.

    Subclasses override `head_dim`, `head_train_outputs`, `head_eval_outputs` and `head_loss`.
    """

    config: HeadModelConfig
    head_steps: Tensor

    # What a technique supplies ---------------------------------------------------------------------------------------

    def head_dim(self) -> int:
        """Channels of the head."""
        raise NotImplementedError

    def head_train_outputs(self, samples: FrozenSamples) -> dict[str, Tensor]:
        """Outputs of a training batch in the head stage, per ray."""
        raise NotImplementedError

    def head_eval_outputs(self, samples: FrozenSamples, scene: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs that a trained head adds to the `scene`'s, per ray: floats, what people look at with 3 channels."""
        raise NotImplementedError

    def head_loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of the head stage by name; they are summed."""
        raise NotImplementedError

    def head_metrics(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Metrics of the head stage by name."""
        return {}

    def head_lacks(self) -> Optional[str]:
        """What the data lack for the head to be trained, with the mend; None when nothing. Asked before training."""
        return None

    def hidden(self, positions: Tensor, geo: Optional[Tensor] = None) -> Optional[Tensor]:
        """Which points evaluation leaves out of the radiance field, so that one sees what is behind them.

        Args:
            positions: (..., 3), scene frame.
            geo: (..., G) features of the frozen geometry there, where they are at hand.

        Returns:
            (...) bool, or None for no point at all, which costs nothing.
        """
        return None

    def shown_field(self, ray_samples: RaySamples) -> ShownField:
        """The field at samples (R, S) as evaluation shows it."""
        density, geo = self.field.get_density(ray_samples)
        colors = self.field.get_outputs(ray_samples, density_embedding=geo)[FieldHeadNames.RGB]
        positions = ray_samples.frustums.get_positions()
        hidden = self.hidden(positions, geo)
        density = density if hidden is None else density.masked_fill(hidden[..., None], 0.0)
        return ShownField(density, geo, colors, positions)

    def shown_density(self, density_fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """A proposal's density (..., 3) -> (..., 1) as evaluation shows it."""

        def density(positions: Tensor) -> Tensor:
            values = density_fn(positions)
            hidden = self.hidden(positions)
            return values if hidden is None else values.masked_fill(hidden[..., None], 0.0)

        return density

    def backdrop(self) -> Optional[Tensor]:
        """Colour (3,) in [0, 1] behind everything in evaluation; None for the configured one."""
        return None

    def as_trained(self) -> AbstractContextManager[None]:
        """Nothing is hidden or recoloured inside this context: metrics are about the model, not about what is shown."""
        return nullcontext()

    def panels(self) -> dict[str, nn.Module]:
        """Modules that hold viewer elements, by the title under which the viewer shows them."""
        return {}

    def after_loading(self) -> None:
        """Called when a checkpoint's weights have been loaded, for what is of use with these weights alone.

        Raises:
            InputError: what the configuration names was not made for them.
        """

    def write_side_files(self, folder: Path) -> None:
        """Write what belongs to a checkpoint but is read without the model, into the run's folder."""

    # Construction ----------------------------------------------------------------------------------------------------

    def populate_modules(self) -> None:
        """Build nerfacto, then the head."""
        config = self.config
        bounds = config.bounds
        if bounds == "auto":
            metadata = self.kwargs.get("metadata", {})
            bounds = "box" if metadata.get("bounded", False) else "contraction"
            if bounds == "contraction" and "near" in metadata and "far" in metadata:
                config.near_plane, config.far_plane = metadata["near"], metadata["far"]
        if bounds != "nerfacto":
            config.disable_scene_contraction = bounds == "box"
        if config.background_color == "last_sample" and self.kwargs.get("metadata", {}).get("transparent", False):
            # Behind an object that was cut out is nothing: with any one colour there, fog of that colour costs nothing.
            config.background_color = "random"
        super().populate_modules()
        if bounds == "box":
            self._bound_rays(self.scene_box)
        if config.camera_optimizer.mode == "off" and not config.predict_normals:
            self.field.mlp_base.register_forward_pre_hook(self._detach_positions)
        self.head = self.build_head()
        # Part of the state, so that a checkpoint tells whether its head has been trained at all.
        self.register_buffer("head_steps", torch.zeros((), dtype=torch.long))
        self._frozen = False

    def _detach_positions(self, module: nn.Module, args: tuple[Tensor, ...]) -> Optional[tuple[Tensor, ...]]:
        """Spare training the gradient of the positions: nerfacto's field asks for it always, a third of a step's time.

        Only cameras and normals read it. In evaluation it stays, for those who invert a trained scene.
        """
        return tuple(argument.detach() for argument in args) if self.training else None

    def _bound_rays(self, box: SceneBox) -> None:
        """Sample between the walls of the box: evenly, since there is no far distance to compress."""
        self.collider = BoxCollider(box, near_plane=self.config.near_plane)
        self.proposal_sampler.initial_sampler = UniformSampler(single_jitter=self.config.use_single_jitter)

    def build_head(self) -> FeatureField:
        """The head's field, over the frozen geometry's features."""
        config = self.config
        return FeatureField(
            self.scene_box.aabb,
            out_dim=self.head_dim(),
            spatial_distortion=self.field.spatial_distortion,
            geo_features=self.field.geo_feat_dim,
            num_levels=config.head_num_levels,
            max_res=config.head_max_res,
            log2_hashmap_size=config.head_log2_hashmap_size,
            hidden_dim=config.head_hidden_dim,
            num_layers=config.head_num_layers,
            implementation=config.implementation,
        )

    # Stages ----------------------------------------------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        """The stage that `self.step` belongs to."""
        return "geometry" if self.step < self.config.geometry_steps else "head"

    @property
    def head_trained(self) -> bool:
        """Whether the head has seen a training step."""
        return bool(self.head_steps > 0)

    def frozen_modules(self) -> list[nn.Module]:
        """What the head stage must leave bit-identical."""
        return [self.field, self.proposal_networks, self.camera_optimizer]

    def freeze_geometry(self) -> None:
        """End the first stage: geometry, colour and poses take no gradient any more."""
        for module in self.frozen_modules():
            module.requires_grad_(False)
        # Gradients of the last geometry step would let Adam's momentum move the frozen weights once more.
        for module in self.frozen_modules():
            for parameter in module.parameters():
                parameter.grad = None
        self.proposal_sampler.set_anneal(1.0)
        self._frozen = True

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """nerfacto's groups and `head`."""
        return {**super().get_param_groups(), "head": list(self.head.parameters())}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """nerfacto's callbacks during the geometry stage; freezing and counting during the head stage."""
        geometry = super().get_training_callbacks(training_callback_attributes)

        def before(step: int) -> None:
            self.step = step
            if self.stage == "geometry":
                for callback in geometry:
                    callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
            elif not self._frozen:
                self.freeze_geometry()

        def after(step: int) -> None:
            if self.stage == "head":
                self.head_steps += 1
                return
            for callback in geometry:
                callback.run_callback_at_location(step, TrainingCallbackLocation.AFTER_TRAIN_ITERATION)

        return [
            TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], before),
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], after),
        ]

    # Rendering -------------------------------------------------------------------------------------------------------

    def forward(self, ray_bundle: Union[RayBundle, Cameras, FrozenSamples]) -> dict[str, Any]:
        """Per-ray outputs of rays, or of samples that were taken before (training in the head stage alone)."""
        if isinstance(ray_bundle, FrozenSamples):
            return self.head_train_outputs(ray_bundle)
        return super().forward(ray_bundle)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Per-ray outputs: nerfacto's while geometry trains, the head's while it trains, both in evaluation."""
        if self.training and self.stage == "geometry":
            return super().get_outputs(ray_bundle)
        if self.training:
            return self.head_train_outputs(self.frozen_samples(ray_bundle))
        ray_samples, weights, shown, scene = self._render_scene(ray_bundle)
        if self.head_trained:
            samples = self._heaviest(ray_samples, weights, shown.geo, shown.positions)
            scene |= self.head_eval_outputs(samples, scene)
        return scene

    @torch.no_grad()
    def frozen_samples(self, ray_bundle: RayBundle) -> FrozenSamples:
        """What the head sees of R rays; no gradient reaches the geometry and no colour is computed."""
        if self.collider is not None:
            ray_bundle = self.collider(ray_bundle)
        if self.training:
            self.camera_optimizer.apply_to_raybundle(ray_bundle)
        ray_samples, _, _ = self.proposal_sampler(ray_bundle, density_fns=self.density_fns)
        density, geo = self.field.get_density(ray_samples)
        positions = ray_samples.frustums.get_positions()
        return self._heaviest(ray_samples, ray_samples.get_weights(density), geo, positions)

    @torch.no_grad()
    def query_geometry(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The frozen geometry at points.

        Args:
            positions: (N, 3), scene frame.

        Returns:
            density (N, 1), per scene unit, and the features that heads are built on (N, G).
        """
        zeros = torch.zeros_like(positions[:, :1])
        frustums = Frustums(positions, torch.ones_like(positions), zeros, zeros, zeros)
        return self.field.get_density(RaySamples(frustums=frustums))

    def _heaviest(self, ray_samples: RaySamples, weights: Tensor, geo: Tensor, positions: Tensor) -> FrozenSamples:
        """Keep each ray's `head_samples_per_ray` samples of largest weight."""
        depth = self.renderer_expected_depth(weights=weights, ray_samples=ray_samples)
        count = min(self.config.head_samples_per_ray, weights.shape[-2])
        top = weights[..., 0].topk(count, dim=-1, sorted=False).indices[..., None]
        return FrozenSamples(
            positions.gather(-2, top.expand(*top.shape[:-1], 3)),
            geo.gather(-2, top.expand(*top.shape[:-1], geo.shape[-1])),
            weights.gather(-2, top),
            depth,
        )

    def _render_scene(self, ray_bundle: RayBundle) -> tuple[RaySamples, Tensor, ShownField, dict[str, Tensor]]:
        """Nerfacto's evaluation outputs, with the samples, their weights (R, S, 1) and the field behind them."""
        # The sampler too must look through what is hidden, or it would place no samples behind it.
        density_fns = [self.shown_density(density_fn) for density_fn in self.density_fns]
        ray_samples, weights_list, samples_list = self.proposal_sampler(ray_bundle, density_fns=density_fns)
        shown = self.shown_field(ray_samples)
        weights = ray_samples.get_weights(shown.density)
        outputs = {
            "rgb": self.renderer_rgb(rgb=shown.colors, weights=weights, background_color=self.backdrop()),
            "accumulation": self.renderer_accumulation(weights=weights),
            "depth": self.renderer_depth(weights=weights, ray_samples=ray_samples),
            "expected_depth": self.renderer_expected_depth(weights=weights, ray_samples=ray_samples),
        }
        for index, (proposal_weights, proposal_samples) in enumerate(zip(weights_list, samples_list, strict=True)):
            depth = self.renderer_depth(weights=proposal_weights, ray_samples=proposal_samples)
            outputs[f"prop_depth_{index}"] = depth
        return ray_samples, weights, shown, outputs

    # Losses ----------------------------------------------------------------------------------------------------------

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """nerfacto's metrics, or the head's in its stage."""
        if self.training and self.stage == "head":
            return self.head_metrics(outputs, batch)
        return super().get_metrics_dict(outputs, batch)

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """nerfacto's losses, or the head's in its stage."""
        if self.training and self.stage == "head":
            return self.head_loss(outputs, batch)
        return super().get_loss_dict(outputs, batch, metrics_dict)
