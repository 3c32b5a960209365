"""Names and shapes of the weights are those of the published implementation.

Written down from github.com/sxyu/pixel-nerf: `conf/default_mv.conf` (ResNet34 with four maps; 5 blocks of width 512,
views averaged before the fourth), `src/model/encoder.py` (torchvision's ResNet34 with `fc` and `avgpool` emptied),
`src/model/resnetfc.py` and `src/model/code.py` (3 coordinates at 6 frequencies, and the direction: 3 * 13 + 3 = 42).
"""

import pytest
import torch
from torchvision.models import resnet34

from nerfseg_plugins.pixelnerf.encoder import EncoderConfig, PyramidEncoder, shift_to_cells
from nerfseg_plugins.pixelnerf.field import FieldConfig, PixelNerfField
from nerfseg_plugins.pixelnerf.mlp import MlpConfig, PointMlp

Shapes = dict[str, tuple[int, ...]]


def published_mlp() -> Shapes:
    """`mlp_coarse` or `mlp_fine`."""
    shapes: Shapes = {"lin_in.weight": (512, 42), "lin_in.bias": (512,)}
    shapes |= {"lin_out.weight": (4, 512), "lin_out.bias": (4,)}
    for layer in [f"lin_z.{i}" for i in range(3)] + [f"blocks.{i}.fc_{j}" for i in range(5) for j in range(2)]:
        shapes |= {f"{layer}.weight": (512, 512), f"{layer}.bias": (512,)}
    return shapes


def published_norm(name: str, channels: int) -> Shapes:
    """A batch normalisation."""
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")} | {
        f"{name}.num_batches_tracked": ()
    }


def published_encoder() -> Shapes:
    """`encoder.model`: He et al. 2016, table 1, 34 layers, in torchvision's names."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7)} | published_norm("bn1", 64)
    before = 64
    for stage, (count, channels) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (channels, before, 3, 3)
            shapes[f"{name}.conv2.weight"] = (channels, channels, 3, 3)
            shapes |= published_norm(f"{name}.bn1", channels) | published_norm(f"{name}.bn2", channels)
            if before != channels:
                shapes[f"{name}.downsample.0.weight"] = (channels, before, 1, 1)
                shapes |= published_norm(f"{name}.downsample.1", channels)
            before = channels
    return shapes


def shapes_of(module: torch.nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def count(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_point_mlp_is_the_published_one():
    mlp = PointMlp(42, 512, MlpConfig())
    assert shapes_of(mlp) == published_mlp()
    # 42*512+512 in, 3*(512*512+512) features, 10*(512*512+512) blocks, 512*4+4 out
    assert count(mlp) == 22_016 + 787_968 + 2_626_560 + 2_052 == 3_438_596


def test_encoder_is_the_published_one():
    encoder = PyramidEncoder(EncoderConfig())
    assert shapes_of(encoder) == published_encoder()
    # ResNet34's 21 797 672 as torchvision states them, without the 512*1000+1000 of its last layer.
    assert count(encoder) == 21_797_672 - 513_000
    # The last stage is in published checkpoints, but never asked: 13 114 368 weights are not trained.
    assert sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad) == 8_170_304
    assert EncoderConfig().dim() == 64 + 64 + 128 + 256 == 512


def test_the_whole_field_is_the_published_one():
    field = PixelNerfField(FieldConfig())
    expected = {f"encoder.{name}": shape for name, shape in published_encoder().items()}
    expected |= {
        f"{mlp}.{name}": shape for mlp in ("mlp_coarse", "mlp_fine") for name, shape in published_mlp().items()
    }
    assert shapes_of(field) == expected
    assert count(field) == 21_284_672 + 2 * 3_438_596


@pytest.mark.parametrize("first_pool", [True, False])
def test_maps_are_those_of_torchvisions_stages(first_pool: bool):
    torch.manual_seed(0)
    reference = resnet34(weights=None).eval()
    encoder = PyramidEncoder(EncoderConfig(first_pool=first_pool)).eval()
    encoder.load_state_dict({key: v for key, v in reference.state_dict().items() if not key.startswith("fc.")})
    images = torch.rand(2, 3, 32, 40) * 2 - 1
    with torch.no_grad():
        x = reference.relu(reference.bn1(reference.conv1(images)))
        wanted = [x]
        x = reference.maxpool(x) if first_pool else x
        for stage in (reference.layer1, reference.layer2, reference.layer3):
            x = stage(x)
            wanted.append(torch.nn.functional.interpolate(x, (16, 20), mode="bilinear", align_corners=True))
        found = encoder(images)
    assert found.shape == (2, 512, 16, 20)
    torch.testing.assert_close(found, torch.cat(wanted, dim=1))


def test_smaller_encoders_have_the_channels_they_say():
    config = EncoderConfig(blocks=(1, 1), width=16, num_stages=2, first_pool=False, norm="group")
    maps = PyramidEncoder(config)(torch.zeros(1, 3, 15, 16))
    assert maps.shape == (1, config.dim(), 8, 8)
    assert config.dim() == 16 + 16 + 32


def test_groups_make_an_image_independent_of_the_others():
    torch.manual_seed(0)
    encoder = PyramidEncoder(EncoderConfig(blocks=(1,), width=8, num_stages=1, norm="group")).train()
    images = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(encoder(images)[1:2], encoder(images[1:2]))


def test_a_convolutions_cell_is_looked_up_at_the_centre_of_its_pixel():
    # Stride 2: cell j of 4 lies over pixel 2j, whose centre is 2j + 0.5; a map that spans 8 pixels has it at 2j + 1.
    pixels = torch.tensor([[0.5, 0.5], [4.5, 2.5]])
    torch.testing.assert_close(shift_to_cells(pixels, (8, 8), (4, 4)), torch.tensor([[1.0, 1.0], [5.0, 3.0]]))
    # Stride 4 across, 1 down.
    torch.testing.assert_close(shift_to_cells(pixels[:1], (8, 8), (8, 2)), torch.tensor([[2.0, 0.5]]))
