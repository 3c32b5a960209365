"""`nerfseg masks` where masks lie in each other: from images, from folders of masks, from exact ids."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.cli.mask_makers import FromFolders
from nerfseg_plugins.cli.masks import Masks, is_whole
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.manifest import read_manifest
from nerfseg_plugins.rooms.generate import make_scene, write_scene
from nerfseg_plugins.segments.hierarchy import has_masks, read_hierarchy
from nerfseg_plugins.segments.masks import Segments, read_ids, read_segments, write_segments

SIZE = (36, 48)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene as Blender-HS is laid out: 2 + 2 views, folders of exact masks, exact ids."""
    folder = tmp_path_factory.mktemp("scenes") / "object"
    room, shots = make_scene(1, "sam-hierarchy", num_objects=5, num_train=2, num_val=2, width=48, height=36)
    write_scene(folder, room, shots, "sam-hierarchy")
    return folder


@pytest.fixture
def scene(released: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released, tmp_path / "object"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of a square with a darker middle, in images/."""
    image = np.random.default_rng(0).normal(90, 3, (60, 80, 3))
    image[10:50, 20:60] += [80, -20, -40]
    image[20:40, 30:50] += [40, 40, 0]
    (tmp_path / "data" / "images").mkdir(parents=True)
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(tmp_path / "data" / "images" / "0.png")
    return tmp_path / "data"


def refused(command: Masks, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        command.main()
    for word in words:
        assert word in str(caught.value), caught.value


def test_the_classical_source_writes_a_partition_and_its_levels(photo: Path, capsys: pytest.CaptureFixture) -> None:
    Masks(photo).main()
    path = photo / "segments" / "classical" / "0.npz"
    found = read_hierarchy(path, (60, 80))
    square = np.zeros((60, 80), bool)
    square[10:50, 20:60] = True
    middle = np.zeros((60, 80), bool)
    middle[20:40, 30:50] = True

    def best(truth: np.ndarray) -> int:
        iou = [(mask & truth).sum() / (mask | truth).sum() for mask in found.masks()]
        assert max(iou) > 0.8
        return int(np.argmax(iou))

    # The middle is a thing of its own or a part of the square, but never holds it.
    assert found.area[best(middle)] < found.area[best(square & ~middle)]
    assert (read_segments(path).ids > 0).all()
    assert "sam-hierarchy-data --masks classical" in capsys.readouterr().out


def test_flat_maps_of_an_older_version_are_made_anew(photo: Path) -> None:
    Masks(photo).main()
    folder = photo / "segments" / "classical"
    manifest = json.loads((folder / "manifest.json").read_text())
    flat = read_segments(folder / "0.npz")
    write_segments(folder / "0.npz", flat)
    assert not has_masks(folder / "0.npz") and is_whole(folder / "0.npz", (60, 80))
    assert not is_whole(folder / "0.npz", (60, 80), overlapping=True)
    del manifest["parameters"]["levels"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    refused(Masks(photo), str(folder / "manifest.json"), "parameters differ", "nerfseg masks", "--overwrite")
    Masks(photo, overwrite=True).main()
    assert has_masks(folder / "0.npz")
    np.testing.assert_array_equal(read_ids(folder / "0.npz"), flat.ids)


def test_files_without_masks_or_of_another_size_are_made_again(photo: Path, capsys: pytest.CaptureFixture) -> None:
    Masks(photo).main()
    path = photo / "segments" / "classical" / "0.npz"
    expected = path.read_bytes()
    for ids in (read_ids(path), np.ones((3, 4), np.int32)):
        write_segments(path, Segments.of_ids(ids))
        Masks(photo).main()
        assert "wrote 1 of 1" in capsys.readouterr().out
        np.testing.assert_array_equal(path.read_bytes(), expected)
    Masks(photo).main()
    assert "wrote 0 of 1" in capsys.readouterr().out


def test_released_folders_are_packed(scene: Path, capsys: pytest.CaptureFixture) -> None:
    Masks(scene, source="imported").main()
    folder = scene / "segments" / "sam"
    for name in ("train/r_0", "train/r_1", "val/r_0", "val/r_1"):
        split, view = name.split("/")
        packed = read_hierarchy(folder / f"{name}.npz", SIZE)
        loose = read_hierarchy(scene / f"{split}_seg" / view)
        for key in ("bits", "area", "parent", "dup_of", "predicted_iou", "stability"):
            np.testing.assert_array_equal(getattr(packed, key), getattr(loose, key))
        assert len(packed) > 5
        segments = read_segments(folder / f"{name}.npz")
        assert (segments.ids > 0).sum() == packed.masks().any(axis=0).sum()
    assert read_manifest(folder).source == "imported"
    (folder / "train" / "r_1.npz").unlink()
    capsys.readouterr()
    Masks(scene, source="imported").main()
    assert "wrote 1 of 4" in capsys.readouterr().out


def test_folders_of_masks_elsewhere(scene: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        shutil.move(scene / f"{split}_seg", tmp_path / "masks" / split)
    refused(Masks(scene, source="imported"), str(scene), str(scene / "train_seg" / "r_0"), "--from")
    Masks(scene, source="imported", from_=tmp_path / "masks", output_path=tmp_path / "packed").main()
    assert len(list((tmp_path / "packed").rglob("*.npz"))) == 4
    refused(Masks(scene, source="imported", from_=tmp_path / "none"), str(tmp_path / "none"), "no folder")


def test_masks_of_partnet_are_found_by_their_number(tmp_path: Path) -> None:
    images, names = [], []
    for number in ("00", "07"):
        view = tmp_path / f"view-{number}"
        view.mkdir()
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(view / "shape-rgb.png")
        images.append(view / "shape-rgb.png")
        names.append(Path(view.name) / "shape-rgb.npz")
    (tmp_path / "seg" / "07").mkdir(parents=True)
    Image.fromarray(np.full((4, 5), 255, np.uint8)).save(tmp_path / "seg" / "07" / "0.png")
    found = FromFolders(tmp_path, images, names)
    assert [found.covers(0), found.covers(1)] == [False, True]
    made = found.make(1)
    assert made.masks is not None and made.masks.area.tolist() == [20]


def test_an_image_without_masks_is_left_out_and_said(scene: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.rmtree(scene / "train_seg" / "r_1")
    for path in (scene / "val_seg" / "r_0").iterdir():
        path.unlink()  # a folder without masks: nothing was found
    Masks(scene, source="imported").main()
    out = capsys.readouterr().out
    assert "wrote 3 of 3" in out and "1 of 4 images have no masks" in out
    folder = scene / "segments" / "sam"
    assert not (folder / "train" / "r_1.npz").exists()
    assert len(read_hierarchy(folder / "val" / "r_0.npz", SIZE)) == 0


def test_changed_and_unusable_masks_are_refused(scene: Path) -> None:
    Masks(scene, source="imported").main()
    Image.fromarray(np.full(SIZE, 255, np.uint8)).save(scene / "train_seg" / "r_0" / "0.png")
    refused(Masks(scene, source="imported"), "manifest.json", "parameters differ", "--source imported", "--overwrite")
    refused(Masks(scene, source="sam", checkpoint=scene / "none.pth"), "none.pth")
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(scene / "train_seg" / "r_0" / "0.png")
    path = str(scene / "train_seg" / "r_0" / "0.png")
    refused(Masks(scene, source="imported", overwrite=True), path, "9x9", "48x36")
    assert not list((scene / "segments" / "sam").rglob("*.npz"))


def test_exact_ids_make_sam_like_masks(scene: Path) -> None:
    Masks(scene, source="labels", noise=False).main()
    found = read_hierarchy(scene / "segments" / "labels" / "train" / "r_1.npz", SIZE)
    exact = read_hierarchy(scene / "train_seg" / "r_1")  # written without noise from the same ids
    np.testing.assert_array_equal(found.bits, exact.bits)
    parts = read_ids(scene / "gt_seg" / "train" / "r_1_parts.png")
    for part in np.unique(parts[parts > 0]):
        if (parts == part).sum() >= 8:
            assert any((mask & (parts == part)).sum() / (mask | (parts == part)).sum() > 0.9 for mask in found.masks())


def test_noise_is_drawn_from_the_seed_of_each_view(scene: Path, tmp_path: Path) -> None:
    def bits(name: str, **options) -> list[bytes]:
        Masks(scene, source="labels", output_path=tmp_path / name, **options).main()
        return [read_hierarchy(path).bits.tobytes() for path in sorted((tmp_path / name).rglob("*.npz"))]

    first, exact = bits("first"), bits("exact", noise=False)
    assert first == bits("again")
    assert first != bits("other", seed=1)
    assert all(one != other for one, other in zip(first, exact, strict=True))
    (tmp_path / "first" / "val" / "r_0.npz").unlink()  # what a killed run makes later is what it would have made
    assert first == bits("first")
    refused(Masks(scene, source="labels", output_path=tmp_path / "first", seed=2), "parameters differ")


def test_a_room_has_groups_through_its_table(tmp_path: Path) -> None:
    room, shots = make_scene(3, num_objects=7, num_train=1, num_val=1, width=48, height=36)
    write_scene(tmp_path / "room", room, shots)
    Masks(tmp_path / "room", source="labels", noise=False).main()
    folder = tmp_path / "room" / "segments" / "labels"
    assert read_manifest(folder).parameters["levels"] == ["groups", "objects", "parts"]
    found = read_hierarchy(folder / "0000.npz", SIZE)
    ids = read_ids(tmp_path / "room" / "masks" / "0000.png")
    groups = json.loads((tmp_path / "room" / "hierarchy.json").read_text())["objects"]
    table = np.zeros(ids.max() + 1, int)
    for name, item in groups.items():
        if int(name) < len(table):
            table[int(name)] = item["group"]
    grouped = table[ids]
    for wanted in (grouped, ids):
        for value in np.unique(wanted[wanted > 0]):
            own = wanted == value
            if own.sum() >= 8:
                assert any((mask & own).sum() / (mask | own).sum() > 0.9 for mask in found.masks())
    assert not found.masks()[:, ids == 0].any()


def test_data_without_exact_ids_and_ids_of_another_size_are_refused(photo: Path, scene: Path) -> None:
    refused(Masks(photo, source="labels"), str(photo), "transforms.json")
    path = scene / "gt_seg" / "train" / "r_0_objects.png"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(path)
    refused(Masks(scene, source="labels"), str(path), "9x9")
    shutil.rmtree(scene / "gt_seg")
    refused(Masks(scene, source="labels"), str(scene), "no exact ids", "nerfseg room")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resize_factor": 0.0}, "--resize-factor is 0.0"),
        ({"resize_factor": 2.0}, "--resize-factor is 2.0"),
        ({"pred_iou_thresh": 1.5}, "--pred-iou-thresh is 1.5"),
        ({"points_per_side": 0}, "--points-per-side is 0"),
        ({"from_": Path("x")}, "leave out --from"),
        ({"checkpoint": Path("x")}, "leave out --checkpoint"),
    ],
)
def test_options_that_make_no_sense(photo: Path, options: dict, words: str) -> None:
    refused(Masks(photo, **options), words)
    assert not (photo / "segments").exists()
