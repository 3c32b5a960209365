"""A field of D channels over space: hash grid and MLP, tinycudann's kernels where installed, torch elsewhere."""

from typing import Literal, Optional

import torch
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.field_components.encodings import HashEncoding
from nerfstudio.field_components.mlp import MLP
from nerfstudio.field_components.spatial_distortions import SpatialDistortion
from torch import Tensor, nn


def grid_positions(
    positions: Tensor, aabb: Tensor, spatial_distortion: Optional[SpatialDistortion]
) -> tuple[Tensor, Tensor]:
    """Map scene positions into the unit cube of a hash grid, as nerfacto's fields do.

    Args:
        positions: (..., 3), scene frame.
        aabb: (2, 3) corners of the scene box, scene frame.
        spatial_distortion: contraction of unbounded space into the ball of radius 2, or None for a bounded scene.

    Returns:
        positions (..., 3) in [0, 1], zero outside the box; and whether each lies inside, (...) bool.
    """
    if spatial_distortion is not None:
        unit = (spatial_distortion(positions) + 2.0) / 4.0
    else:
        unit = SceneBox.get_normalized_positions(positions, aabb)
    inside = ((unit > 0.0) & (unit < 1.0)).all(dim=-1)
    return unit * inside[..., None], inside


class FeatureField(nn.Module):
    """Position (and optionally what the frozen geometry knows of it) -> `out_dim` channels, independent of the view.

    The head of Instance-NeRF (arXiv 2304.04395, section 3.1), ISRF and the ultrametric field: a hash grid of its own,
    so that what it learns cannot disturb geometry and colour.

    Args:
        aabb: (2, 3) corners of the scene box, scene frame.
        out_dim: channels D.
        spatial_distortion: the contraction of the frozen field, or None.
        geo_features: channels of the frozen geometry's features that are concatenated to the grid's; 0 for none.
        num_levels, base_res, max_res, log2_hashmap_size, features_per_level: the hash grid.
        hidden_dim, num_layers: the MLP.
        implementation: "tcnn" falls back to torch where tinycudann is missing.
    """

    aabb: Tensor

    def __init__(
        self,
        aabb: Tensor,
        out_dim: int,
        spatial_distortion: Optional[SpatialDistortion] = None,
        geo_features: int = 0,
        num_levels: int = 16,
        base_res: int = 16,
        max_res: int = 2048,
        log2_hashmap_size: int = 19,
        features_per_level: int = 2,
        hidden_dim: int = 64,
        num_layers: int = 3,
        implementation: Literal["tcnn", "torch"] = "tcnn",
    ) -> None:
        super().__init__()
        # Not part of the state: the frozen field beside this one already keeps the box, and checkpoints compare that.
        self.register_buffer("aabb", aabb.clone(), persistent=False)
        self.spatial_distortion = spatial_distortion
        self.out_dim = out_dim
        self.geo_features = geo_features
        self.encoding = HashEncoding(
            num_levels=num_levels,
            min_res=base_res,
            max_res=max_res,
            log2_hashmap_size=log2_hashmap_size,
            features_per_level=features_per_level,
            implementation=implementation,
        )
        self.mlp = MLP(
            in_dim=self.encoding.get_out_dim() + geo_features,
            num_layers=num_layers,
            layer_width=hidden_dim,
            out_dim=out_dim,
            activation=nn.ReLU(),
            out_activation=None,
            implementation=implementation,
        )

    def forward(self, positions: Tensor, geo: Optional[Tensor] = None) -> Tensor:
        """Channels at positions.

        Args:
            positions: (..., 3), scene frame.
            geo: (..., geo_features) features of the frozen geometry at the same positions; required if the field was
                built with them.

        Returns:
            (..., out_dim) float32; zero outside the scene box.
        """
        unit, inside = grid_positions(positions, self.aabb, self.spatial_distortion)
        x = self.encoding(unit.reshape(-1, 3))
        if self.geo_features:
            if geo is None:
                raise ValueError("this field was built with geometry features: pass geo")
            x = torch.cat([x, geo.reshape(-1, self.geo_features).to(x)], dim=-1)
        return self.mlp(x).float().view(*positions.shape[:-1], self.out_dim) * inside[..., None]
