"""Folders of binary masks: order of names, SAM's table, and real files of a Blender-HS scene."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.rooms.sam_hierarchy import COLUMNS
from nerfseg_plugins.rooms.sam_hierarchy import containment as reference
from nerfseg_plugins.segments.hierarchy import read_hierarchy
from nerfseg_plugins.segments.mask_folder import read_mask_folder

OBJECT = Path(os.environ.get("NERFSEG_DATA") or Path(__file__).parents[3] / "shared" / "data") / "object_a"


def strip(length: int, size: tuple[int, int] = (6, 50)) -> np.ndarray:
    """A mask of the first columns, so that its area tells which one it is."""
    mask = np.zeros(size, bool)
    mask[:, :length] = True
    return mask


def save(folder: Path, **masks: np.ndarray) -> Path:
    """Masks as 0/255 files of these names."""
    folder.mkdir(exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{name}.png")
    return folder


def table(folder: Path, *rows: dict) -> None:
    """A metadata.csv with SAM's columns."""
    with open(folder / "metadata.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval=0)
        writer.writeheader()
        writer.writerows(rows)


def row(name: object, area: int, iou: float = 0.9, stability: float = 0.95) -> dict:
    return {"id": name, "area": area, "predicted_iou": iou, "stability_score": stability}


def test_numbers_are_ordered_as_numbers_and_joined_with_their_rows(tmp_path: Path) -> None:
    folder = save(tmp_path / "r_0", **{str(number): strip(number + 1) for number in range(12)})
    table(
        folder,
        *(row(number, 6 * (number + 1), number / 100, number / 50) for number in (11, 3, 0, *range(4, 11), 1, 2)),
    )
    found = read_mask_folder(folder)
    assert found.names == [f"{number}.png" for number in range(12)]
    np.testing.assert_array_equal(found.masks.sum(axis=(1, 2)), 6 * np.arange(1, 13))
    np.testing.assert_allclose(found.predicted_iou, np.arange(12) / 100, atol=1e-6)
    np.testing.assert_allclose(found.stability, np.arange(12) / 50, atol=1e-6)
    hierarchy = read_hierarchy(folder, (6, 50))
    np.testing.assert_array_equal(hierarchy.area, 6 * np.arange(12, 0, -1))
    np.testing.assert_allclose(hierarchy.predicted_iou, np.arange(11, -1, -1) / 100, atol=1e-6)


def test_names_of_any_kind(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", wing=strip(3), **{"007": strip(7), "10": strip(10), "Körper 2": strip(20)})
    table(folder, row("10", 60, 0.1), row("wing", 18, 0.2), row(7, 42, 0.3), row("Körper 2", 120, 0.4))
    found = read_mask_folder(folder)
    assert found.names == ["007.png", "10.png", "Körper 2.png", "wing.png"]
    np.testing.assert_allclose(found.predicted_iou, [0.3, 0.1, 0.4, 0.2])
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("not a mask")
    assert len(read_mask_folder(folder).names) == 4


def test_without_a_table_scores_are_one(tmp_path: Path) -> None:
    found = read_mask_folder(save(tmp_path / "m", a=strip(3), b=strip(9)))
    np.testing.assert_array_equal(found.predicted_iou, [1, 1])
    np.testing.assert_array_equal(found.stability, [1, 1])


def test_a_table_may_lack_scores(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", **{"0": strip(3), "1": strip(9)})
    (folder / "metadata.csv").write_text("id,predicted_iou\n1,0.5\n0,\n")
    found = read_mask_folder(folder)
    np.testing.assert_array_equal(found.predicted_iou, [1, 0.5])
    np.testing.assert_array_equal(found.stability, [1, 1])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(0, 18)], r"does not list 1\.png"),
        ([row(0, 18), row(1, 54), row(2, 60)], "lists mask 2, but there is no such file"),
        ([row(0, 18), row(1, 54), row("x", 60)], "lists mask x, but there is no such file"),
        ([row(0, 18), row("00", 18), row(1, 54)], "lists mask 00 twice"),
        ([row(0, 54), row(1, 18)], r"gives 0\.png an area of 54, but it has 18 pixels"),
        ([row(0, 18, iou=float("nan")), row(1, 54)], "predicted_iou 'nan'; write a finite number"),
        ([{**row(0, 18), "stability_score": "good"}, row(1, 54)], "stability_score 'good'; write a number"),
    ],
)
def test_a_table_that_contradicts_the_masks_is_refused(tmp_path: Path, rows: list[dict], message: str) -> None:
    folder = save(tmp_path / "m", **{"0": strip(3), "1": strip(9)})
    table(folder, *rows)
    with pytest.raises(InputError, match=rf"metadata\.csv .*{message}.*remove"):
        read_hierarchy(folder)


