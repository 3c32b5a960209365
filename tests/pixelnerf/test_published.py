"""Published checkpoints: their names, and what is wrong with files that are none."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.pixelnerf.encoder import EncoderConfig
from nerfseg_plugins.pixelnerf.field import FieldConfig, PixelNerfField
from nerfseg_plugins.pixelnerf.mlp import MlpConfig
from nerfseg_plugins.pixelnerf.published import load_imagenet, load_published

SMALL = FieldConfig(
    encoder=EncoderConfig(blocks=(1, 1), width=8, num_stages=1), coarse=MlpConfig(width=8), fine=MlpConfig(width=8)
)


def as_published(field: PixelNerfField) -> dict[str, Tensor]:
    """The weights by the original's names, with what else its checkpoints hold."""
    state = {
        (f"encoder.model.{key.removeprefix('encoder.')}" if key.startswith("encoder.") else key): value
        for key, value in field.state_dict().items()
    }
    frequencies = (1.5 * 2.0 ** torch.arange(6)).repeat_interleave(2).view(1, 12, 1)
    phases = torch.tensor([0.0, torch.pi / 2] * 6).view(1, 12, 1)
    return state | {"code._freqs": frequencies, "code._phases": phases, "poses": torch.zeros(1, 3, 4)}


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, path)
    return path


@pytest.mark.parametrize("sizes", [FieldConfig(), SMALL], ids=["published", "small"])
def test_every_weight_arrives(tmp_path: Path, sizes: FieldConfig):
    torch.manual_seed(0)
    source, target = PixelNerfField(sizes), PixelNerfField(sizes)
    load_published(target, saved(tmp_path / "pixel_nerf_latest", as_published(source)))
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


def test_a_checkpoint_of_another_width_is_refused(tmp_path: Path):
    wide = PixelNerfField(FieldConfig(encoder=SMALL.encoder, coarse=MlpConfig(width=12), fine=MlpConfig(width=12)))
    path = saved(tmp_path / "wide.pth", as_published(wide))
    field = PixelNerfField(SMALL)
    before = {name: value.clone() for name, value in field.state_dict().items()}
    with pytest.raises(InputError, match=r"wide\.pth has mlp_coarse\.lin_in\.weight of shape \(12, 42\).*\(8, 42\)"):
        load_published(field, path)
    assert all(torch.equal(value, before[name]) for name, value in field.state_dict().items())


def test_other_frequencies_are_refused(tmp_path: Path):
    state = as_published(PixelNerfField(SMALL))
    state["code._freqs"] = state["code._freqs"] * torch.pi
    with pytest.raises(InputError, match=r"pi\.pth encodes coordinates at .*frequency-factor"):
        load_published(PixelNerfField(SMALL), saved(tmp_path / "pi.pth", state))


def test_a_missing_weight_is_named(tmp_path: Path):
    state = as_published(PixelNerfField(SMALL))
    del state["mlp_fine.lin_z.2.bias"]
    with pytest.raises(InputError, match=r"less\.pth has no mlp_fine\.lin_z\.2\.bias"):
        load_published(PixelNerfField(SMALL), saved(tmp_path / "less.pth", state))


def test_what_is_no_checkpoint_is_refused(tmp_path: Path):
    path = tmp_path / "notes.pth"
    path.write_text("not weights")
    with pytest.raises(InputError, match=r"notes\.pth is no readable checkpoint of pixelNeRF"):
        load_published(PixelNerfField(SMALL), path)
    with pytest.raises(InputError, match=r"nowhere\.pth"):
        load_published(PixelNerfField(SMALL), tmp_path / "nowhere.pth")


def test_imagenets_weights_fill_a_resnet34_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From torch's cache, where torchvision itself leaves them."""
    from torchvision.models import resnet34

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    network = resnet34(weights=None)
    saved(tmp_path / "hub" / "checkpoints" / "resnet34-b627a593.pth", network.state_dict())
    field = PixelNerfField(FieldConfig(coarse=SMALL.coarse, fine=SMALL.fine))
    load_imagenet(field.encoder)
    assert torch.equal(field.encoder.state_dict()["layer3.5.conv2.weight"], network.layer3[5].conv2.weight)
    with pytest.raises(InputError, match=r"resnet34-b627a593\.pth .*pipeline\.model\.networks\.encoder"):
        load_imagenet(PixelNerfField(SMALL).encoder)
