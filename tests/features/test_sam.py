"""SAM's image encoder on random weights of its true architecture."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.sam import cells_of
from nerfseg_plugins.features.sources import FeatureOptions, make_feature_source


def test_cells_by_hand() -> None:
    assert cells_of((240, 320)) == (48, 64)
    assert cells_of((480, 270)) == (64, 36)
    assert cells_of((756, 1008)) == (48, 64)
    assert cells_of((1, 2000)) == (1, 64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    registry = pytest.importorskip("segment_anything", reason="segment-anything is not installed").sam_model_registry
    torch.manual_seed(0)
    encoder = registry["vit_b"](checkpoint=None).image_encoder
    path = tmp_path_factory.mktemp("weights") / "sam_vit_b.pth"
    torch.save({f"image_encoder.{key}": value.half() for key, value in encoder.state_dict().items()}, path)
    return path


def test_the_encoder(checkpoint: Path) -> None:
    """The padding's cells are left out, and a patch of another colour stands out where it is."""
    source = make_feature_source("sam", FeatureOptions(checkpoint))
    assert (source.model, source.channels) == ("sam-vit_b", 256)
    image = np.full((24, 64, 3), 90, np.uint8)  # a pixel a cell
    image[10:13, 38:42] = (250, 20, 200)
    found = source(image)
    assert found.shape == (24, 64, 256) and found.dtype == np.float32
    unlike = np.linalg.norm(found - np.median(found, axis=(0, 1)), axis=-1)
    row, column = np.unravel_index(unlike.argmax(), unlike.shape)
    assert 10 <= row < 13 and 38 <= column < 42


def test_missing_and_wrong_weights(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sam needs --checkpoint .*sam_vit_b_01ec64.pth"):
        make_feature_source("sam")
    torch.save({"cls_token": torch.zeros(1)}, tmp_path / "dino.pth")
    with pytest.raises(InputError, match=r"dino.pth holds no image_encoder"):
        make_feature_source("sam", FeatureOptions(tmp_path / "dino.pth"))
    state = torch.load(checkpoint, weights_only=True)
    state.pop("image_encoder.neck.0.weight")
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(InputError, match=r"part.pth has no neck.0.weight"):
        make_feature_source("sam", FeatureOptions(tmp_path / "part.pth"))
