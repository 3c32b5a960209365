"""DINO and DINOv2 on random weights of their true architecture: names, grids, order of tokens, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.sources import FeatureOptions, make_feature_source
from nerfseg_plugins.features.vit import VARIANTS, build_vit, patch_tokens, positions_for

pytest.importorskip("timm", reason="timm is not installed")
IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def published(name: str) -> dict[str, torch.Tensor]:
    """Random weights under the names of the published files, written out here by hand."""
    generator = torch.Generator().manual_seed(0)
    variant = VARIANTS[name]
    width, shapes = variant.width, {}
    shapes["cls_token"] = (1, 1, width)
    shapes["pos_embed"] = (1, 1 + variant.side**2, width)
    shapes["patch_embed.proj.weight"] = (width, 3, variant.patch, variant.patch)
    shapes["patch_embed.proj.bias"] = shapes["norm.weight"] = shapes["norm.bias"] = (width,)
    for block in range(12):
        for layer, into, out in (
            ("attn.qkv", width, 3 * width),
            ("attn.proj", width, width),
            ("mlp.fc1", width, 4 * width),
            ("mlp.fc2", 4 * width, width),
        ):
            shapes[f"blocks.{block}.{layer}.weight"] = (out, into)
            shapes[f"blocks.{block}.{layer}.bias"] = (out,)
        vectors = ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"]
        vectors += ["ls1.gamma", "ls2.gamma"] if name.startswith("dinov2") else []
        shapes |= {f"blocks.{block}.{vector}": (width,) for vector in vectors}
    if name.startswith("dinov2"):
        shapes["mask_token"] = (1, width)
    state = {key: torch.randn(shape, generator=generator) * 0.05 for key, shape in shapes.items()}
    return {key: value + 1 if "norm" in key and "weight" in key else value for key, value in state.items()}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    paths = {name: folder / f"{name}.pth" for name in ("dino-vits8", "dinov2-vits14")}
    for name, path in paths.items():
        torch.save(published(name), path)
    return paths


@pytest.mark.parametrize(("name", "shape"), [("dino-vits8", (6, 8, 384)), ("dinov2-vits14", (3, 5, 384))])
def test_shapes_and_order(checkpoints: dict[str, Path], name: str, shape: tuple[int, ...]) -> None:
    """A change in one patch changes its own token most, whatever the network has learned."""
    source = make_feature_source(name, FeatureOptions(checkpoints[name]))  # type: ignore[arg-type]
    before = source(IMAGE)
    assert before.shape == shape and before.dtype == np.float32 and source.channels == shape[2]
    changed = IMAGE.copy()
    cell = 2, 3
    top, bottom = (round(48 / shape[0] * (cell[0] + part)) for part in (0, 1))
    left, right = (round(64 / shape[1] * (cell[1] + part)) for part in (0, 1))
    changed[top:bottom, left:right] = 255 - changed[top:bottom, left:right]
    change = np.linalg.norm(source(changed) - before, axis=-1)
    assert np.unravel_index(change.argmax(), change.shape) == cell


def test_half_strides_overlap(checkpoints: dict[str, Path]) -> None:
    """Twice the cells; the image continues around its edge, so that the grid still spans it."""
    fine = make_feature_source("dino-vits8", FeatureOptions(checkpoints["dino-vits8"], stride=4))
    before = fine(IMAGE)
    assert before.shape == (12, 16, 384) and fine.parameters == {"stride": 4}
    changed = IMAGE.copy()
    changed[28:32, 40:44] = 255 - changed[28:32, 40:44]  # cell (7, 10)
    change = np.linalg.norm(fine(changed) - before, axis=-1)
    row, column = np.unravel_index(change.argmax(), change.shape)
    assert abs(row - 7) <= 1 and abs(column - 10) <= 1


def test_agrees_with_timms_own_forward_pass() -> None:
    """At the size that timm can: same tokens, CLS dropped."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=3, init_values=0.5, num_classes=0
    ).eval()
    torch.nn.init.normal_(network.pos_embed)
    batch = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network.forward_features(batch)[:, 1:]
        torch.testing.assert_close(patch_tokens(network, batch, 8, 8), expected, atol=1e-5, rtol=1e-5)


def test_positions_are_interpolated() -> None:
    """Embeddings that grow along one axis still do after the grid has changed; CLS keeps its own."""
    ramp = torch.linspace(0, 1, 6).repeat(6, 1)  # grows along columns
    embedding = torch.cat([torch.full((1, 1), 9.0), ramp.reshape(-1, 1)])[None]
    found = positions_for(embedding, (3, 12))[0, :, 0]
    assert found[0] == 9 and len(found) == 37
    grid = found[1:].reshape(3, 12)
    torch.testing.assert_close(grid[0], grid[2])
    assert (grid[0].diff()[1:-1] > 0).all()
    assert positions_for(embedding, (6, 6)) is embedding


def test_batches_give_what_single_images_give(checkpoints: dict[str, Path]) -> None:
    source = make_feature_source("dino-vits8", FeatureOptions(checkpoints["dino-vits8"]))
    other = IMAGE[::-1].copy()
    one, two = source.many([IMAGE, other])  # type: ignore[attr-defined]
    np.testing.assert_allclose(one, source(IMAGE), atol=1e-4)
    np.testing.assert_allclose(two, source(other), atol=1e-4)


@pytest.mark.parametrize("name", ["dino-vitb8", "dinov2-vitb14"])
def test_the_larger_variants_have_the_published_names(name: str) -> None:
    network = build_vit(VARIANTS[name]).state_dict()
    wanted = {key: value.shape for key, value in published(name).items() if key != "mask_token"}
    assert {key: value.shape for key, value in network.items()} == wanted


def test_missing_and_wrong_weights(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    def refused(name: str, *words: str, **options) -> None:
        with pytest.raises(InputError) as caught:
            make_feature_source(name, FeatureOptions(**options))  # type: ignore[arg-type]
        for word in words:
            assert word in str(caught.value), caught.value

    refused("dino-vitb8", "dino_vitbase8_pretrain.pth", "--checkpoint")  # tests have no network
    refused("dinov2-vits14", "https://dl.fbaipublicfiles.com/dinov2", "--checkpoint")
    refused("dino-vits8", "none.pth", "does not exist", checkpoint=tmp_path / "none.pth")
    path = checkpoints["dino-vits8"]
    refused("dino-vitb8", str(path), "shape", "dino-vitb8", checkpoint=path)
    refused("dinov2-vits14", str(path), "ls1.gamma", checkpoint=path)
    refused("dino-vits8", "dinov2-vits14.pth", "pos_embed", checkpoint=checkpoints["dinov2-vits14"])
    refused("dino-vits8", "--stride", "1 to 8", checkpoint=path, stride=16)
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(path.read_bytes()[:1000])
    refused("dino-vits8", str(damaged), "no readable checkpoint", checkpoint=damaged)


def test_unknown_source() -> None:
    with pytest.raises(InputError, match="'dino-vitx' is no feature source; use classical"):
        make_feature_source("dino-vitx")  # type: ignore[arg-type]
