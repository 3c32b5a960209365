"""`nerfseg features`: which images it takes, where it writes, and what it says of bad input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.cli.derived import list_images
from nerfseg_plugins.cli.features import Features
from nerfseg_plugins.cli.masks import Masks
from nerfseg_plugins.dataparsers.llff import read_llff
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.find import find_features
from nerfseg_plugins.features.store import read_map


def refused(command, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        command.main()
    for word in words:
        assert word in str(caught.value), caught.value


@pytest.fixture
def llff(tmp_path: Path) -> Path:
    """Four views in images/ (48x36) and images_2/ (24x18), of which splits.json leaves one out."""
    folder = tmp_path / "llff"
    rows = np.zeros((4, 17))
    rows[:, :15] = np.concatenate([np.eye(3, 4), [[36], [48], [50]]], axis=1).ravel()
    rows[:, 3] = np.arange(4)
    rows[:, 15:] = 1, 5
    rng = np.random.default_rng(0)
    for name, size in (("images", (36, 48)), ("images_2", (18, 24))):
        (folder / name).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / name / f"v{index}.png")
    np.save(folder / "poses_bounds.npy", rows)
    (folder / "splits.json").write_text(json.dumps({"train": ["v0.png", "v3.png"], "val": ["v2.png"]}))
    return folder


@pytest.mark.parametrize(("factor", "name"), [(None, "images"), (1, "images"), (2, "images_2")])
def test_llff_images_are_those_that_llff_data_takes(llff: Path, factor: int, name: str) -> None:
    images = list_images(llff, factor)
    assert images == [frame.image for frame in read_llff(llff, factor).frames]
    assert images == [llff / name / f"v{index}.png" for index in (0, 2, 3)]
    assert list_images(llff / "poses_bounds.npy", factor) == images


def test_llff_folders_get_features_and_masks(llff: Path) -> None:
    Features(llff, downscale_factor=2, channels=4).main()
    assert read_map(llff / "features" / "classical" / "v3.npz").image_size == (18, 24)
    Masks(llff, downscale_factor=2).main()
    assert sorted(path.name for path in (llff / "segments" / "classical").glob("*.npz")) == [
        "v0.npz",
        "v2.npz",
        "v3.npz",
    ]
    refused(Features(llff), "manifest.json", "image_size", "--overwrite")
    refused(Features(llff, downscale_factor=4), "images_4", "1, 2")


def test_factors_without_poses(llff: Path, data: Path) -> None:
    (llff / "poses_bounds.npy").unlink()
    assert list_images(llff, 2) == [llff / "images_2" / f"v{index}.png" for index in range(4)]
    with pytest.raises(InputError, match="--downscale-factor"):
        list_images(data, 2)
    meta = {
        "fl_x": 50,
        "w": 48,
        "h": 36,
        "frames": [{"file_path": "images/0.png", "transform_matrix": np.eye(4).tolist()}],
    }
    (data / "transforms.json").write_text(json.dumps(meta))
    assert list_images(data) == [data / "images" / "0.png"]
    with pytest.raises(InputError, match="leave out --downscale-factor"):
        list_images(data, 2)


def test_a_transforms_file_names_the_capture(data: Path) -> None:
    frame = {"file_path": "images/2.png", "transform_matrix": np.eye(4).tolist()}
    (data / "transforms.json").write_text(json.dumps({"fl_x": 50, "w": 48, "h": 36, "frames": [frame]}))
    Features(data / "transforms.json", channels=4).main()
    assert (data / "features" / "classical" / "2.npz").is_file()
    assert find_features(data / "transforms.json") == data / "features" / "classical"


def test_finding_features(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no features; make them with: nerfseg features --data"):
        find_features(data)
    Features(data, channels=4).main()
    Features(data, channels=3, name="few").main()
    Features(data, channels=3, output_path=tmp_path / "elsewhere").main()
    with pytest.raises(InputError, match="classical, few; say which"):
        find_features(data)
    assert find_features(data, "few") == data / "features" / "few"
    assert find_features(data, str(tmp_path / "elsewhere")) == tmp_path / "elsewhere"
    with pytest.raises(InputError, match=r"no features 'dino', only of classical, few; .*nerfseg features"):
        find_features(data, "dino")


def test_bad_flags(data: Path, tmp_path: Path) -> None:
    refused(Features(tmp_path / "none"), str(tmp_path / "none"), "does not exist")
    for name in ("channels", "pca_images", "batch_size", "stride"):
        refused(Features(data, **{name: 0}), f"--{name.replace('_', '-')} is 0")
    refused(Features(data, name="../x"), "--name", "--output-path")
    refused(Features(data, checkpoint=tmp_path / "w.pth"), "classical has no weights", "--checkpoint")
    refused(Features(data, source="sam", stride=4), "sam has a grid of its own", "--stride")
    refused(Features(data, source="imported"), "--from")
    refused(Features(data, from_=tmp_path), "--from")
    refused(
        Features(data, source="dino-vits8", checkpoint=tmp_path / "w.pth"), str(tmp_path / "w.pth"), "does not exist"
    )
    assert not (data / "features").exists()


def test_missing_weights_end_in_one_sentence(data: Path, tmp_path: Path) -> None:
    """As a user sees it, in a process whose cache of weights is empty and whose network is a closed port."""
    words = [sys.executable, "-W", "ignore", "-m", "nerfseg_plugins.cli.main", "features", "--data", str(data)]
    environment = {"TORCH_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*words, "--source", "dino-vits8"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: the weights of dino-vits8 could not be fetched")
    assert "dino_deitsmall8_pretrain.pth" in last and "--checkpoint" in last
