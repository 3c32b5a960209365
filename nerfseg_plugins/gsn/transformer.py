"""GNT's trunk: the tokens of a ray's points, from what the source views hold of them, and the ray's colour.

In GNT (Varma et al., ICLR 2023) the viewing direction enters in every other block. In GSN (Gupta et al., AAAI 2024,
arXiv 2402.04632) it enters after the last LayerNorm alone, so that the tokens, on which semantics stand, are the same
from wherever a point is looked at. Names of weights are those of GNT's released transformer_network.py.
"""

from typing import Literal, NamedTuple, Optional

import torch
from torch import Tensor, nn

from nerfseg_plugins.gsn.attention import RayTransformer, ViewTransformer, masked_softmax
from nerfseg_plugins.gsn.sampling import PointsSeen

FREQUENCIES = 10
ENCODED = 3 + 3 * 2 * FREQUENCIES
"""Channels of an encoded position or direction."""
HEADS = 4

Direction = Literal["last", "blocks"]
Color = Literal["latent", "blend"]
Query = Literal["maximum", "moments"]


class RayTokens(NamedTuple):
    """What the trunk makes of R rays."""

    rgb: Tensor
    """(R, 3), not clipped."""
    tokens: Tensor
    """(R, S, W) of the points, before the last LayerNorm."""
    views: Tensor
    """(R, S, V, W) of what the source views hold of the points."""
    attention: Tensor
    """(R, S) how much the ray's colour attends to each point; sums to 1."""
    per_view: Optional[Tensor] = None
    """(R, S, V) shares of the views in the colours of points, where colours are blended."""


def encode_position(x: Tensor) -> Tensor:
    """NeRF's encoding (..., 3) -> (..., 63): x, then sin and cos of 2^k x for k from 0 to 9."""
    angles = x[..., None, :] * 2.0 ** torch.arange(FREQUENCIES, device=x.device, dtype=x.dtype)[:, None]
    waves = torch.stack([angles.sin(), angles.cos()], dim=-2)
    return torch.cat([x, waves.flatten(-3)], dim=-1)


def masked_maximum(values: Tensor, mask: Tensor, zeros_count: bool = False) -> Tensor:
    """Largest value of each channel over the views that see a point; 0 where none does.

    Args:
        values: (R, S, V, C).
        mask: (R, S, V) bool.
        zeros_count: whether views that do not see the point take part with the values that they have.

    Returns:
        (R, S, C).
    """
    if zeros_count:
        return values.amax(dim=2)
    lowest = torch.finfo(values.dtype).min
    found = values.masked_fill(~mask[..., None], lowest).amax(dim=2)
    return found.masked_fill(~mask.any(dim=2)[..., None], 0.0)


def masked_moments(values: Tensor, mask: Tensor) -> Tensor:
    """Mean and variance of each channel over the views that see a point; 0 where none does.

    Args:
        values: (R, S, V, C).
        mask: (R, S, V) bool.

    Returns:
        (R, S, 2 C).
    """
    shares = mask / mask.sum(dim=2, keepdim=True).clamp_min(1)
    mean = torch.einsum("rsv,rsvc->rsc", shares, values)
    # Not the mean square less the squared mean, of which nothing is left where the views agree.
    variance = torch.einsum("rsv,rsvc->rsc", shares, (values - mean[:, :, None]).square())
    return torch.cat([mean, variance], dim=-1)


