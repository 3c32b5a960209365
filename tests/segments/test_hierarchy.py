"""Masks that overlap: order, duplicates, parents, and what files are refused."""

from pathlib import Path

import numpy as np
import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.rooms.sam_hierarchy import containment as reference
from nerfseg_plugins.segments.hierarchy import (
    KEYS,
    MaskHierarchy,
    check_size,
    flatten_hierarchy,
    has_masks,
    overlaps,
    read_hierarchy,
    write_hierarchy,
)
from nerfseg_plugins.segments.masks import Segments, read_ids, read_segments, write_segments


def rectangles(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (20, 30)) -> np.ndarray:
    """(M, H, W) bool of boxes (top, bottom, left, right)."""
    masks = np.zeros((len(boxes), *size), bool)
    for mask, (top, bottom, left, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return masks


def noisy_stack(seed: int, count: int = 40, size: tuple[int, int] = (40, 52)) -> np.ndarray:
    """Random rectangles, many of them nested or nearly equal, with a few flipped pixels."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        if masks and rng.uniform() < 0.4:
            mask = masks[rng.integers(len(masks))].copy()
            mask[: rng.integers(0, 4)] = False
        else:
            top, left = rng.integers(0, 30), rng.integers(0, 40)
            mask = rectangles((top, top + rng.integers(1, 30), left, left + rng.integers(1, 40)), size=size)[0]
        masks.append(mask ^ (rng.uniform(size=size) < 0.004))
    return np.stack(masks)


def test_a_tree_by_hand() -> None:
    masks = rectangles(
        (2, 6, 2, 6),  # 16 pixels: a part of the next
        (0, 10, 0, 10),  # 100: a thing
        (0, 10, 0, 20),  # 200: a group of two things
        (0, 10, 10, 20),  # 100: the other thing
        (15, 20, 20, 30),  # 50: alone
        (2, 6, 2, 6),  # the first again
    )
    found = MaskHierarchy.of_masks(masks, np.linspace(0.5, 1, 6), np.linspace(0, 0.5, 6))
    np.testing.assert_array_equal(found.area, [200, 100, 100, 50, 16, 16])
    np.testing.assert_array_equal(found.masks(), masks[[2, 1, 3, 4, 0, 5]])
    np.testing.assert_array_equal(found.parent, [-1, 0, 0, -1, 1, 1])
    np.testing.assert_array_equal(found.dup_of, [-1, -1, -1, -1, -1, 4])
    np.testing.assert_array_equal(found.leaves(), [False, False, True, True, True, False])
    np.testing.assert_allclose(found.predicted_iou, np.linspace(0.5, 1, 6)[[2, 1, 3, 4, 0, 5]])
    np.testing.assert_allclose(found.stability, np.linspace(0, 0.5, 6)[[2, 1, 3, 4, 0, 5]])
    assert found.size == (20, 30) and len(found) == 6
    pixels = np.array([3 * 30 + 3, 0, 19 * 30 + 29, 12 * 30])
    np.testing.assert_array_equal(
        found.at(pixels).T,
        np.array([[1, 1, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0] * 6], bool),
    )


def test_thresholds_of_containment_and_sameness() -> None:
    # 96 of 100 pixels lie in the large one, 95 of 100 do not suffice; the IoU of 0.9 exactly makes no duplicate.
    large = np.zeros((1, 500), bool)
    large[:, :300] = True
    masks = np.stack([large, large, large, large])
    masks[1:] = False
    masks[1, 0, 204:304] = True
    masks[2, 0, 205:305] = True
    masks[3, 0, :270] = True
    found = MaskHierarchy.of_masks(masks)
    np.testing.assert_array_equal(found.area, [300, 270, 100, 100])
    np.testing.assert_array_equal(found.dup_of, [-1, -1, -1, 2])
    np.testing.assert_array_equal(found.parent, [-1, 0, 0, 0])  # the third repeats the second, whose parent it takes
    alone = MaskHierarchy.of_masks(masks[[0, 2]])
    np.testing.assert_array_equal(alone.parent, [-1, -1])


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_dense_definition(seed: int) -> None:
    found = MaskHierarchy.of_masks(noisy_stack(seed))
    inside, same = reference(found.masks())
    shared = found.masks().reshape(len(found), -1).astype(int)
    np.testing.assert_array_equal(overlaps(found.bits), shared @ shared.T)
    assert (np.diff(found.area) <= 0).all()
    originals: list[int] = []
    for row in range(len(found)):
        twins = [other for other in originals if same[row, other]]
        if not twins:
            originals.append(row)
        assert found.dup_of[row] in (twins or [-1])
    for row in range(len(found)):
        original = row if found.dup_of[row] < 0 else found.dup_of[row]
        containers = [other for other in originals if inside[original, other]]
        assert found.parent[row] == max(containers, default=-1)
    assert (found.parent < np.arange(len(found))).all()  # so there is no cycle


def test_a_large_image_in_many_chunks() -> None:
    rng = np.random.default_rng(0)
    masks = np.repeat(np.repeat(rng.uniform(size=(12, 33, 37)) < 0.3, 9, axis=1), 11, axis=2)  # 297 x 407
    found = MaskHierarchy.of_masks(masks)
    flat = found.masks().reshape(12, -1).astype(np.int64)
    np.testing.assert_array_equal(overlaps(found.bits), flat @ flat.T)


def test_a_mask_in_two_parents_takes_the_smaller() -> None:
    masks = rectangles((0, 10, 0, 20), (0, 10, 5, 20), (3, 6, 8, 12), (0, 20, 4, 14))
    found = MaskHierarchy.of_masks(masks)
    # Areas 200, 200, 150, 12: the two of 200 overlap by halves, the small one lies in all three.
    np.testing.assert_array_equal(found.area, [200, 200, 150, 12])
    np.testing.assert_array_equal(found.parent, [-1, -1, 0, 2])


def test_noise_that_goes_round_ends_in_a_tree() -> None:
    """Three nearly equal masks, each of which would lie in the next but for a pixel."""
    base = rectangles((0, 10, 0, 19))
    masks = np.concatenate([base, base, base])
    for index in range(3):
        masks[index, 12 + index, :3] = True
        masks[index, 0, index * 4 : index * 4 + 3] = False
    found = MaskHierarchy.of_masks(masks)
    np.testing.assert_array_equal(found.dup_of, [-1, 0, 0])
    np.testing.assert_array_equal(found.parent, [-1, -1, -1])


def test_empty_full_and_single_pixel_masks(tmp_path: Path) -> None:
    masks = rectangles((0, 0, 0, 0), (0, 20, 0, 30), (7, 8, 9, 10), (0, 20, 0, 30), size=(20, 30))
    found = MaskHierarchy.of_masks(masks, np.array([0.1, 0.2, 0.3, 0.4]))
    np.testing.assert_array_equal(found.area, [600, 600, 1])
    np.testing.assert_array_equal(found.dup_of, [-1, 0, -1])
    np.testing.assert_array_equal(found.parent, [-1, -1, 0])
    np.testing.assert_allclose(found.predicted_iou, [0.2, 0.4, 0.3])
    write_hierarchy(tmp_path / "0.npz", found)
    np.testing.assert_array_equal(read_hierarchy(tmp_path / "0.npz").masks(), found.masks())


def test_an_image_without_masks(tmp_path: Path) -> None:
    nothing = MaskHierarchy.of_masks(rectangles((0, 0, 0, 0)))
    assert len(nothing) == 0 and nothing.at(np.arange(5)).shape == (0, 5) and nothing.leaves().shape == (0,)
    assert (flatten_hierarchy(nothing).ids == -1).all()
    write_hierarchy(tmp_path / "0.npz", nothing)
    found = read_hierarchy(tmp_path / "0.npz")
    assert len(found) == 0 and found.size == (20, 30) and found.masks().shape == (0, 20, 30)
    assert found.resized((5, 5)).size == (5, 5)


def test_a_file_gives_back_what_was_written_and_is_a_file_of_segments(tmp_path: Path) -> None:
    path = tmp_path / "0.npz"
    written = MaskHierarchy.of_masks(noisy_stack(5), np.linspace(0, 1, 40), np.linspace(1, 0, 40))
    write_hierarchy(path, written)
    found = read_hierarchy(path, (40, 52))
    assert found.size == written.size
    for key in ("bits", *KEYS[2:]):
        assert getattr(found, key).dtype == getattr(written, key).dtype
        np.testing.assert_array_equal(getattr(found, key), getattr(written, key))
    assert has_masks(path)
    segments = read_segments(path)
    np.testing.assert_array_equal(segments.ids, flatten_hierarchy(written).ids)
    partition = Segments.of_ids((np.arange(40 * 52).reshape(40, 52) % 7).astype(np.int32))
    write_hierarchy(path, written, partition)
    np.testing.assert_array_equal(read_ids(path), partition.ids)
    assert [file.name for file in tmp_path.iterdir()] == ["0.npz"]


def test_the_smallest_mask_is_seen_in_the_partition() -> None:
    masks = rectangles((0, 4, 0, 4), (0, 4, 0, 2), (0, 2, 0, 2), (3, 4, 4, 5), size=(4, 5))
    masks = np.concatenate([masks, masks[:1]])
    masks[4, 3, 4] = True  # 17 pixels and the largest, so the first mask is its duplicate
    found = flatten_hierarchy(MaskHierarchy.of_masks(masks, np.array([0.1, 0.2, 0.3, 0.4, 0.5])))
    np.testing.assert_array_equal(found.ids, [[2, 2, 4, 4, -1], [2, 2, 4, 4, -1], [3, 3, 4, 4, -1], [3, 3, 4, 4, 1]])
    np.testing.assert_array_equal(found.segment_ids, [1, 2, 3, 4])
    np.testing.assert_allclose(found.scores, [0.4, 0.3, 0.2, 0.5])


def test_resizing_takes_the_nearest_pixel() -> None:
    found = MaskHierarchy.of_masks(rectangles((0, 10, 0, 15), (1, 2, 1, 2), (0, 2, 0, 2)), np.array([0.1, 0.2, 0.3]))
    half = found.resized((10, 15))
    # Pixels 1, 3, 5 ... are taken: the single pixel at (1, 1) survives and now repeats the square around it.
    np.testing.assert_array_equal(half.area, [35, 1, 1])
    np.testing.assert_array_equal(half.dup_of, [-1, -1, 1])
    np.testing.assert_array_equal(found.resized((40, 60)).area, [600, 16, 4])
    assert len(found.resized((4, 4))) == 1


def test_masks_of_another_size_are_refused(tmp_path: Path) -> None:
    found = MaskHierarchy.of_masks(noisy_stack(0))
    write_hierarchy(tmp_path / "a.npz", found)
    with pytest.raises(InputError, match=r"a\.npz holds masks of 52x40 pixels but its image is 40x52; make the masks"):
        read_hierarchy(tmp_path / "a.npz", (52, 40))
    with pytest.raises(InputError, match=r"b\.npz"):
        check_size(found, (1, 2), Path("b.npz"))
    with pytest.raises(InputError, match=r"b\.npz holds masks of 52x40"):
        write_hierarchy(tmp_path / "b.npz", found, Segments.of_ids(np.ones((3, 3), np.int32)))
    assert not (tmp_path / "b.npz").exists()


def test_a_flat_map_is_told_from_a_hierarchy(tmp_path: Path) -> None:
    write_segments(tmp_path / "0.npz", Segments.of_ids(np.ones((3, 3), np.int32)))
    assert not has_masks(tmp_path / "0.npz")
    with pytest.raises(InputError, match=r"0\.npz holds a flat map .*older version.*nerfseg masks --data DATA"):
        read_hierarchy(tmp_path / "0.npz")


def test_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"0\.npz does not exist"):
        read_hierarchy(tmp_path / "0.npz")
    with pytest.raises(InputError, match=r"none does not exist; make it with nerfseg masks"):
        read_hierarchy(tmp_path / "none")
    (tmp_path / "0.txt").write_text("hello")
    with pytest.raises(InputError, match=r"0\.txt is neither an \.npz of nerfseg masks nor a folder"):
        read_hierarchy(tmp_path / "0.txt")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(InputError, match=r"array\.npz"):
        read_hierarchy(tmp_path / "array.npz")
    path = tmp_path / "cut.npz"
    write_hierarchy(path, MaskHierarchy.of_masks(noisy_stack(0)))
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.npz is damaged or truncated"):
            read_hierarchy(path)


def _arrays() -> dict[str, np.ndarray]:
    found = MaskHierarchy.of_masks(rectangles((0, 10, 0, 20), (0, 10, 0, 10), (2, 6, 2, 6), (12, 15, 0, 3)))
    return {"masks": found.bits, "size": np.array(found.size), **{key: getattr(found, key) for key in KEYS[2:]}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parent": np.array([2, 0, 1, -1])}, "mask 0 has parent 2, which is not larger: containment goes in circles"),
        ({"parent": np.array([-1, 1, 1, -1])}, "mask 1 has parent 1, which is not larger"),
        ({"parent": np.array([-1, 0, 9, -1])}, "mask 2 has parent 9, which does not exist"),
        ({"parent": np.array([-1, 0, -2, -1])}, "mask 2 has parent -2, which does not exist"),
        ({"dup_of": np.array([-1, 0, 1, -1])}, "itself a duplicate"),
        ({"dup_of": np.array([-1, 0, -1, -1])}, "itself a duplicate"),
        ({"parent": np.array([-1.0, 0, 1, -1])}, "parent is float64"),
        ({"area": np.array([200, 100, 16, 8])}, "areas are not those of its masks"),
        ({"area": np.array([200, 100, 16])}, r"area is int64 of shape \(3,\) for 4 masks"),
        ({"size": np.array([20, 40])}, "not packed bits of 40x20"),
        ({"size": np.array([20.0, 30])}, "size is no"),
        ({"size": np.array([0, 30])}, "size is no"),
        ({"masks": np.zeros((4, 600), bool)}, "masks are bool"),
        ({"predicted_iou": np.array([1, np.nan, 1, 1])}, "not finite"),
    ],
)
def test_contradictory_files_are_refused(tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "0.npz"
    np.savez(path, **_arrays())
    assert len(read_hierarchy(path)) == 4
    np.savez(path, **{**_arrays(), **change})
    with pytest.raises(InputError, match=rf"0\.npz contradicts itself: .*{message}.*nerfseg masks --overwrite"):
        read_hierarchy(path)


@pytest.mark.parametrize("key", KEYS[1:])
def test_a_missing_array_is_named(tmp_path: Path, key: str) -> None:
    np.savez(tmp_path / "0.npz", **{name: value for name, value in _arrays().items() if name != key})
    with pytest.raises(InputError, match=rf"0\.npz has masks but no '{key}'"):
        read_hierarchy(tmp_path / "0.npz")


def test_flipped_bytes_end_in_masks_or_a_refusal(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "0.npz"
    np.savez(path, **_arrays())
    whole = path.read_bytes()
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(3):
            content[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(content)
        try:
            assert len(read_hierarchy(path)) <= 4
        except InputError as error:
            assert str(path) in str(error)
