"""The ultrametric feature field: segments at every granularity from one field (arXiv 2405.19678, sections 3 and 4)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor, nn
from torch.nn.functional import normalize

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.depth_pictures import MIN_OPACITY
from nerfseg_plugins.scene.feature_model import MIN_ACCUMULATION, FeatureModel
from nerfseg_plugins.scene.fingerprint import fingerprint
from nerfseg_plugins.scene.head_model import FrozenSamples, HeadModelConfig
from nerfseg_plugins.ultrametric.dendrogram import Cut, Dendrogram
from nerfseg_plugins.ultrametric.display import segment_colors
from nerfseg_plugins.ultrametric.graph import Mode, similarities
from nerfseg_plugins.ultrametric.groups import Groups
from nerfseg_plugins.ultrametric.hierarchy_file import load_hierarchy
from nerfseg_plugins.ultrametric.labelling import PixelLinks
from nerfseg_plugins.ultrametric.losses import contrastive_loss, depth_smoothness, norm_loss
from nerfseg_plugins.ultrametric.panel import HierarchyPanel


@dataclass
class UltrametricModelConfig(HeadModelConfig):
    """Configuration of the ultrametric field."""

    _target: type = field(default_factory=lambda: UltrametricModel)
    """target class to instantiate"""
    feature_dim: int = 128
    """Channels of the features, which have unit length."""
    ultrametric_weight: float = 1.0
    """Weight of the contrastive loss between pixels as the best path through the image joins them."""
    euclidean_weight: float = 1.0
    """Weight of the contrastive loss between pixels by themselves."""
    norm_weight: float = 1.0
    """Weight of the squared difference of rendered features' length from 1."""
    temperature: float = 0.1
    """Of the contrastive losses."""
    ultrametric_mode: Mode = "consistent"
    """consistent: paths are chosen and valued by one weight, so that the strong triangle inequality holds; reference:
    as in the original implementation, paths avoid the edges of masks and are valued without them."""
    barrier_weight: float = 0.0
    """With consistent, how much longer an edge is that crosses the edge of a mask."""
    depth_smooth_weight: float = 1.0
    """Weight of the loss on the curvature of depth inside the smallest masks, where the datamanager's depth_smooth asks
    for it."""
    hierarchy: Optional[Path] = None
    """A dendrogram that nerfseg hierarchy made from these weights; segments are shown by it."""
    granularity: float = 0.8
    """Distance of features, 0 to 2, up to which points are of one segment."""
    min_size: int = 30
    """Points of the dendrogram below which a segment is left out."""