class RayTrunk(nn.Module):
    """Blocks of a view transformer and a ray transformer, and the colour.

    Args:
        width: W, channels of a token; a multiple of 8.
        depth: number of blocks; every other one, beginning with the first, is told positions.
        features: D, channels of the encoder's maps.
        direction: "last" for GSN's tokens, which do not depend on the viewing direction; "blocks" as in GNT.
        dropout: rate in all attentions and feed-forward layers.
        color: "latent" as published; "blend": see `Blend`.
        query: the first tokens: the largest of what the views hold, as published ("maximum"), or that and what a
            layer makes of its mean and variance ("moments", as in IBRNet): surfaces are where views agree.
        pool_unseen: see `masked_maximum`.
    """

    def __init__(
        self,
        width: int = 64,
        depth: int = 4,
        features: int = 32,
        direction: Direction = "last",
        dropout: float = 0.1,
        color: Color = "latent",
        query: Query = "maximum",
        pool_unseen: bool = False,
    ) -> None:
        super().__init__()
        self.direction, self.pool_unseen = direction, pool_unseen
        self.rgbfeat_fc = _mlp(features + 3, width)
        self.view_trans = nn.ModuleList(ViewTransformer(width, dropout) for _ in range(depth))
        self.ray_trans = nn.ModuleList(RayTransformer(width, HEADS, dropout) for _ in range(depth))
        told = width + (2 if direction == "blocks" else 1) * ENCODED
        self.q_fcs = nn.ModuleList(_mlp(told, width) if block % 2 == 0 else nn.Identity() for block in range(depth))
        self.norm = nn.LayerNorm(width)
        self.hviews_fc = _mlp(width + ENCODED, width) if direction == "last" else None
        self.rgb_fc = nn.Linear(width, 3)
        self.blend = Blend(width) if color == "blend" else None
        self.moments_fc = nn.Linear(2 * width, width) if query == "moments" else None

    def forward(self, seen: PointsSeen, positions: Tensor, directions: Tensor) -> RayTokens:
        """Tokens and colour.

        Args:
            seen: what V views hold of the points.
            positions: (R, S, 3) of the points, scene frame; or other three numbers that say where they are.
            directions: (R, 3) unit vectors.
        """
        where = encode_position(positions)
        looking = encode_position(directions)[:, None].expand(-1, positions.shape[1], -1)
        views = self.rgbfeat_fc(seen.colors)
        tokens = masked_maximum(views, seen.mask, self.pool_unseen)
        if self.moments_fc is not None:
            tokens = tokens + self.moments_fc(masked_moments(views, seen.mask))
        weights = None
        for view_trans, q_fc, ray_trans in zip(self.view_trans, self.q_fcs, self.ray_trans, strict=True):
            tokens = view_trans(tokens, views, seen.ray_diff, seen.mask).tokens
            if not isinstance(q_fc, nn.Identity):
                told = [tokens, where, looking] if self.direction == "blocks" else [tokens, where]
                tokens = q_fc(torch.cat(told, dim=-1))
            tokens, weights = ray_trans(tokens)
        assert weights is not None
        found = self.norm(tokens)
        if self.hviews_fc is not None:
            found = self.hviews_fc(torch.cat([found, looking], dim=-1))
        rgb = self.rgb_fc(found.mean(dim=1))
        if self.blend is None:
            return RayTokens(rgb, tokens, views, weights.mean(dim=(1, 2)))
        blended, attention, per_view = self.blend(found, views, seen)
        return RayTokens(rgb + blended, tokens, views, attention, per_view)


class Blend(nn.Module):
    """Colours of the source views, blended over views and points, to which the latent colour is added.

    Not part of the published networks, whose colour is a linear function of the mean token alone: that has to learn to
    pass colours through, for which it takes days. The points' weights are a softmax along the ray, the views' one over
    the views that see a point (as in IBRNet).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_points = nn.Linear(width, 1)
        self.query = nn.Linear(width, width // 2)
        self.key = nn.Linear(width + 4, width // 2, bias=False)
        self.of_views = nn.Linear(width // 2, 1)

    def forward(self, tokens: Tensor, views: Tensor, seen: PointsSeen) -> tuple[Tensor, Tensor, Tensor]:
        """Blend.

        Args:
            tokens: (R, S, W) of the points.
            views: (R, S, V, W) of what the views hold of them.
            seen: see `PointsSeen`.

        Returns:
            (R, 3) colours, (R, S) weights of the points, (R, S, V) those of the views.
        """
        hidden = self.query(tokens)[:, :, None] + self.key(torch.cat([views, seen.ray_diff], dim=-1))
        per_view = masked_softmax(self.of_views(torch.relu(hidden))[..., 0], seen.mask, dim=2)
        colors = (per_view[..., None] * seen.colors[..., :3]).sum(dim=2)
        attention = self.of_points(tokens)[..., 0].softmax(dim=1)
        return (attention[..., None] * colors).sum(dim=1), attention, per_view


def _mlp(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))
