"""Sizes of the published networks, and loading their checkpoints.

Names and shapes are derived by hand from the layer sizes in the released code, not by building it: GNT's
gnt/transformer_network.py and gnt/feature_network.py (VITA-Group/GNT), whose second file is IBRNet's
ibrnet/feature_network.py (googleinterns/IBRNet), and GSN's ibrnet/transformer_network.py (Vinayak-VG/GSN).
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.published import read_published
from nerfseg_plugins.gsn.resunet import ResUNet
from nerfseg_plugins.gsn.semantic import SemanticHead
from nerfseg_plugins.gsn.transformer import RayTrunk

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), **({f"{name}.bias": (outputs,)} if bias else {})}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def transformer(name: str, width: int, over_views: bool) -> Shapes:
    """Two norms, a feed-forward part of four times the width, and an attention without biases but at its end."""
    shapes = {**norm(f"{name}.attn_norm", width), **norm(f"{name}.ff_norm", width)}
    shapes |= linear(f"{name}.ff.fc1", width, 4 * width) | linear(f"{name}.ff.fc2", 4 * width, width)
    for part in "qkv":
        shapes |= linear(f"{name}.attn.{part}_fc", width, width, bias=False)
    if over_views:
        for part, inputs in (("pos_fc", 4), ("attn_fc", width)):
            shapes |= linear(f"{name}.attn.{part}.0", inputs, width // 8)
            shapes |= linear(f"{name}.attn.{part}.2", width // 8, width)
    return shapes | linear(f"{name}.attn.out_fc", width, width)


def trunk(depth: int, told: int, over_views: str, along_rays: str) -> Shapes:
    """Width 64 on 3 + 32 channels; `told` channels of encodings enter every other block."""
    shapes = linear("rgbfeat_fc.0", 35, 64) | linear("rgbfeat_fc.2", 64, 64)
    for block in range(depth):
        shapes |= transformer(f"{over_views}.{block}", 64, over_views=True)
        shapes |= transformer(f"{along_rays}.{block}", 64, over_views=False)
        if block % 2 == 0:
            shapes |= linear(f"q_fcs.{block}.0", 64 + told, 64) | linear(f"q_fcs.{block}.2", 64, 64)
    return shapes | norm("norm", 64) | linear("rgb_fc", 64, 3)


def gnt(depth: int = 8) -> Shapes:
    """GNT: position and direction, 63 channels each, in every other block."""
    return trunk(depth, 126, "view_trans", "ray_trans")


def gsn(depth: int = 4) -> Shapes:
    """GSN: positions in the blocks, the direction after the last norm."""
    shapes = trunk(depth, 63, "view_crosstrans", "view_selftrans")
    return shapes | linear("hviews_fc.0", 64 + 63, 64) | linear("hviews_fc.2", 64, 64)


def dino() -> Shapes:
    """GSN's semantic head: width 64 + 64."""
    shapes = transformer("view_trans", 128, over_views=True) | transformer("ray_trans", 128, over_views=False)
    return shapes | norm("norm", 128) | linear("dinofc", 128, 64)


def resunet() -> Shapes:
    """ResNet34's first stages, without biases, and the way up, with biases."""

    def conv(name: str, inputs: int, outputs: int, side: int = 3) -> Shapes:
        return {f"{name}.weight": (outputs, inputs, side, side)}

    shapes = conv("conv1", 3, 64, 7) | norm("bn1", 64)
    inputs = 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6)), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes |= conv(f"{name}.conv1", inputs, width) | norm(f"{name}.bn1", width)
            shapes |= conv(f"{name}.conv2", width, width) | norm(f"{name}.bn2", width)
            if block == 0:  # a stride of 2, in the first stage, too
                shapes |= conv(f"{name}.downsample.0", inputs, width, 1) | norm(f"{name}.downsample.1", width)
            inputs = width
    for name, inputs, outputs in (
        ("upconv3.conv", 256, 128),
        ("iconv3", 256, 128),
        ("upconv2.conv", 128, 64),
        ("iconv2", 128, 32),
    ):
        shapes |= conv(f"{name}.conv", inputs, outputs) | {f"{name}.conv.bias": (outputs,)}
        shapes |= norm(f"{name}.bn", outputs)
    return shapes | conv("out_conv", 32, 32, 1) | {"out_conv.bias": (32,)}


