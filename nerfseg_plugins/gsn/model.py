"""`gnt`: GNT's first stage, colours of unseen scenes from source views of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import mse_loss

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.published import Published, read_published
from nerfseg_plugins.gsn.resunet import ResUNet
from nerfseg_plugins.gsn.sampling import (
    PointsSeen,
    inverse_depths,
    points_on,
    positions_along,
    scaled_at_random,
    see,
)
from nerfseg_plugins.gsn.transformer import Color, Direction, Query, RayTokens, RayTrunk
from nerfseg_plugins.image_based.model import ImageBasedModel, ImageBasedModelConfig
from nerfseg_plugins.image_based.views import SourceViews
from nerfseg_plugins.weights import load_into


@dataclass
class GntModelConfig(ImageBasedModelConfig):
    """GNT's networks; the defaults are the published sizes, in GSN's form."""

    _target: type = field(default_factory=lambda: GntModel)
    """target class to instantiate"""
    eval_num_rays_per_chunk: int = 5120
    """Rays times source views rendered at once; memory grows with it, and with the number of samples."""
    num_source_views: Optional[int] = 10
    """Source views of a rendering, the nearest to its camera; unset: all views of the scene that may be sources."""
    num_samples: int = 192
    """Points on a ray, evenly spaced in 1 / distance between the scene's near and far."""
    eval_num_samples: Optional[int] = None
    """Points on a ray when nothing is trained; unset: as in training."""
    width: int = 64
    """Channels of a token."""
    depth: int = 4
    """Blocks of a view transformer and a ray transformer; GNT's own cross-scene runs have 8."""
    direction: Direction = "last"
    """Where the viewing direction enters: last, so that tokens do not depend on it (GSN), or inside blocks (GNT)."""
    color: Color = "latent"
    """The colour is a linear function of the mean token, as published (latent), or that plus the source views' colours
    blended by learned weights over views and points (blend), which learns in minutes."""
    positions: Literal["scene", "ray"] = "scene"
    """What the network is told of where a point is: its place in the scene's frame, as published, or how far along its
    ray it is (ray), from which less is learned about where the walls of training scenes stand."""
    near_factors: tuple[float, float] = (1.0, 1.0)
    """While training, the near of each scene is multiplied by a factor drawn between these, so that the depths of
    training scenes are not taken for those of all."""
    far_factors: tuple[float, float] = (1.0, 1.0)
    """Likewise far."""
    query: Query = "maximum"
    """The first tokens: the largest of what the source views hold of a point, as published, or that and its mean and
    variance (moments), which tell surfaces at once."""
    dropout: float = 0.1
    """Dropout in attentions and feed-forward layers while training."""
    pool_unseen: bool = False
    """Whether a view that does not see a point takes part in its first query with what the network makes of zeros, as
    in the published implementation; else such a view has no influence at all. Set it with published weights."""
    encoder_dim: int = 32
    """Channels of the encoder's maps."""
    encoder_widths: tuple[int, int, int] = (64, 128, 256)
    """Channels of the encoder's three stages."""
    encoder_blocks: tuple[int, int, int] = (3, 4, 6)
    """Residual blocks of the encoder's three stages."""
    encoder_stem_stride: int = 2
    """2 for maps of 1/4 of the image, as published; 1 for 1/2."""


class Rendered(NamedTuple):
    """What the trunk makes of rays, and from what."""

    found: RayTokens
    seen: PointsSeen
    distances: Tensor
    """(R, S) along the unit rays, scene units."""


