"""GSN's second stage: the 2D features that a ray meets, from the trunk's tokens and the source views' own features.

Gupta et al., "GSN: Generalisable Segmentation in Neural Radiance Fields" (AAAI 2024, arXiv 2402.04632), and its
released transformer_network.py (there DiNOPredictor), whose names of weights are kept but for the last layer's.
"""

from typing import Optional

import torch
from torch import Tensor, nn

from nerfseg_plugins.gsn.attention import RayTransformer, ViewTransformer
from nerfseg_plugins.gsn.sampling import PointsSeen
from nerfseg_plugins.gsn.transformer import HEADS, RayTokens, masked_maximum


class SemanticHead(nn.Module):
    """Tokens and source features of a ray's points -> the features that the ray meets.

    Args:
        width: W, channels of the trunk's tokens; W + C is a multiple of 8.
        channels: C, of the features.
        dropout: rate in attentions and feed-forward layers.
        head_width: channels inside the head; None for W + C, as published; else a multiple of 8, to which tokens and
            features are brought first.
        blend: whether the head only corrects the source features as the trunk's `Blend` pools them, beginning with no
            correction; as published it is on its own.
        pool_unseen: see `masked_maximum`.
    """

    def __init__(
        self,
        width: int = 64,
        channels: int = 64,
        dropout: float = 0.1,
        head_width: Optional[int] = None,
        blend: bool = False,
        pool_unseen: bool = False,
    ) -> None:
        super().__init__()
        inside = head_width or width + channels
        self.pool_unseen, self.blend = pool_unseen, blend
        self.token_fc = nn.Linear(width + channels, inside) if head_width else nn.Identity()
        self.view_fc = nn.Linear(width + channels, inside) if head_width else nn.Identity()
        self.view_trans = ViewTransformer(inside, dropout)
        self.ray_trans = RayTransformer(inside, HEADS, dropout)
        self.norm = nn.LayerNorm(inside)
        self.feature_fc = nn.Linear(inside, channels)
        if blend:
            nn.init.zeros_(self.feature_fc.weight)
            nn.init.zeros_(self.feature_fc.bias)

    def forward(self, found: RayTokens, seen: PointsSeen) -> Tensor:
        """Features (R, C) of rays; not normalised.

        Args:
            found: the trunk's tokens.
            seen: what the views hold of the points, their features (R, S, V, C) among it.
        """
        assert seen.features is not None
        pooled = masked_maximum(seen.features, seen.mask, self.pool_unseen)
        views = self.view_fc(torch.cat([found.views, seen.features], dim=-1))
        tokens = self.token_fc(torch.cat([found.tokens, pooled], dim=-1))
        tokens = self.view_trans(tokens, views, seen.ray_diff, seen.mask).tokens
        tokens = self.norm(self.ray_trans(tokens).tokens)
        features = self.feature_fc(tokens.mean(dim=1))
        if not self.blend:
            return features
        assert found.per_view is not None
        shares = found.attention[..., None] * found.per_view
        return features + torch.einsum("rsv,rsvc->rc", shares, seen.features)
