"""Extraction: two passes, resumed after a kill, batches, what is refused."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.cli.features import Features
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.extract import Target, extract
from nerfseg_plugins.features.find import find_features
from nerfseg_plugins.features.pca import PCA
from nerfseg_plugins.features.store import FeatureMaps, read_map
from nerfseg_plugins.manifest import Manifest, read_manifest, write_manifest


def refused(command: Features, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        command.main()
    for word in words:
        assert word in str(caught.value), caught.value


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_writes_maps_projection_and_manifest(data: Path, capsys: pytest.CaptureFixture) -> None:
    Features(data).main()
    folder = find_features(data)
    assert folder == data / "features" / "classical"
    assert sorted(contents(folder)) == ["0.npz", "1.npz", "2.npz", "manifest.json", "pca.npz"]
    found = read_map(folder / "1.npz")
    assert found.features.shape == (18, 24, 64) and found.image_size == (36, 48)
    assert found.features[8, 10] @ found.features[8, 12] > 0.9 > 0.5 > found.features[8, 10] @ found.features[15, 1]
    manifest = read_manifest(folder)
    assert (manifest.source, manifest.image_size, manifest.checkpoint) == ("classical", (36, 48), None)
    assert manifest.parameters["channels"] == 64
    maps = FeatureMaps.load(folder, sorted((data / "images").iterdir()), "")
    assert (len(maps), maps.channels) == (3, 64)
    assert "wrote 3 of 3" in capsys.readouterr().out


def test_a_killed_process_goes_on_to_the_same_bits(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Kill -9 between the first and the second map, once in the first pass, and with a damaged map left behind."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from nerfseg_plugins.cli.features import Features\n"
        "import nerfseg_plugins.features.extract as extract\n"
        "where, write, add = sys.argv[2], extract.write_map, extract.PCAFit.add\n"
        "def write_or_die(path, *rest):\n"
        "    if where == 'maps' and path.stem == '1':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    write(path, *rest)\n"
        "def add_or_die(self, features):\n"
        "    if where == 'projection' and self.count:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    add(self, features)\n"
        "extract.write_map, extract.PCAFit.add = write_or_die, add_or_die\n"
        "Features(Path(sys.argv[1]), channels=8).main()\n"
    )
    Features(data, channels=8, output_path=tmp_path / "whole").main()
    whole = contents(tmp_path / "whole")
    folder = data / "features" / "classical"
    for where, left in (("projection", ["manifest.json"]), ("maps", ["0.npz", "manifest.json", "pca.npz"])):
        words = [sys.executable, "-W", "ignore", "-c", script, str(data), where]
        assert subprocess.run(words, capture_output=True, check=False).returncode == -signal.SIGKILL
        assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == left
    (folder / "2.npz").write_bytes(whole["2.npz"][:100])
    before = (folder / "0.npz").stat().st_mtime_ns
    Features(data, channels=8).main()
    assert "wrote 2 of 3" in capsys.readouterr().out
    assert (folder / "0.npz").stat().st_mtime_ns == before
    assert {name: found for name, found in contents(folder).items() if not name.startswith(".")} == whole


class Batched:
    """A source whose result depends on which images it sees together, as a network's does in its last bits."""

    name = model = "batched"
    checkpoint = None
    parameters: dict[str, Any] = {}  # noqa: RUF012
    channels = 3
    centre = False
    batch_size = 2

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        return self.many([rgb])[0]

    def many(self, images: list[np.ndarray]) -> list[np.ndarray]:
        self.seen.append(len(images))
        return [image[::12, ::12].astype(np.float32) + len(images) for image in images]


def targets_of(data: Path, folder: Path) -> list[Target]:
    return [Target(image, folder / f"{image.stem}.npz", (36, 48)) for image in sorted((data / "images").iterdir())]


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_batches_are_those_of_the_whole_list(data: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "out", Manifest("batched", "-", None, (36, 48), "-"))
    targets, source = targets_of(data, tmp_path / "out"), Batched()
    assert extract(source, targets, tmp_path / "out", read) == 3
    assert source.seen == [2, 1, 2, 1]
    expected = contents(tmp_path / "out")
    (tmp_path / "out" / "1.npz").unlink()
    assert extract(source, targets, tmp_path / "out", read) == 1
    assert source.seen[4:] == [2]  # image 0 goes along, and is not written again
    assert contents(tmp_path / "out") == expected
    assert extract(source, targets, tmp_path / "out", read) == 0


