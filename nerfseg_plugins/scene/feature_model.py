"""FeatureModel: a scene whose head is a field of features, shown in colours that stay the same in all views."""

from typing import Optional

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.scene.colors import PCABasis
from nerfseg_plugins.scene.head_model import FrozenSamples, HeadModel

MIN_ACCUMULATION = 0.2
"""A ray that absorbs less meets nothing."""
POSITIONS = 4096
"""Trained positions that are remembered; the colours of features are fitted to them."""
REMEMBERED_PER_STEP = 64
GREY = 0.5
"""Colour of rays that meet nothing."""


class FeatureModel(HeadModel):
    """A `HeadModel` whose head gives features; subclasses call `remember` in every training step of the head."""

    trained_positions: Tensor

    def populate_modules(self) -> None:
        """Build the scene and the feature field."""
        super().populate_modules()
        # Infinite where none is remembered yet: unlike NaN it equals itself.
        self.register_buffer("trained_positions", torch.full((POSITIONS, 3), torch.inf))
        self._basis: tuple[int, Optional[PCABasis]] = (-1, None)

    @torch.no_grad()
    def remember(self, samples: FrozenSamples) -> None:
        """Keep where some rays of a batch end."""
        some = slice(0, min(REMEMBERED_PER_STEP, len(samples.weights)))
        weights = samples.weights[some, :, 0]
        ends = samples.positions[some].gather(1, weights.argmax(dim=1)[:, None, None].expand(-1, 1, 3))[:, 0]
        slots = (torch.arange(len(ends), device=ends.device) + self.step * REMEMBERED_PER_STEP) % POSITIONS
        met = (weights.sum(dim=1) >= MIN_ACCUMULATION)[:, None]
        self.trained_positions[slots] = torch.where(met, ends, self.trained_positions[slots])

    @torch.no_grad()
    def features_at(self, positions: Tensor) -> Tensor:
        """Features of points: unit vectors (N, C) float32 at positions (N, 3), scene frame."""
        _, geo = self.query_geometry(positions)
        return normalize(self.head(positions, geo), dim=-1)

    def feature_basis(self) -> Optional[PCABasis]:
        """How features become colours: the same in all views, and again after the run is loaded.

        None before the head has met anything.
        """
        steps = int(self.head_steps)
        if self._basis[0] != steps:
            positions = self.trained_positions[self.trained_positions.isfinite().all(dim=-1)]
            self._basis = (steps, PCABasis.fit(self.features_at(positions)) if len(positions) else None)
        return self._basis[1]

    def feature_colors(self, features: Tensor, met: Tensor) -> Tensor:
        """Colours (..., 3) of features (..., C); grey where a ray has `met` (..., 1) nothing."""
        basis = self.feature_basis()
        grey = torch.full_like(features[..., :3], GREY)
        return grey if basis is None else torch.where(met, basis.project(features.detach()), grey)