def test_a_table_without_ids_or_of_bytes_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", **{"0": strip(3)})
    (folder / "metadata.csv").write_text("number,area\n0,18\n")
    with pytest.raises(InputError, match=r"metadata\.csv has no column 'id'"):
        read_mask_folder(folder)
    (folder / "metadata.csv").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(InputError, match=r"metadata\.csv is damaged"):
        read_mask_folder(folder)


def test_a_table_of_shrunken_masks_still_fits(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", **{"0": strip(10), "1": strip(30)})
    table(folder, row(0, 16 * 60), row(1, 16 * 180))
    assert len(read_mask_folder(folder).names) == 2


def test_greys_colours_and_palettes_mean_the_same(tmp_path: Path) -> None:
    mask = strip(9)
    blurred = np.where(mask, 255, 0).astype(np.uint8)
    blurred[:, 9] = 90  # as interpolation leaves it
    folder = tmp_path / "m"
    folder.mkdir()
    Image.fromarray(blurred).save(folder / "0.png")
    Image.fromarray(np.repeat(blurred[..., None], 3, axis=2)).save(folder / "1.png")
    Image.fromarray(mask).save(folder / "2.png")
    Image.fromarray(mask.astype(np.uint8)).save(folder / "3.png")  # 0 and 1
    found = read_mask_folder(folder)
    for index in range(4):
        np.testing.assert_array_equal(found.masks[index], mask)


def test_empty_full_duplicate_and_single_pixel_files(tmp_path: Path) -> None:
    pixel = np.zeros((6, 50), bool)
    pixel[3, 7] = True
    folder = save(tmp_path / "m", **{"0": strip(0), "1": strip(50), "2": pixel, "3": strip(50)})
    table(folder, row(0, 0), row(1, 300), row(2, 1), row(3, 300))
    found = read_hierarchy(folder)
    np.testing.assert_array_equal(found.area, [300, 300, 1])
    np.testing.assert_array_equal(found.dup_of, [-1, 0, -1])
    np.testing.assert_array_equal(found.parent, [-1, -1, 0])


def test_a_folder_without_masks_needs_the_size(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "metadata.csv").write_text(",".join(COLUMNS) + "\n")  # what SAM leaves where it finds nothing
    found = read_hierarchy(tmp_path / "m", (6, 50))
    assert len(found) == 0 and found.size == (6, 50)
    with pytest.raises(InputError, match=r"m holds no masks \(\*\.png\)"):
        read_hierarchy(tmp_path / "m")


def test_files_of_another_size_are_named(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", **{"0": strip(3), "1": strip(3, (7, 50))})
    with pytest.raises(InputError, match=r"1\.png is 50x7 pixels but 0\.png beside it is 50x6"):
        read_hierarchy(folder)
    with pytest.raises(InputError, match=r"0\.png is 50x6 pixels but its image is 40x30"):
        read_hierarchy(folder, (30, 40))


def test_damaged_files_and_missing_folders_are_named(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", **{"0": strip(3)})
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:40])
    with pytest.raises(InputError, match=r"0\.png is damaged"):
        read_hierarchy(folder)
    with pytest.raises(InputError, match=r"none is no folder of masks"):
        read_mask_folder(tmp_path / "none")


@pytest.mark.skipif(not OBJECT.is_dir(), reason="there is no object_a (set NERFSEG_DATA)")
@pytest.mark.parametrize("name", ["train_seg/r_1", "val_seg/r_7"])
def test_a_real_folder(name: str) -> None:
    found = read_hierarchy(OBJECT / name, (400, 400))
    assert len(found) == len(list((OBJECT / name).glob("*.png")))
    inside, same = reference(found.masks())
    originals = found.dup_of < 0
    for row_ in np.flatnonzero(originals):
        assert not same[row_, :row_][originals[:row_]].any()
        containers = np.flatnonzero(inside[row_] & originals)
        assert found.parent[row_] == (containers[-1] if len(containers) else -1)
    assert 0.8 < found.predicted_iou.min() <= found.predicted_iou.max() <= 1
    assert found.leaves().sum() > len(found) / 3
