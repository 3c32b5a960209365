"""Features of other programs: matched by name, checked, and never run."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfseg_plugins.cli.features import Features
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.store import read_map


def refused(command: Features, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        command.main()
    for word in words:
        assert word in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


def random_maps(channels: int = 8, shape: tuple[int, int] = (9, 12)) -> dict[str, torch.Tensor]:
    """Maps of the three photos, in an order that is not theirs."""
    generator = torch.Generator().manual_seed(0)
    return {f"{index}.png": torch.randn(channels, *shape, generator=generator) for index in (2, 0, 1)}


def test_isrf(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    maps = random_maps()
    torch.save({**maps, "another.png": torch.zeros(8, 9, 12)}, tmp_path / "features.pt")
    Features(data, source="imported", from_=tmp_path / "features.pt", name="isrf").main()
    folder = data / "features" / "isrf"
    assert not (folder / "pca.npz").exists()  # few channels are kept as they are
    for index in range(3):
        expected = torch.nn.functional.normalize(maps[f"{index}.png"], dim=0).permute(1, 2, 0)
        found = read_map(folder / f"{index}.npz")
        np.testing.assert_allclose(found.features.astype(np.float32), expected.numpy(), atol=1e-3)
        assert found.image_size == (36, 48)
    capsys.readouterr()
    Features(data, source="imported", from_=tmp_path / "features.pt", name="isrf").main()
    assert "wrote 0 of 3" in capsys.readouterr().out
    torch.save({name: value + 1 for name, value in maps.items()}, tmp_path / "features.pt")
    refused(
        Features(data, source="imported", from_=tmp_path / "features.pt", name="isrf"),
        "checkpoint",
        "--from",
        "--overwrite",
    )


def test_gsn(data: Path, tmp_path: Path) -> None:
    maps = random_maps()
    (tmp_path / "DiNOFeats").mkdir()
    for name, features in maps.items():
        torch.save({f"some/where/{name}": features}, tmp_path / "DiNOFeats" / f"{Path(name).stem}.pt")
    Features(data, source="imported", from_=tmp_path / "DiNOFeats").main()
    found = read_map(data / "features" / "imported" / "2.npz").features.astype(np.float32)
    expected = torch.nn.functional.normalize(maps["2.png"], dim=0).permute(1, 2, 0)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)


def test_many_channels_are_projected(data: Path, tmp_path: Path) -> None:
    torch.save(random_maps(20), tmp_path / "features.pt")
    Features(data, source="imported", from_=tmp_path / "features.pt", channels=5).main()
    assert read_map(data / "features" / "imported" / "0.npz").features.shape == (9, 12, 5)
    assert (data / "features" / "imported" / "pca.npz").is_file()


class Evil:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_would_run_code_is_refused_in_one_sentence(data: Path, tmp_path: Path) -> None:
    trap = tmp_path / "made-by-the-pickle"
    file = tmp_path / "features.pt"
    torch.save({**random_maps(), "x": Evil(trap)}, file)
    torch.load(file, weights_only=False)
    assert trap.exists()  # the trap works
    trap.unlink()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "0.pt").write_bytes(file.read_bytes())
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Evil(trap)))
    for path in (file, tmp_path / "old.pt"):
        refused(Features(data, source="imported", from_=path), str(path), "could run code", "torch.save")
    for index in (1, 2):
        torch.save({"f": torch.zeros(8, 9, 12)}, tmp_path / "folder" / f"{index}.pt")
    refused(Features(data, source="imported", from_=tmp_path / "folder"), "0.pt", "could run code")
    words = [sys.executable, "-W", "ignore", "-m", "nerfseg_plugins.cli.main", "features", "--data", str(data)]
    done = subprocess.run(
        [*words, "--source", "imported", "--from", str(file)], capture_output=True, text=True, check=False
    )
    assert (
        done.returncode == 1 and done.stderr.startswith(f"error: {file} is not loaded") and done.stderr.count("\n") == 1
    )
    assert not trap.exists()
    assert not (data / "features").exists()


def test_what_does_not_fit_is_refused(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "features.pt"

    def check(found: object, *words: str) -> None:
        torch.save(found, file)
        refused(Features(data, source="imported", from_=file, overwrite=True), *words)

    maps = random_maps()
    check({"0.png": maps["0.png"], "2.png": maps["2.png"]}, str(file), "images/1.png")
    check({**maps, "1.png": maps["1.png"][:4]}, "1.png", "4 channels", "8")
    check({**maps, "1.png": maps["1.png"].transpose(1, 2)}, "1.png", "9x12 cells", "48x36")
    check({**maps, "1.png": maps["1.png"][0]}, "1.png", "(9, 12)")
    check({**maps, "1.png": maps["1.png"].long()}, "1.png", "int64")
    check({**maps, "1.png": maps["1.png"] * torch.nan}, "1.png", "not finite")
    check([maps], str(file), "no dict of tensors")
    check({**maps, "note": "text"}, str(file), "no dict of tensors")
    file.write_bytes(file.read_bytes()[:200])
    refused(Features(data, source="imported", from_=file), str(file), "damaged")
    refused(Features(data, source="imported", from_=tmp_path / "none.pt"), "none.pt", "does not exist")
    (tmp_path / "folder").mkdir()
    refused(Features(data, source="imported", from_=tmp_path / "folder"), "folder", "holds no .pt files")
    for index in range(3):
        torch.save({"a": maps["0.png"], "b": maps["1.png"]}, tmp_path / "folder" / f"{index}.pt")
    refused(Features(data, source="imported", from_=tmp_path / "folder"), "0.pt", "2 tensors")


def test_images_of_one_name_are_refused(data: Path, tmp_path: Path) -> None:
    (data / "images" / "0.png").rename(data / "images" / "1.jpg")
    torch.save(random_maps(), tmp_path / "features.pt")
    refused(Features(data, source="imported", from_=tmp_path / "features.pt"), "1.jpg", "1.png")
