"""`gsn`: GSN's second stage, 2D features of unseen scenes from those of their source views."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Optional

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.functional import normalize

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.model import GntModel, GntModelConfig
from nerfseg_plugins.gsn.panel import SegmentPanel
from nerfseg_plugins.gsn.published import read_published
from nerfseg_plugins.gsn.query import Query, shown
from nerfseg_plugins.gsn.semantic import SemanticHead
from nerfseg_plugins.gsn.survey import made_for
from nerfseg_plugins.image_based.views import SceneViews, SourceViews
from nerfseg_plugins.scene.colors import PCABasis
from nerfseg_plugins.weights import load_into

GREY = 0.5
"""Colour of rays that meet nothing."""
MIN_ACCUMULATION = 0.2
"""A ray of which less is seen by any view meets nothing."""
BASIS_VIEWS = 8
"""Source views whose features the colours of features are fitted to."""


@dataclass
class GsnModelConfig(GntModelConfig):
    """GNT with a head for features."""

    _target: type = field(default_factory=lambda: GsnModel)
    """target class to instantiate"""
    feature_dim: int = 64
    """Channels of the 2D features."""
    head_width: Optional[int] = None
    """Channels inside the head; unset: the tokens' and the features' together, as published."""
    rgb_weight: float = 0.1
    """Weight of the colours' loss beside the features'."""
    freeze_backbone: bool = False
    """Whether the first stage's networks stay exactly as they are; the published ones learn on at a tenth of their
    rates."""
    segments: Optional[Path] = None
    """A saved selection of objects that is shown; it belongs to the weights and the scene that it was made for."""


class GsnModel(GntModel):
    """GNT's outputs, and per ray `features` (C), `feature_colormap` (3) and what is selected: see `query.shown`.

    In training `features` are what the loss sees; afterwards they have length 1, or 0 where a ray meets nothing, as the
    2D features have, and colours are the main directions of the opened scene's 2D features: the same in all its views.
    """

    config: GsnModelConfig

    def populate_modules(self) -> None:
        """Build the networks."""
        super().populate_modules()
        config = self.config
        self.semantics = SemanticHead(
            config.width,
            config.feature_dim,
            dropout=config.dropout,
            head_width=config.head_width,
            blend=config.color == "blend",
            pool_unseen=config.pool_unseen,
        )
        self._basis: Optional[PCABasis] = None
        self.query: Optional[Query] = None
        """What is selected."""
        self.panel = SegmentPanel(self)
        if config.freeze_backbone:
            self.trunk.requires_grad_(False)
            self.encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> "GsnModel":
        """Switch the mode; a frozen backbone keeps that of evaluation, without dropout."""
        super().train(mode)
        if self.config.freeze_backbone:
            self.trunk.eval()
            self.encoder.eval()
        return self

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Those of the first stage, and `semantics`."""
        return {**super().get_param_groups(), "semantics": list(self.semantics.parameters())}

    # Rendering --------------------------------------------------------------------------------------------------------

    def open_scene(self, scene: Optional[SceneViews]) -> None:
        """Render this scene from now on."""
        super().open_scene(scene)
        self._basis, self.query = None, None

    def render(self, rays: RayBundle, views: SourceViews) -> dict[str, Tensor]:
        """Colour, depth and features of B * R rays; see the class.

        Raises:
            InputError: the views have no features, or of another number of channels.
        """
        self.check_features(views)
        rendered = self.run_trunk(rays, views, with_features=True)
        outputs = self.outputs_of(rendered)
        features = self.semantics(rendered.found, rendered.seen)
        if self.training:
            return {**outputs, "features": features}
        met = outputs["accumulation"] >= MIN_ACCUMULATION
        features = normalize(features, dim=-1) * met
        points = rays.origins + outputs["depth"] * rays.directions
        return {
            **outputs,
            "features": features,
            "feature_colormap": self.feature_colors(features, met),
            **shown(self.query, points, features, outputs["rgb"], met),
        }

    def check_features(self, views: SourceViews) -> None:
        """Refuse source views that the head cannot read.

        Raises:
            InputError: they have no features, or of another number of channels.
        """
        wanted = self.config.feature_dim
        if views.features is None:
            raise InputError(
                "gsn renders features from those of the source views, but the scene has none; make them with: nerfseg "
                "features --data SCENE"
            )
        if (found := views.features.shape[2]) != wanted:
            raise InputError(
                f"the source views' features have {found} channels, but this network was made for {wanted}; make "
                f"them with: nerfseg features --channels {wanted}, or train with --pipeline.model.feature-dim {found}"
            )

    @torch.no_grad()
    def feature_basis(self) -> Optional[PCABasis]:
        """How features become colours: the main directions of those of some source views, spread over the scene.

        None where no scene is open.
        """
        if self._basis is None and self.scene is not None:
            total = len(self.scene.cameras)
            chosen = sorted({round(index) for index in torch.linspace(0, total - 1, min(BASIS_VIEWS, total)).tolist()})
            features = self.scene.take(chosen).features
            if features is not None:
                vectors = features.movedim(2, -1).reshape(-1, features.shape[2]).float()
                self._basis = PCABasis.fit(vectors[vectors.any(dim=-1)])
        return self._basis

    def feature_colors(self, features: Tensor, met: Tensor) -> Tensor:
        """Colours (..., 3) of features (..., C); grey where a ray has `met` (..., 1) nothing."""
        basis = self.feature_basis()
        grey = torch.full_like(features[..., :3], GREY)
        return grey if basis is None else torch.where(met, basis.project(features), grey)

    # What is selected -------------------------------------------------------------------------------------------------

    def panels(self) -> dict[str, nn.Module]:
        """What strokes are drawn with."""
        return {"Segment": self.panel}

    def after_loading(self) -> None:
        """Read the configured selection.

        Raises:
            InputError: it cannot be read, or was made for other weights or another scene.
        """
        super().after_loading()
        if self.config.segments is not None and self.scene is not None:
            self.query = Query.load(self.config.segments, made_for(self))

    instance_classes: ClassVar[dict[int, int]] = {}
    """Nobody knows the classes of what a person has marked."""

    def predict_ids(self, outputs: dict[str, Tensor]) -> Tensor:
        """Ids (...) long: the number of the object that a ray meets, 0 where it is none."""
        return outputs["segment_id"][..., 0].round().long()

    def why_no_ids(self) -> Optional[str]:
        """One sentence on why there are no ids; None when there are."""
        if self.query is not None:
            return None
        return "nothing is selected in this run; select with nerfseg segment and pass the RUN/NAME.yml that it writes"

    # Losses -----------------------------------------------------------------------------------------------------------

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: Optional[dict[str, Tensor]] = None
    ) -> dict[str, Tensor]:
        """Mean squared differences of colours, weighted, and of features where the target's describe anything."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        target, described = self._target(batch)
        squares = (outputs["features"] - target).square() * described
        losses["rgb_loss"] = self.config.rgb_weight * losses["rgb_loss"]
        losses["feature_loss"] = squares.sum() / (described.sum() * target.shape[-1]).clamp_min(1)
        return losses

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """PSNR, and the mean cosine between rendered and 2D features."""
        metrics = super().get_metrics_dict(outputs, batch)
        if "features" in batch:
            target, described = self._target(batch)
            cosine = (normalize(outputs["features"].detach(), dim=-1) * target * described).sum()
            metrics["feature_cosine"] = cosine / described.sum().clamp_min(1)
        return metrics

    def _target(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """2D features (R, C), and whether they say anything (R, 1)."""
        if "features" not in batch:
            raise InputError(
                "gsn learns from 2D features, but a training scene has none; make them with: nerfseg features --data "
                "SCENE"
            )
        target = batch["features"].to(self.device).float()
        return target, target.any(dim=-1, keepdim=True)

    # Weights ----------------------------------------------------------------------------------------------------------

    def load_published(self, path: Path) -> None:
        """Take the weights of a published checkpoint; one of the first stage leaves the head as it is.

        Raises:
            InputError: it is damaged, or of networks of other sizes.
        """
        super().load_published(path)
        found = read_published(path)
        if found.semantics is not None:
            self._check_channels(found.semantics, "", str(path))
            load_into(self.semantics, found.semantics, path, "the semantic head")

    def check_state(self, state: Mapping[str, Tensor]) -> None:
        """Refuse a head for another number of channels.

        Raises:
            InputError: says which, and how to go on.
        """
        self._check_channels(state, "semantics.", "the checkpoint")

    def _check_channels(self, state: Mapping[str, Tensor], prefix: str, where: str) -> None:
        weight = state.get(f"{prefix}feature_fc.weight")
        if weight is not None and (found := weight.shape[0]) != self.config.feature_dim:
            raise InputError(
                f"{where} is of a network for features of {found} channels, but this one is made for "
                f"{self.config.feature_dim}; pass --pipeline.model.feature-dim {found}, or train it on features of "
                f"{self.config.feature_dim}"
            )