def test_images_of_another_size_go_by_themselves(data: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(data / "images" / "1.png")
    write_manifest(tmp_path / "out", Manifest("batched", "-", None, (36, 48), "-"))
    targets, source = targets_of(data, tmp_path / "out"), Batched()
    targets[1] = targets[1]._replace(size=(24, 24))
    extract(source, targets, tmp_path / "out", read)
    assert source.seen == [1, 1, 1] * 2
    assert read_map(targets[1].file).features.shape == (2, 2, 3)


def test_some_images_choose_the_projection(data: Path, tmp_path: Path) -> None:
    """The first and the last of three, when two are asked for."""
    write_manifest(tmp_path / "out", Manifest("batched", "-", None, (36, 48), "-"))
    source = Batched()
    source.batch_size = 1
    extract(source, targets_of(data, tmp_path / "out"), tmp_path / "out", read, channels=2, pca_images=2)
    cells = np.concatenate([source(read(data / "images" / name)).reshape(-1, 3) for name in ("0.png", "2.png")])
    pca = PCA.load(tmp_path / "out" / "pca.npz")
    np.testing.assert_allclose(pca.variances, np.linalg.svd(cells)[1][:2] ** 2 / len(cells), rtol=1e-4)
    assert read_map(tmp_path / "out" / "1.npz").features.shape == (3, 4, 2)


def test_a_network_that_gives_nan_is_named_with_its_image(data: Path, tmp_path: Path) -> None:
    class Broken(Batched):
        def many(self, images: list[np.ndarray]) -> list[np.ndarray]:
            return [np.where(np.arange(3) == 1, np.nan, found).astype(np.float32) for found in super().many(images)]

    write_manifest(tmp_path / "out", Manifest("batched", "-", None, (36, 48), "-"))
    with pytest.raises(InputError, match=r"features of .*0\.png are not finite"):
        extract(Broken(), targets_of(data, tmp_path / "out"), tmp_path / "out", read)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]


def test_an_image_may_not_take_the_projections_name(data: Path) -> None:
    (data / "images" / "0.png").rename(data / "images" / "pca.png")
    refused(Features(data), "pca.png", "rename")


def test_other_images_or_settings_are_refused_until_overwritten(data: Path) -> None:
    Features(data, channels=8).main()
    folder = data / "features" / "classical"
    refused(Features(data, channels=4), str(folder / "manifest.json"), "parameters", "--channels 4 --overwrite")
    (folder / "0.npz").unlink()
    Image.fromarray(np.zeros((36, 48, 3), np.uint8)).save(data / "images" / "0.png")
    refused(Features(data, channels=8), str(folder / "manifest.json"), "images", "nerfseg features", "--overwrite")
    Features(data, channels=8, overwrite=True).main()
    (folder / "manifest.json").unlink()
    refused(Features(data, channels=8), "unknown what made them", "--overwrite")


def test_a_new_projection_makes_old_maps_anew(data: Path, capsys: pytest.CaptureFixture) -> None:
    Features(data, channels=8).main()
    folder = data / "features" / "classical"
    expected = contents(folder)
    pca = PCA.load(folder / "pca.npz")
    PCA(pca.mean, -pca.components, pca.variances).save(folder / "pca.npz")
    images = sorted((data / "images").iterdir())
    with pytest.raises(InputError, match=r"0\.npz was not made with .*pca\.npz"):
        FeatureMaps.load(folder, images, "nerfseg features")
    (folder / "pca.npz").unlink()
    Features(data, channels=8).main()
    assert contents(folder) == expected
    (folder / "pca.npz").write_bytes(b"damaged")
    refused(Features(data, channels=8), str(folder / "pca.npz"))
