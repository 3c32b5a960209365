"""pixelNeRF's networks of points: residual blocks that take in image features (arXiv 2012.02190, appendix B.1).

Sizes and names of the weights are those of the published implementation (github.com/sxyu/pixel-nerf, BSD 2-clause).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class MlpConfig:
    """Sizes of a network of points."""

    width: int = 512
    """Channels of its layers."""
    num_blocks: int = 5
    """Residual blocks."""
    pool_before: int = 3
    """Block before which the views are averaged; the blocks before it take in image features."""
    out_scale: float = 1.0
    """Factor on the last layer's first weights; small ones begin with a thin, grey fog, from which small networks learn
    faster."""


class ResidualBlock(nn.Module):
    """Two layers with activations before them, added to what came in; begins as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc_0 = _linear(width, width)
        self.fc_1 = _linear(width, width)
        nn.init.zeros_(self.fc_1.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to the same."""
        return x + self.fc_1(torch.relu(self.fc_0(torch.relu(x))))


class PointMlp(nn.Module):
    """From a point as each view sees it to one answer.

    Args:
        dim_in: channels of a point's coordinates and direction, encoded.
        dim_features: channels of image features.
        config: sizes.
        dim_out: channels of the answer.
    """

    def __init__(self, dim_in: int, dim_features: int, config: MlpConfig, dim_out: int = 4) -> None:
        super().__init__()
        self.pool_before = min(config.pool_before, config.num_blocks)
        self.lin_in = _linear(dim_in, config.width)
        self.lin_out = _linear(config.width, dim_out)
        with torch.no_grad():
            self.lin_out.weight *= config.out_scale
        self.blocks = nn.ModuleList(ResidualBlock(config.width) for _ in range(config.num_blocks))
        self.lin_z = nn.ModuleList(_linear(dim_features, config.width) for _ in range(self.pool_before))

    def forward(self, inputs: Tensor, features: Tensor) -> Tensor:
        """Answers for P points of each of B scenes.

        Args:
            inputs: (B, V, P, dim_in) the points in the frames of V views.
            features: (B, V, P, dim_features) what the views show there.

        Returns:
            (B, P, dim_out); the order of the views does not matter.
        """
        x = self.lin_in(inputs)
        for block, take_in in zip(self.blocks, self.lin_z, strict=False):
            x = block(x + take_in(features))
        x = x.mean(dim=1)
        for block in self.blocks[self.pool_before :]:
            x = block(x)
        return self.lin_out(torch.relu(x))

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Weights (width, width) of the blocks and (width, dim_features) of what takes features in."""
        return [weight for part in (self.blocks, self.lin_z) for weight in part.parameters() if weight.ndim == 2]


def encode_coordinates(x: Tensor, num_frequencies: int, factor: float) -> Tensor:
    """Coordinates with their sines and cosines at frequencies factor * 2^k (NeRF, arXiv 2003.08934, equation 4).

    Args:
        x: (..., C).
        num_frequencies: K.
        factor: the lowest frequency, radians per scene unit.

    Returns:
        (..., C + 2 K C): x, then for each frequency the sines of all coordinates and their cosines.
    """
    frequencies = factor * 2.0 ** torch.arange(num_frequencies, device=x.device, dtype=x.dtype)
    angles = x[..., None, :] * frequencies[:, None]
    waves = torch.stack([torch.sin(angles), torch.cos(angles)], dim=-2)  # (..., K, 2, C)
    return torch.cat([x, waves.flatten(-3)], dim=-1)


def _linear(channels_in: int, channels_out: int) -> nn.Linear:
    layer = nn.Linear(channels_in, channels_out)
    nn.init.kaiming_normal_(layer.weight, a=0, mode="fan_in")
    nn.init.zeros_(layer.bias)
    return layer
