"""The two transformers of GNT: over the source views of a point, and over the points of a ray.

Varma et al., "Is Attention All That NeRF Needs?" (ICLR 2023, arXiv 2207.13298), section 3 and appendix B, and its
released transformer_network.py, whose names of weights are kept. R rays have S points each, a point V source views;
tokens have W channels.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

NORM_EPS = 1e-6
"""Of the transformers' LayerNorms, as published; the trunk's last one has torch's."""


class Attended(NamedTuple):
    """What an attention gives."""

    tokens: Tensor
    """(R, S, W)."""
    weights: Tensor
    """View attention: (R, S, V, W), per channel; ray attention: (R, heads, S, S), from the third axis to the last."""


def masked_softmax(logits: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over what `mask` (bool, broadcastable) lets through; exactly 0 elsewhere, and everywhere where it lets
    nothing through."""
    # Added, not filled in: half the time, and half the memory that training keeps.
    never = torch.finfo(logits.dtype).min / 2
    shares = (logits + torch.zeros_like(mask, dtype=logits.dtype).masked_fill(~mask, never)).softmax(dim)
    return shares * mask.any(dim=dim, keepdim=True)


class FeedForward(nn.Module):
    """Two linear layers, the hidden one four times as wide."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.dp = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., W) -> (..., W)."""
        return self.dp(self.fc2(self.dp(torch.relu(self.fc1(x)))))


class ViewAttention(nn.Module):
    """Subtraction attention from a point to its source views, with weights of its own for every channel.

    weights = softmax over views of MLP(key - query + position), result = sum of weights * (value + position), where the
    position is an MLP of how the directions to the point differ. Time and memory are linear in the number of views.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.q_fc = nn.Linear(width, width, bias=False)
        self.k_fc = nn.Linear(width, width, bias=False)
        self.v_fc = nn.Linear(width, width, bias=False)
        self.pos_fc = nn.Sequential(nn.Linear(4, width // 8), nn.ReLU(), nn.Linear(width // 8, width))
        self.attn_fc = nn.Sequential(nn.Linear(width, width // 8), nn.ReLU(), nn.Linear(width // 8, width))
        self.out_fc = nn.Linear(width, width)
        self.dp = nn.Dropout(dropout)

    def forward(self, queries: Tensor, views: Tensor, ray_diff: Tensor, mask: Tensor) -> Attended:
        """Attend.

        Args:
            queries: (R, S, W).
            views: (R, S, V, W) tokens of the views.
            ray_diff: (R, S, V, 4), see `sampling.direction_differences`.
            mask: (R, S, V) bool, which views see the point; where none does, only the last layer's bias comes out.
        """
        keys = self.k_fc(views)
        values = self.v_fc(keys)  # of the keys, not of the tokens: so it is published
        position = self.pos_fc(ray_diff)
        logits = self.attn_fc(keys - self.q_fc(queries)[:, :, None] + position)
        weights = masked_softmax(logits, mask[..., None], dim=2)
        found = ((values + position) * self.dp(weights)).sum(dim=2)
        return Attended(self.dp(self.out_fc(found)), weights)


class RayAttention(nn.Module):
    """Multi-head self-attention among the points of a ray."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.q_fc = nn.Linear(width, width, bias=False)
        self.k_fc = nn.Linear(width, width, bias=False)
        self.v_fc = nn.Linear(width, width, bias=False)
        self.out_fc = nn.Linear(width, width)
        self.dp = nn.Dropout(dropout)
        self.heads = heads

    def forward(self, x: Tensor) -> Attended:
        """(R, S, W) -> (R, S, W) and the weights (R, heads, S, S)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q_fc, self.k_fc, self.v_fc)
        )
        weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        found = (self.dp(weights) @ v).transpose(1, 2).flatten(2)
        return Attended(self.dp(self.out_fc(found)), weights)


class ViewTransformer(nn.Module):
    """`ViewAttention` and `FeedForward`, each on normalised queries and added to them."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attn_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.ff_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.ff = FeedForward(width, dropout)
        self.attn = ViewAttention(width, dropout)

    def forward(self, queries: Tensor, views: Tensor, ray_diff: Tensor, mask: Tensor) -> Attended:
        """See `ViewAttention`."""
        attended = self.attn(self.attn_norm(queries), views, ray_diff, mask)
        x = queries + attended.tokens
        return Attended(x + self.ff(self.ff_norm(x)), attended.weights)


class RayTransformer(nn.Module):
    """`RayAttention` and `FeedForward`, each on normalised tokens and added to them."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attn_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.ff_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.ff = FeedForward(width, dropout)
        self.attn = RayAttention(width, heads, dropout)

    def forward(self, x: Tensor) -> Attended:
        """See `RayAttention`."""
        attended = self.attn(self.attn_norm(x))
        x = x + attended.tokens
        return Attended(x + self.ff(self.ff_norm(x)), attended.weights)