class UltrametricModel(FeatureModel):
    """C feature channels per position; segments are read off a dendrogram of the features on the scene's surface.

    Outputs beside nerfacto's, per ray: `features` (C, of unit length, 0 where the ray meets nothing),
    `feature_colormap` (3); with a dendrogram `segment_id` (1) and `segment_colormap` (3).
    """

    config: UltrametricModelConfig

    def populate_modules(self) -> None:
        """Build the scene and the feature field; there is no dendrogram yet."""
        super().populate_modules()
        self.hierarchy: Optional[Dendrogram] = None
        """By which segments are shown."""
        self.granularity = self.config.granularity
        self.min_size = self.config.min_size
        self.picked: Optional[int] = None
        """Node of the dendrogram that is marked."""
        self._cut: Optional[tuple[Dendrogram, float, int, Cut]] = None
        self.panel = HierarchyPanel(self)

    def panels(self) -> dict[str, nn.Module]:
        """What granularity is set with, and segments are picked."""
        return {"Hierarchy": self.panel}

    def after_loading(self) -> None:
        """Read the configured dendrogram.

        Raises:
            InputError: it cannot be read, or was made from other weights.
        """
        if self.config.hierarchy is not None:
            self.hierarchy = load_hierarchy(self.config.hierarchy, fingerprint(self))

    def head_dim(self) -> int:
        """Channels of the features."""
        return self.config.feature_dim

    # What the head adds ----------------------------------------------------------------------------------------------

    def features(self, samples: FrozenSamples) -> Tensor:
        """Composited features (R, C), not of unit length: what shines through is the same in all directions."""
        weights = samples.weights
        behind = (1 - weights.sum(dim=-2)) / self.config.feature_dim**0.5
        return (weights * self.head(samples.positions, samples.geo)).sum(dim=-2) + behind

    def head_train_outputs(self, samples: FrozenSamples) -> dict[str, Tensor]:
        """Rendered features."""
        self.remember(samples)
        return {"features": self.features(samples)}

    def head_eval_outputs(self, samples: FrozenSamples, scene: dict[str, Tensor]) -> dict[str, Tensor]:
        """Features and their colours."""
        met = scene["accumulation"] >= MIN_ACCUMULATION
        features = normalize(self.features(samples), dim=-1) * met
        outputs = {"features": features, "feature_colormap": self.feature_colors(features, met)}
        if self.hierarchy is not None:
            heaviest = samples.weights.argmax(dim=-2, keepdim=True).expand(-1, 1, 3)
            places = samples.positions.gather(-2, heaviest)[:, 0]
            outputs |= self._segments(places.masked_fill(~met, torch.nan))
        return outputs

    # Segments --------------------------------------------------------------------------------------------------------

    def cut(self) -> Cut:
        """The segments of the present granularity and smallest size.

        Raises:
            InputError: there is no dendrogram.
        """
        hierarchy = self.hierarchy
        if hierarchy is None:
            raise InputError(str(self.why_no_ids()))
        # The viewer's panel may change the numbers meanwhile.
        granularity, min_size, kept = self.granularity, self.min_size, self._cut
        if kept is None or kept[0] is not hierarchy or kept[1:3] != (granularity, min_size):
            kept = self._cut = (hierarchy, granularity, min_size, hierarchy.cut(granularity, min_size))
        return kept[3]

    def _segments(self, places: Tensor) -> dict[str, Tensor]:
        """Ids and colours of rays that meet what is at places (R, 3), scene frame, not finite for nothing."""
        hierarchy, cut = self.hierarchy, self.cut()
        assert hierarchy is not None
        links = PixelLinks.of(places.detach().cpu().numpy(), hierarchy)
        labels = links.labels(cut)
        colors = segment_colors(links, cut, labels, self.picked)
        return {
            "segment_id": torch.from_numpy(labels + 1).to(places.device)[:, None].float(),
            "segment_colormap": torch.from_numpy(colors).to(places.device),
        }

    def predict_ids(self, outputs: dict[str, Tensor]) -> Tensor:
        """Segments (...) long of rendered outputs at the present granularity: 1 the largest, 0 none."""
        return outputs["segment_id"][..., 0].round().long()

    def why_no_ids(self) -> Optional[str]:
        """One sentence on why there are no ids; None when there are."""
        if self.hierarchy is not None:
            return None
        return (
            "the run is shown without its hierarchy; make it with nerfseg hierarchy and pass the RUN/hierarchy.yml "
            "that it writes"
        )

    def label_maps(
        self, camera: Cameras, outputs: dict[str, Tensor], granularities: Iterable[float]
    ) -> Iterator[np.ndarray]:
        """Segments of a view at several granularities.

        Args:
            camera: one camera (batch of 1), scene frame.
            outputs: what it shows: `depth` and `accumulation` (H, W, 1).
            granularities: see `Dendrogram.cut`.

        Yields:
            (H, W) int32 per granularity, 0 the largest segment; -1 where nothing is seen.

        Raises:
            InputError: there is no dendrogram.
        """
        if self.hierarchy is None:
            raise InputError(str(self.why_no_ids()))
        links = PixelLinks.of(seen_places(camera, outputs), self.hierarchy)
        for granularity in granularities:
            yield links.labels(self.hierarchy.cut(granularity, self.min_size))

    # Losses ----------------------------------------------------------------------------------------------------------

    def head_loss(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Contrastive losses of the pairs, ultrametric and Euclidean, and the features' length."""
        config, rendered = self.config, outputs["features"]
        groups: Groups = batch["groups"]
        features = normalize(rendered, dim=-1)
        losses = {"norm_loss": config.norm_weight * norm_loss(rendered)}
        pairs = groups.pairs()
        if config.ultrametric_weight > 0:
            found = similarities(
                features, batch["edges"], batch["barrier"], pairs, config.ultrametric_mode, config.barrier_weight
            )
            loss = contrastive_loss(*groups.split(found), config.temperature)
            losses["ultrametric_loss"] = config.ultrametric_weight * loss
        if config.euclidean_weight > 0:
            ends = torch.as_tensor(pairs, device=features.device)
            cosines = (features[ends[:, 0]] * features[ends[:, 1]]).sum(dim=-1)
            loss = contrastive_loss(*groups.split(cosines), config.temperature)
            losses["euclidean_loss"] = config.euclidean_weight * loss
        return losses

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """nerfacto's metrics, or the head's in its stage."""
        return super().get_metrics_dict(_colored(outputs, batch), batch)

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """nerfacto's losses and the smoothness of depth, or the head's in its stage."""
        losses = super().get_loss_dict(_colored(outputs, batch), batch, metrics_dict)
        if "num_colored" in batch:
            extra = slice(batch["num_colored"], None)
            # The original's scenes have sides of length 1.
            side = (self.scene_box.aabb[1] - self.scene_box.aabb[0]).max().to(self.device)
            depth = (outputs["expected_depth"][extra] / side).view(-1, 4)
            smoothness = depth_smoothness(depth, outputs["accumulation"][extra].view(-1, 4))
            losses["depth_smooth_loss"] = self.config.depth_smooth_weight * smoothness
        return losses


def seen_places(camera: Cameras, outputs: dict[str, Tensor]) -> np.ndarray:
    """Where the rays of a view end.

    Args:
        camera: one camera (batch of 1), scene frame.
        outputs: `depth` (H, W, 1), distance along the ray, and `accumulation` (H, W, 1).

    Returns:
        (H, W, 3) float32, scene frame; NaN where a ray absorbs less than half.
    """
    rays = camera.to("cpu").generate_rays(camera_indices=0, keep_shape=True)
    met = outputs["accumulation"].cpu() >= MIN_OPACITY
    return torch.where(met, rays.origins + rays.directions * outputs["depth"].cpu(), torch.nan).numpy()


def _colored(outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
    """Outputs whose pictures are of the rays with a colour to learn alone."""
    if "num_colored" not in batch:
        return outputs
    some = slice(batch["num_colored"])
    return {**outputs, "rgb": outputs["rgb"][some], "accumulation": outputs["accumulation"][some]}