class GntModel(ImageBasedModel):
    """Colours from the ray transformer, depth from its attention.

    Outputs per ray: `rgb` (3), `depth` and the same as `expected_depth` (1: the mean distance of what the ray attends
    to, scene units) and `accumulation` (1: the share of the attention on points that some source view sees). The
    attention is that of the last ray transformer, the mean over heads and over the points that attend, since the
    colour is taken from the mean of all of them; where colours are blended, it is the weights of the points.
    """

    config: GntModelConfig

    def populate_modules(self) -> None:
        """Build the networks."""
        super().populate_modules()
        config = self.config
        self.encoder = ResUNet(
            config.encoder_dim, config.encoder_widths, config.encoder_blocks, config.encoder_stem_stride
        )
        self.trunk = RayTrunk(
            width=config.width,
            depth=config.depth,
            features=config.encoder_dim,
            direction=config.direction,
            dropout=config.dropout,
            color=config.color,
            query=config.query,
            pool_unseen=config.pool_unseen,
        )

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """`transformers` and `encoder`, which learn at rates of their own."""
        return {"transformers": list(self.trunk.parameters()), "encoder": list(self.encoder.parameters())}

    # Rendering --------------------------------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> Tensor:
        """Feature maps (N, D, about H / 4, about W / 4) of images (N, 3, H, W) in [0, 1]."""
        return self.encoder(images)

    def render(self, rays: RayBundle, views: SourceViews) -> dict[str, Tensor]:
        """Colour and depth of B * R rays; see the class."""
        return self.outputs_of(self.run_trunk(rays, views))

    def run_trunk(self, rays: RayBundle, views: SourceViews, with_features: bool = False) -> Rendered:
        """Sample the rays, look the points up in the views, and make tokens of them.

        Raises:
            InputError: rays begin in the camera, from where they cannot be sampled evenly in 1 / distance.
        """
        assert rays.nears is not None and rays.fars is not None
        if bool(rays.nears.amin() <= 0):
            raise InputError(
                "rays of a scene begin at distance 0, but its points are evenly spaced in 1 / distance; give the "
                "distance of what is nearest as --pipeline.datamanager.near"
            )
        wanted = self.config.num_samples
        if not self.training and self.config.eval_num_samples is not None:
            wanted = self.config.eval_num_samples
        nears, fars = self.bounds(rays.nears, rays.fars, views.num_scenes)
        distances = inverse_depths(nears, fars, wanted, jitter=self.training)
        points = points_on(rays.origins, rays.directions, distances)
        seen = see(points, rays.origins, views, with_features)
        told = points if self.config.positions == "scene" else positions_along(distances, nears, fars)
        return Rendered(self.trunk(seen, told, rays.directions), seen, distances)

    def bounds(self, nears: Tensor, fars: Tensor, scenes: int) -> tuple[Tensor, Tensor]:
        """Between which distances (R, 1) the rays of some scenes are sampled; while training, at random."""
        if not self.training:
            return nears, fars
        nears = scaled_at_random(nears, self.config.near_factors, scenes)
        fars = scaled_at_random(fars, self.config.far_factors, scenes)
        return nears, torch.maximum(fars, 1.1 * nears)

    def outputs_of(self, rendered: Rendered) -> dict[str, Tensor]:
        """What is shown of the rays; colours are clipped except in training."""
        found, seen, distances = rendered
        depth = (found.attention * distances).sum(dim=-1, keepdim=True)
        return {
            "rgb": found.rgb if self.training else found.rgb.clamp(0, 1),
            "accumulation": (found.attention * seen.mask.any(dim=-1)).sum(dim=-1, keepdim=True),
            "depth": depth,
            "expected_depth": depth,
        }

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: Optional[dict[str, Tensor]] = None
    ) -> dict[str, Tensor]:
        """Mean squared difference of colours."""
        return {"rgb_loss": mse_loss(outputs["rgb"], self.photo(batch))}

    # Weights ----------------------------------------------------------------------------------------------------------

    def load_published(self, path: Path) -> None:
        """Take the weights of a checkpoint that GNT or GSN published.

        Raises:
            InputError: it is damaged, or of networks of other sizes.
        """
        found = read_published(path)
        self.check_published(found, path)
        load_into(self.trunk, found.trunk, path, "the transformers")
        load_into(self.encoder, found.encoder, path, "the encoder")

    def check_published(self, found: Published, path: Path) -> None:
        """Name the options by which a published checkpoint differs from this model, where they are obvious.

        Raises:
            InputError: they differ.
        """
        config = self.config
        for option, theirs, ours in (
            ("direction", found.direction, config.direction),
            ("depth", found.depth, config.depth),
            ("color", "latent", config.color),
            ("query", "maximum", config.query),
        ):
            if theirs != ours:
                raise InputError(
                    f"{path} is of a network with {option} {theirs}, but this one has {ours}; pass "
                    f"--pipeline.model.{option} {theirs}"
                )
