"""pixelNeRF's radiance field: what source views make of a point (arXiv 2012.02190, sections 4.1 and 4.2)."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nerfseg_plugins.image_based.projection import lookup, project, to_cameras
from nerfseg_plugins.image_based.reshape import SIDEWAYS
from nerfseg_plugins.image_based.views import SourceViews
from nerfseg_plugins.pixelnerf.encoder import EncoderConfig, PyramidEncoder, shift_to_cells
from nerfseg_plugins.pixelnerf.mlp import MlpConfig, PointMlp, encode_coordinates


@dataclass
class FieldConfig:
    """Sizes of the networks; the defaults are the published ones."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The image encoder."""
    coarse: MlpConfig = field(default_factory=MlpConfig)
    """The network that finds out where along a ray to look."""
    fine: MlpConfig = field(default_factory=MlpConfig)
    """The network that is rendered."""
    num_frequencies: int = 6
    """Frequencies at which coordinates are encoded."""
    frequency_factor: float = 1.5
    """The lowest of them, radians per scene unit."""
    normalize_z: bool = True
    """Whether coordinates are only rotated into a view's frame, so that the scene's origin stays the origin however
    far away the camera is; else they count from the camera."""
    canonical: bool = False
    """Whether the networks are also told where points lie in the scene's frame, and how the views are turned in it. Of
    objects that all stand alike, such as SRN's, much is known from that, and few steps suffice to learn it; where
    objects stand anyhow, or cameras are unknown, leave it out, as published."""
    symmetric: bool = False
    """Whether the networks are also told what views show of a point's mirror image, x becoming -x in the scene's frame.
    Of objects that are alike left and right and all face along y, one photo then shows both sides (as in SymmNeRF,
    arXiv 2209.14819)."""
    density: Literal["relu", "softplus"] = "relu"
    """What makes a density of the networks' answer; behind a ReLU a small network may fall silent for good where most
    rays see nothing."""
    bfloat16: Literal["never", "auto", "always"] = "never"
    """Whether training multiplies matrices in bfloat16; auto: on processors that do it about twice as fast."""


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies matrices in bfloat16 by itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Torch knows, but says so only here; a version that does not gets along without.
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


class PixelNerfField(nn.Module):
    """Density and colour of points, from what source views show where the points are projected to.

    Args:
        config: sizes.
    """

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PyramidEncoder(config.encoder)
        encoded = 3 * (1 + 2 * config.num_frequencies)
        dim_in = encoded + 3 + (encoded + 9 if config.canonical else 0) + config.symmetric
        self.mlp_coarse = PointMlp(dim_in, config.encoder.dim(), config.coarse)
        self.mlp_fine = PointMlp(dim_in, config.encoder.dim(), config.fine)

    def encode(self, images: Tensor) -> Tensor:
        """Maps (N, D, h, w) of images (N, 3, H, W) in [0, 1]."""
        with self._precision(images.device):
            maps = self.encoder(2 * images - 1)
        # Points ask for all channels of a cell at once, so these stand side by side.
        return maps.to(
            torch.bfloat16 if self._reduced(images.device) else images.dtype, memory_format=torch.channels_last
        )

    def forward(self, points: Tensor, directions: Tensor, views: SourceViews, fine: bool) -> tuple[Tensor, Tensor]:
        """Density and colour.

        Args:
            points: (B, P, 3) of each of B scenes, scene frame.
            directions: (B, P, 3) unit directions from which they are seen, scene frame.
            views: source views of the scenes, with maps.
            fine: which of the two networks is asked.

        Returns:
            Density (B, P) per scene unit and colour (B, P, 3) in [0, 1].
        """
        network, count = self.mlp_fine if fine else self.mlp_coarse, points.shape[1]
        if self.config.symmetric:
            side = points.new_tensor(SIDEWAYS)
            points, directions = torch.cat([points, points * side], 1), torch.cat([directions, directions * side], 1)
        inputs, features = self.inputs(points, directions, views), self.features(points, views)
        # What a view shows of the mirror images is to the network what one more view shows of the points.
        inputs, features = (values.reshape(len(values), -1, count, values.shape[-1]) for values in (inputs, features))
        with self._precision(points.device):
            answer = network(inputs, features).to(points.dtype)
        return self._density(answer[..., 3]), torch.sigmoid(answer[..., :3])

    def _density(self, answer: Tensor) -> Tensor:
        return torch.relu(answer) if self.config.density == "relu" else softplus(answer)

    def _precision(self, device: torch.device) -> torch.autocast:
        """Inside, networks compute in bfloat16 where that is wanted; coordinates never do, they need their digits."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self._reduced(device))

    def _reduced(self, device: torch.device) -> bool:
        wanted = self.config.bfloat16
        return self.training and (wanted == "always" or (wanted == "auto" and has_bfloat16(device)))

    def inputs(self, points: Tensor, directions: Tensor, views: SourceViews) -> Tensor:
        """(B, V, P, C) encoded coordinates, and directions as they are, in the frames of the views; and of the second
        half of the points that they are twins, where there are any."""
        rotation = views.c2w[..., :3]
        places = points[:, None] @ rotation if self.config.normalize_z else to_cameras(points, views.c2w)
        found = [self._encoded(places), directions[:, None] @ rotation]
        if self.config.canonical:
            found += [self._encoded(points)[:, None], rotation.flatten(2)[:, :, None]]
        if self.config.symmetric:
            half = points.shape[1] // 2
            found.append(points.new_tensor([0.0, 1.0]).repeat_interleave(half)[:, None])
        # In fewer digits before they are put together, not once in every layer; maps likewise, see `encode`.
        kind = torch.bfloat16 if self._reduced(points.device) else points.dtype
        shape = (*places.shape[:3], -1)
        return torch.cat([values.to(kind).expand(shape) for values in found], dim=-1)

    def _encoded(self, points: Tensor) -> Tensor:
        return encode_coordinates(points, self.config.num_frequencies, self.config.frequency_factor)

    def features(self, points: Tensor, views: SourceViews) -> Tensor:
        """(B, V, P, D) what the views' maps hold where the points are projected to; at the border beyond it."""
        assert views.maps is not None
        height, width = views.maps.shape[-2:]
        pixels = shift_to_cells(project(points, views).pixels, views.size, (height, width))
        return lookup(views.maps, pixels, views.size, padding="border")
