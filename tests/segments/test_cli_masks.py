"""`nerfseg masks` and `nerfseg refine` on folders of images: what is kept, what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.cli.masks import Masks
from nerfseg_plugins.cli.refine import Refine
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.manifest import read_manifest
from nerfseg_plugins.segments.masks import read_ids, read_segments, write_ids


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three small photos of a square in images/, and no transforms.json."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(3):
        image = rng.normal(90, 3, (40, 56, 3))
        image[10:30, 8 + 6 * index : 30 + 6 * index] += [80, -20, -40]
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / "images" / f"{index}.png")
    return folder


def refused(command, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        command.main()
    for word in words:
        assert word in str(caught.value), caught.value


def test_writes_segments_and_manifest(data: Path, capsys: pytest.CaptureFixture) -> None:
    Masks(data).main()
    folder = data / "segments" / "classical"
    assert sorted(path.name for path in folder.glob("*.npz")) == ["0.npz", "1.npz", "2.npz"]
    segments = read_segments(folder / "1.npz")
    assert segments.ids.shape == (40, 56)
    inside = np.bincount(segments.ids[12:28, 18:32].ravel()).argmax()
    assert (segments.ids == inside).sum() == pytest.approx(20 * 22, rel=0.15)
    manifest = read_manifest(folder)
    assert (manifest.source, manifest.image_size, manifest.checkpoint) == ("classical", (40, 56), None)
    assert manifest.parameters["granularity"] == 0.5
    out = capsys.readouterr().out
    assert "wrote 3 of 3" in out and "nerfseg match" in out


def test_a_stopped_run_goes_on(data: Path, capsys: pytest.CaptureFixture) -> None:
    Masks(data).main()
    folder = data / "segments" / "classical"
    before = (folder / "0.npz").stat().st_mtime_ns
    expected = read_ids(folder / "2.npz")
    (folder / "1.npz").unlink()
    (folder / "2.npz").write_bytes((folder / "2.npz").read_bytes()[:50])  # damaged: made again
    Masks(data).main()
    assert "wrote 2 of 3" in capsys.readouterr().out
    assert (folder / "0.npz").stat().st_mtime_ns == before
    np.testing.assert_array_equal(read_ids(folder / "2.npz"), expected)


def test_a_killed_process_leaves_nothing_half_written_and_goes_on(data: Path) -> None:
    """Kill -9 after the first file."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from nerfseg_plugins.cli.masks import Masks\n"
        "import nerfseg_plugins.segments.hierarchy as masks\n"
        "write = masks.write_hierarchy\n"
        "def write_then_die(path, *rest):\n"
        "    if path.stem == '1':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    write(path, *rest)\n"
        "masks.write_hierarchy = write_then_die\n"
        f"Masks(Path({str(data)!r})).main()\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == -9
    folder = data / "segments" / "classical"
    assert [path.name for path in folder.glob("*.npz")] == ["0.npz"]
    read_segments(folder / "0.npz")
    Masks(data).main()
    assert len(list(folder.glob("*.npz"))) == 3


def test_stale_segments_are_refused_until_overwritten(data: Path) -> None:
    Masks(data).main()
    folder = data / "segments" / "classical"
    refused(Masks(data, granularity=0.4), str(folder / "manifest.json"), "parameters", "--overwrite")
    Image.fromarray(np.zeros((40, 56, 3), np.uint8)).save(data / "images" / "0.png")
    refused(Masks(data), "images", "nerfseg masks", "--overwrite")
    Masks(data, granularity=0.4, overwrite=True).main()
    assert read_manifest(folder).parameters["granularity"] == 0.4
    assert len(np.unique(read_ids(folder / "0.npz"))) == 1


def test_segments_of_unknown_origin_are_refused(data: Path) -> None:
    folder = data / "segments" / "classical"
    folder.mkdir(parents=True)
    np.savez(folder / "other.npz", ids=np.zeros((40, 56), np.uint16))
    refused(Masks(data), str(folder), "unknown what made them", "--overwrite")
    Masks(data, overwrite=True).main()
    assert not (folder / "other.npz").exists()


def test_a_folder_that_cannot_be_written_is_said(data: Path, tmp_path: Path) -> None:
    (data / "segments").write_text("a file where the folder should be")
    refused(Masks(data), str(data / "segments"), "--output-path")
    Masks(data, output_path=tmp_path / "elsewhere").main()
    assert len(list((tmp_path / "elsewhere").glob("*.npz"))) == 3