def shapes_of(network: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def size(shapes: Shapes) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes.values())


def ours(shapes: Shapes) -> Shapes:
    """Under the names used here."""
    names = {"view_crosstrans.": "view_trans.", "view_selftrans.": "ray_trans.", "dinofc.": "feature_fc."}
    found = {}
    for name, shape in shapes.items():
        for theirs, own in names.items():
            name = own + name[len(theirs) :] if name.startswith(theirs) else name
        found[name] = shape
    return found


# Totals by hand. A view transformer of width 64 has 2 * 128 (norms) + 16 640 + 16 448 (feed-forward) + 3 * 4096 (q, k,
# v) + 616 (positions) + 1096 (attention) + 4160 (out) = 51 504 weights, a ray transformer 49 792 (no positions, no
# attention MLP); 6464 enter, 16 384 (GNT) or 12 352 (GSN) take part in every other block, 12 352 in GSN's direction.
TABLE = [
    ("GNT", lambda: RayTrunk(depth=8, direction="blocks"), gnt, 6464 + 8 * 101_296 + 4 * 16_384 + 128 + 195),
    ("GSN", RayTrunk, gsn, 6464 + 4 * 101_296 + 2 * 12_352 + 128 + 12_352 + 195),
    ("head", SemanticHead, dino, 204_384 + 197_888 + 256 + 8256),
    (
        "ResUNet",
        ResUNet,
        resunet,
        9408 + 128 + 226_176 + 1_116_416 + 6_822_400 + 2 * 295_296 + 73_920 + 36_960 + 1056,
    ),
]


@pytest.mark.parametrize(("make", "published", "total"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_every_tensor_of_the_published_networks(make, published, total: int):
    assert shapes_of(make()) == ours(published())
    assert size(published()) == total


def test_totals():
    """As the sums above come out."""
    assert [total for *_, total in TABLE] == [882_691, 449_027, 410_784, 8_877_056]


def random_state(shapes: Shapes, prefix: str = "") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(shapes))
    return {prefix + name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def optimizer() -> dict:
    return {"state": {0: {"step": 3, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 5e-4, "params": [0]}]}


def test_reads_gsn_checkpoints(tmp_path: Path):
    path = tmp_path / "model_300000.pth"
    states = {"net_coarse": random_state(gsn(), "module."), "feature_net": random_state(resunet())}
    torch.save({**states, "dino": random_state(dino()), "optimizer": optimizer(), "scheduler": {"gamma": 0.5}}, path)
    found = read_published(path)
    assert (found.direction, found.depth) == ("last", 4)
    assert found.semantics is not None
    assert {name: tuple(value.shape) for name, value in found.trunk.items()} == ours(gsn())
    theirs = states["net_coarse"]["module.view_selftrans.3.attn.k_fc.weight"]
    assert torch.equal(found.trunk["ray_trans.3.attn.k_fc.weight"], theirs)
    SemanticHead().load_state_dict(found.semantics)
    RayTrunk().load_state_dict(found.trunk)
    ResUNet().load_state_dict(found.encoder)


def test_reads_gnt_checkpoints(tmp_path: Path):
    path = tmp_path / "gnt_full.pth"
    torch.save({"net_coarse": random_state(gnt()), "feature_net": random_state(resunet())}, path)
    found = read_published(path)
    assert (found.direction, found.depth, found.semantics) == ("blocks", 8, None)
    RayTrunk(depth=8, direction="blocks").load_state_dict(found.trunk)


def test_what_is_no_such_checkpoint(tmp_path: Path):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": random_state({"a": (1,)})}, path)
    with pytest.raises(InputError, match=r"other\.pth has no net_coarse"):
        read_published(path)
    torch.save({"net_coarse": random_state(gnt(1)), "feature_net": {}, "net_fine": random_state(gnt(1))}, path)
    with pytest.raises(InputError, match=r"other\.pth holds a second network .* single_net"):
        read_published(path)
    path.write_bytes(b"no weights at all")
    with pytest.raises(InputError, match=r"other\.pth is no readable checkpoint of GNT"):
        read_published(path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match=r"other\.pth holds no networks by name"):
        read_published(path)
