"""Instance-NeRF's model: an instance field on frozen geometry (arXiv 2304.04395, section 3.3)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import torch
from nerfstudio.model_components.renderers import SemanticRenderer
from torch import Tensor, nn
from torch.nn.functional import pad

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.instance_nerf.display import InstanceDisplay, shown_ids, visible_mask
from nerfseg_plugins.instance_nerf.losses import instance_cross_entropy, label_regularization, match_view_labels
from nerfseg_plugins.instance_nerf.masks3d import labelled_voxels, to_scene
from nerfseg_plugins.instance_nerf.panel import InstancePanel
from nerfseg_plugins.scene.colors import BACKGROUND_COLOR, ids_to_colors, palette, write_palette
from nerfseg_plugins.scene.head_model import FrozenSamples, HeadModel, HeadModelConfig
from nerfseg_plugins.segments.masks3d import IdGrid, read_masks3d

NEVER = -1e4
"""Logit of a class that does not exist."""


@dataclass
class InstanceModelConfig(HeadModelConfig):
    """Configuration of the instance field."""

    _target: type = field(default_factory=lambda: InstanceModel)
    """target class to instantiate"""
    label_mode: Literal["scene", "view"] = "scene"
    """Whether a mask id names the same instance in every view, or each view counts on its own (linear assignment)."""
    max_instances: int = 30
    """Instances that the field can tell apart where each view counts on its own."""
    regularization_weight: float = 1.0
    """Weight of the depth-edge-aware label regularisation; 0 turns it off."""
    regularization_bandwidth: float = 0.02
    """Depth difference, as a part of the far distance, across which labels need not agree."""
    regularize: Literal["probabilities", "logits"] = "probabilities"
    """What the regularisation compares."""
    masks3d: Optional[Path] = None
    """Instances as voxels over the room (NeRF-RCNN's .npz or an .npy id grid): supervises the field directly."""
    masks3d_weight: float = 1.0
    """Weight of the loss on masks3d."""
    masks3d_samples: int = 4096
    """Voxels of masks3d per step."""
    label_smoothing: float = 0.0
    """Label smoothing of the cross entropy; a little helps where masks are noisy."""


class InstanceModel(HeadModel):
    """K logits per position, composited with the frozen weights; K = instances + 1, class 0 is background.

    Outputs beside nerfacto's, per ray: `instance_logits` (K), `instance_colormap` (3, palette colours: exact ids in a
    PNG) and `instance_confidence` (1, probability of the winning class).
    """

    config: InstanceModelConfig

    def populate_modules(self) -> None:
        """Build the scene, the instance field and the palette."""
        self._grid = self._read_masks3d()
        super().populate_modules()
        self.colors = palette(self.head_dim())
        self.display = InstanceDisplay(self.colors)
        self.panel = InstancePanel(self, self.names)
        self.renderer_logits = SemanticRenderer()
        self._voxels = self._place_voxels(self._grid) if self._grid is not None else None

    def head_dim(self) -> int:
        """Number of classes K."""
        in_grid = int(self._grid.ids.max()) if self._grid is not None else 0
        in_masks = self.kwargs["metadata"]["num_labels"]
        return max(self.config.max_instances if self.config.label_mode == "view" else in_masks, in_grid) + 1

    def head_lacks(self) -> Optional[str]:
        """Masks, where the data have none."""
        if self.kwargs["metadata"]["num_labels"] > 0:
            return None
        return "they have no instance masks; put them into masks/, or name their folder with front3d-data --masks"

    def _read_masks3d(self) -> Optional[IdGrid]:
        if self.config.masks3d is None:
            return None
        grid = read_masks3d(self.config.masks3d, self.kwargs["metadata"].get("room_bbox"))
        if not (grid.ids > 0).any():
            raise InputError(f"{self.config.masks3d} holds no instance; pass 3D masks with some, or leave them out")
        return grid

    def _place_voxels(self, grid: IdGrid) -> tuple[Tensor, Tensor]:
        """Labelled voxel centres (N, 3), scene frame, and their ids (N,)."""
        metadata = self.kwargs["metadata"]
        centres, ids = labelled_voxels(grid)
        points = to_scene(centres, metadata["dataparser_transform"], metadata["dataparser_scale"])
        return points, torch.from_numpy(ids)

    # What the head adds ----------------------------------------------------------------------------------------------

    def logits(self, samples: FrozenSamples) -> Tensor:
        """Composited logits (R, K): the weighted sum over samples, not normalised, so an empty ray is all zeros."""
        return self.renderer_logits(self.head(samples.positions, samples.geo), weights=samples.weights)

    def head_train_outputs(self, samples: FrozenSamples) -> dict[str, Tensor]:
        """Logits, and the depth that the regularisation looks at."""
        return {"instance_logits": self.logits(samples), "depth": samples.depth}

    def head_eval_outputs(self, samples: FrozenSamples, scene: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits, palette colours and confidence."""
        logits = self.logits(samples)
        ids = shown_ids(self.display, self.predict_ids({"instance_logits": logits}), scene["accumulation"])
        return {
            # Two channels are the one number that nerfstudio cannot show: a third one that never wins joins them.
            "instance_logits": logits if logits.shape[-1] != 2 else pad(logits, (0, 1), value=NEVER),
            "instance_colormap": ids_to_colors(ids, self.display.colors),
            "instance_confidence": logits.softmax(dim=-1).amax(dim=-1, keepdim=True),
        }

    def predict_ids(self, outputs: dict[str, Tensor]) -> Tensor:
        """Instance ids (...) long from rendered logits (..., K); a tie, as on an empty ray, is background."""
        logits = outputs["instance_logits"]
        ids = logits.argmax(dim=-1)
        return torch.where(logits.amax(dim=-1) > logits[..., 0], ids, torch.zeros_like(ids))

    # What is shown ---------------------------------------------------------------------------------------------------

    @property
    def names(self) -> dict[int, str]:
        """Names by id; empty where the masks are not the data's own, since then their ids mean something else."""
        metadata = self.kwargs["metadata"]
        own = metadata.get("mask_filenames") is not None and self.config.label_mode == "scene"
        if not own or metadata["mask_filenames"] != metadata.get("truth_filenames"):
            return {}
        return {i: name for i, name in metadata.get("instance_names", {}).items() if 0 <= i < len(self.colors)}

    @torch.no_grad()
    def hidden(self, positions: Tensor, geo: Optional[Tensor] = None) -> Optional[Tensor]:
        """Points whose likeliest instance is not shown, (...) bool; None when all are."""
        if self.display.shows_all or not self.head_trained:
            return None
        if geo is None:
            _, geo = self.query_geometry(positions.reshape(-1, 3))
            geo = geo.view(*positions.shape[:-1], -1)
        return ~visible_mask(self.display, self.predict_ids({"instance_logits": self.head(positions, geo)}))

    def backdrop(self) -> Optional[Tensor]:
        """The background's palette colour where the background is hidden: no wall behind what is left."""
        if self.display.shows(0) or not self.head_trained:
            return None
        return torch.tensor(BACKGROUND_COLOR, device=self.device) / 255

    @contextmanager
    def as_trained(self) -> Iterator[None]:
        """Nothing is hidden or recoloured inside this context."""
        display, self.display = self.display, InstanceDisplay(self.colors)
        try:
            yield
        finally:
            self.display = display

    def panels(self) -> dict[str, nn.Module]:
        """The list of instances."""
        return {"Instances": self.panel}

    def write_side_files(self, folder: Path) -> None:
        """Write palette.json: the colours of `instance_colormap` and the instances' names."""
        write_palette(folder / "palette.json", self.colors, self.names)

    # Losses ----------------------------------------------------------------------------------------------------------

    def head_loss(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Cross entropy, label regularisation, and the loss on 3D masks where they are given."""
        config = self.config
        logits = outputs["instance_logits"]
        labels = batch["instance_ids"].to(logits.device)
        if config.label_mode == "view":
            labels = match_view_labels(logits, labels, batch["indices"][:, 0].to(logits.device))
        losses = {"instance_loss": instance_cross_entropy(logits, labels, config.label_smoothing)}
        size = int(batch.get("patch_size", 1))
        if config.regularization_weight > 0 and size > 1:
            patches = logits.view(-1, size, size, logits.shape[-1])
            depth = outputs["depth"].view(-1, size, size)
            depth = depth / depth.amax().clamp_min(1e-6)
            regularization = label_regularization(patches, depth, config.regularization_bandwidth, config.regularize)
            losses["regularization_loss"] = config.regularization_weight * regularization
        if self._voxels is not None:
            losses["masks3d_loss"] = config.masks3d_weight * self._masks3d_loss(*self._voxels)
        return losses

    def _masks3d_loss(self, points: Tensor, ids: Tensor) -> Tensor:
        chosen = torch.randint(len(points), (min(self.config.masks3d_samples, len(points)),))
        positions = points[chosen].to(self.device)
        with torch.no_grad():
            _, geo = self.query_geometry(positions)
        return instance_cross_entropy(self.head(positions, geo), ids[chosen].to(self.device))

    def head_metrics(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Part of the labelled pixels whose id is right; left out where ids mean nothing across views."""
        if self.config.label_mode == "view":
            return {}
        labels = batch["instance_ids"].to(self.device)
        labelled = labels >= 0
        right = (self.predict_ids(outputs) == labels) & labelled
        return {"instance_accuracy": right.sum() / labelled.sum().clamp_min(1)}