def test_transforms_choose_the_images(data: Path, capsys: pytest.CaptureFixture) -> None:
    frames = [
        {"file_path": f"images/{name}.png", "transform_matrix": np.eye(4).tolist()} for name in ("0", "2", "missing")
    ]
    meta = {"fl_x": 50, "fl_y": 50, "cx": 28, "cy": 20, "w": 56, "h": 40, "frames": frames}
    (data / "transforms.json").write_text(json.dumps(meta))
    Masks(data).main()
    assert sorted(path.name for path in (data / "segments" / "classical").glob("*.npz")) == ["0.npz", "2.npz"]
    assert "1 of 3 images" in capsys.readouterr().out


def test_bad_data(tmp_path: Path, data: Path) -> None:
    refused(Masks(tmp_path / "none"), str(tmp_path / "none"), "does not exist")
    (tmp_path / "empty").mkdir()
    refused(Masks(tmp_path / "empty"), str(tmp_path / "empty"), "neither transforms.json nor images")
    path = data / "images" / "1.png"
    path.write_bytes(path.read_bytes()[:200])
    refused(Masks(data), str(path), "damaged")


def test_the_command_line_says_it_in_one_sentence(tmp_path: Path) -> None:
    script = (
        "import sys, tyro\n"
        "from nerfseg_plugins.cli.masks import Masks\n"
        "from nerfseg_plugins.errors import install_excepthook\n"
        "install_excepthook()\n"
        f"tyro.cli(Masks, args=['--data', {str(tmp_path / 'none')!r}]).main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


@pytest.fixture
def rendered(data: Path) -> Path:
    """Masks of two of the three photos, a pixel or two off, with an unlabelled corner."""
    for index in range(2):
        ids = np.zeros((40, 56), np.int32)
        ids[12:31, 10 + 6 * index : 31 + 6 * index] = 5
        ids[:4, :4] = -1
        write_ids(data / "rendered" / f"{index}.png", ids)
    return data / "rendered"


def test_refine_sharpens_what_has_a_mask(data: Path, rendered: Path, capsys: pytest.CaptureFixture) -> None:
    Refine(data, rendered, radius=4).main()
    folder = data / "segments" / "rendered-guided"
    assert sorted(path.name for path in folder.glob("*.png")) == ["0.png", "1.png"]
    for index in range(2):
        truth = np.zeros((40, 56), bool)
        truth[10:30, 8 + 6 * index : 30 + 6 * index] = True
        before, after = read_ids(rendered / f"{index}.png"), read_ids(folder / f"{index}.png")

        def iou(ids: np.ndarray, truth: np.ndarray = truth) -> float:
            return ((ids == 5) & truth).sum() / ((ids == 5) | truth).sum()

        assert iou(after) > iou(before) + 0.05
        np.testing.assert_array_equal(after == -1, before == -1)
    assert read_manifest(folder).parameters["radius"] == 4
    Refine(data, rendered, radius=4).main()
    assert "wrote 0 of 2 masks" in capsys.readouterr().out
    refused(Refine(data, rendered, radius=5), str(folder / "manifest.json"), "nerfseg refine", "--overwrite")
    Refine(data, rendered, radius=5, overwrite=True).main()


def test_refine_none_copies(data: Path, rendered: Path, tmp_path: Path) -> None:
    Refine(data, rendered, output_path=tmp_path / "copy", method="none").main()
    np.testing.assert_array_equal(read_ids(tmp_path / "copy" / "0.png"), read_ids(rendered / "0.png"))


def test_refine_refuses(data: Path, rendered: Path, tmp_path: Path) -> None:
    refused(Refine(data, tmp_path / "none"), str(tmp_path / "none"), "no folder")
    (tmp_path / "empty").mkdir()
    refused(Refine(data, tmp_path / "empty"), "none of the 3 images")
    refused(Refine(data, rendered, output_path=rendered), "the folder of the masks themselves")
    write_ids(rendered / "2.png", np.zeros((20, 20), np.int32))
    refused(Refine(data, rendered), str(rendered / "2.png"), "20x20")
    (rendered / "2.png").write_bytes((rendered / "0.png").read_bytes()[:60])
    refused(Refine(data, rendered, overwrite=True), str(rendered / "2.png"), "damaged")
