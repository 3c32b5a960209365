"""Maps on disk and in memory: sampling against torch and scipy, what is refused, how much memory they take."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import map_coordinates

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.store import FeatureMaps, find_map, is_whole, origin_of, read_map, write_map
from nerfseg_plugins.manifest import Manifest, write_manifest

COMMAND = "nerfseg features --data DATA --overwrite"


def make_store(root: Path, grids: list[tuple[int, int]], size: tuple[int, int] = (30, 50), channels: int = 4):
    """Images and random maps of them, with a manifest."""
    folder, images = root / "features" / "test", []
    write_manifest(folder, Manifest("test", "m", None, size, "-"))
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    for index, grid in enumerate(grids):
        image = root / "images" / f"{index}.png"
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(image)
        write_map(folder / f"{index}.npz", rng.normal(size=(*grid, channels)), image, size, origin_of(folder))
        images.append(image)
    return folder, images


def test_sampling_agrees_with_torch_and_scipy(tmp_path: Path) -> None:
    folder, images = make_store(tmp_path, [(6, 9), (7, 5), (1, 3)])
    maps = FeatureMaps.load(folder, images, COMMAND)
    assert (len(maps), maps.channels, maps.num_bytes) == (3, 4, (54 + 35 + 3) * 4 * 2)
    rows, columns = (grid.ravel() for grid in torch.meshgrid(torch.arange(30), torch.arange(50), indexing="ij"))
    for index in range(3):
        found = maps.sample(torch.stack([torch.full_like(rows, index), rows, columns], dim=1))
        stored = read_map(folder / f"{index}.npz").features.astype(np.float32)
        places = torch.stack([(columns + 0.5) / 50 * 2 - 1, (rows + 0.5) / 30 * 2 - 1], dim=-1)[None, None].float()
        expected = torch.nn.functional.grid_sample(
            torch.from_numpy(stored).permute(2, 0, 1)[None], places, padding_mode="border", align_corners=False
        )[0, :, 0].T
        torch.testing.assert_close(found, torch.nn.functional.normalize(expected, dim=1), atol=2e-5, rtol=1e-4)
        where = [
            (rows.numpy() + 0.5) / 30 * stored.shape[0] - 0.5,
            (columns.numpy() + 0.5) / 50 * stored.shape[1] - 0.5,
        ]
        other = np.stack([map_coordinates(stored[..., k], where, order=1, mode="nearest") for k in range(4)], axis=1)
        np.testing.assert_allclose(
            found.numpy(), other / np.linalg.norm(other, axis=1, keepdims=True), atol=2e-5, rtol=1e-4
        )


def test_samples_by_hand(tmp_path: Path) -> None:
    """Two cells over four columns: their centres lie at pixels 0.5 and 2.5, so pixel 1 is a quarter of the way."""
    folder, images = make_store(tmp_path, [(1, 2)], size=(1, 4), channels=2)
    write_map(folder / "0.npz", np.array([[[1.0, 0.0], [0.0, 2.0]]]), images[0], (1, 4), origin_of(folder))
    maps = FeatureMaps.load(folder, images, COMMAND)
    found = maps.sample(torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]]))
    part = 0.75 / np.hypot(0.75, 0.25), 0.25 / np.hypot(0.75, 0.25)
    np.testing.assert_allclose(found.numpy(), [[1, 0], part, part[::-1], [0, 1]], atol=1e-6)


def test_features_are_kept_as_unit_vectors_in_float16(tmp_path: Path) -> None:
    folder, images = make_store(tmp_path, [(6, 9)])
    found = read_map(folder / "0.npz")
    assert found.features.dtype == np.float16 and found.image_size == (30, 50)
    np.testing.assert_allclose(np.linalg.norm(found.features.astype(np.float32), axis=-1), 1, atol=2e-3)
    assert is_whole(folder / "0.npz", images[0], (30, 50), origin_of(folder))
    zero = np.zeros((2, 3, 4))
    zero[0, 0] = [0, 5, 0, 0]
    write_map(folder / "0.npz", zero, images[0], (30, 50), origin_of(folder))
    sampled = FeatureMaps.load(folder, images, COMMAND).sample(torch.tensor([[0, 0, 0], [0, 29, 49]]))
    np.testing.assert_allclose(sampled.numpy(), [[0, 1, 0, 0], [0, 0, 0, 0]])


def refused(folder: Path, images: list[Path], *words: str) -> None:
    with pytest.raises(InputError) as caught:
        FeatureMaps.load(folder, images, COMMAND)
    for word in words:
        assert word in str(caught.value), caught.value


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder, images = make_store(tmp_path, [(6, 9), (6, 9)])
    path = folder / "1.npz"
    good, picture = path.read_bytes(), images[1].read_bytes()

    path.unlink()
    refused(folder, images, str(images[1]), "has no features of", COMMAND)
    path.write_bytes(good[: len(good) // 2])
    refused(folder, images, str(path), COMMAND)
    path.write_bytes(good)

    Image.fromarray(np.zeros((30, 50, 3), np.uint8)).save(images[1])
    refused(folder, images, str(path), "another image than", str(images[1]), COMMAND)
    Image.fromarray(np.zeros((15, 25, 3), np.uint8)).save(images[1])
    refused(folder, images, str(path), "50x30", "25x15", COMMAND)
    images[1].write_bytes(picture)

    write_map(path, np.ones((6, 9, 4)), images[1], (30, 50), "of another folder")
    refused(folder, images, str(path), "manifest.json", COMMAND)
    write_map(path, np.ones((6, 9, 3)), images[1], (30, 50), origin_of(folder))
    refused(folder, images, str(path), COMMAND)
    path.write_bytes(good)
    FeatureMaps.load(folder, images, COMMAND)

    (folder / "manifest.json").write_text("{}")
    refused(folder, images, "manifest.json", COMMAND)
    (folder / "manifest.json").unlink()
    refused(folder, images, "manifest.json", "missing", COMMAND)


@pytest.mark.parametrize(
    ("value", "word"), [(np.nan, "not finite"), (np.inf, "not finite"), (3.0, "no unit vectors")], ids=str
)
def test_damaged_values_name_the_image(tmp_path: Path, value: float, word: str) -> None:
    folder, images = make_store(tmp_path, [(6, 9), (6, 9)])
    with np.load(folder / "1.npz") as archive:
        arrays = dict(archive)
    arrays["features"][2, 3, 1] = value
    np.savez(folder / "1.npz", **arrays)
    refused(folder, images, str(images[1]), str(folder / "1.npz"), word)
    assert not is_whole(folder / "1.npz", images[1], (30, 50), origin_of(folder))


def test_features_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    folder, images = make_store(tmp_path, [(6, 9)])
    with pytest.raises(InputError, match=rf"{images[0]} are not finite in 1 of 4 cells"):
        write_map(folder / "0.npz", np.array([[[0, np.nan], [1, 1]], [[1, 1], [1, 1]]]), images[0], (30, 50), "-")
    with pytest.raises(ValueError, match="must be"):
        write_map(folder / "0.npz", np.zeros((4, 4)), images[0], (30, 50), "-")


def test_maps_in_subfolders_come_first(tmp_path: Path) -> None:
    """As masks do; the projection is nobody's map."""
    for name in ("train/r_0.npz", "r_0.npz", "pca.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_map(tmp_path, Path("/data/train/r_0.png")) == tmp_path / "train" / "r_0.npz"
    assert find_map(tmp_path, Path("/data/val/r_0.png")) == tmp_path / "r_0.npz"
    assert find_map(tmp_path, Path("/data/pca.png")) is None
    assert find_map(tmp_path, Path("r_1.png")) is None


def test_two_hundred_maps_take_less_than_400_mb(tmp_path: Path) -> None:
    """In a process of its own: the growth of its peak, which a second copy of everything would double."""
    script = (
        "import gc, resource, sys\n"
        "from pathlib import Path\n"
        "import numpy as np, torch\n"
        "from nerfseg_plugins.features.store import FeatureMaps\n"
        "root = Path(sys.argv[1])\n"
        "images = [root / 'images' / '0.png'] * 200\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "FeatureMaps.load(root / 'features' / 'test', images[:2], '')\n"
        "before = peak()\n"
        "maps = FeatureMaps.load(root / 'features' / 'test', images, '')\n"
        "print(maps.num_bytes, (peak() - before) * 1024)\n"
    )
    make_store(tmp_path, [(94, 126)], size=(756, 1008), channels=64)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    held, grown = (int(word) for word in done.stdout.split())
    assert held == 200 * 94 * 126 * 64 * 2
    assert held <= 400e6 and grown <= 400e6
