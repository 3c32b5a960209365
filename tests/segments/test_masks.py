"""Id masks: what is written comes back, in every format, and what is damaged is refused by name."""

import json

import h5py
import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.masks import (
    HDF5_KEY,
    MASK_SUFFIXES,
    Segments,
    check_ids,
    check_labelled,
    check_mask,
    find_mask,
    read_ids,
    read_segments,
    write_ids,
    write_segments,
)

IDS = np.array([[0, 1, 2], [-1, 300, 65534]], dtype=np.int32)


@pytest.mark.parametrize("suffix", MASK_SUFFIXES)
def test_every_format_gives_back_what_was_written(tmp_path, suffix):
    path = tmp_path / f"0000{suffix}"
    write_ids(path, IDS)
    ids = read_ids(path)
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, IDS)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_16_bit_png_says_65535_for_unlabelled(tmp_path):
    write_ids(tmp_path / "a.png", IDS)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.array(image).astype(int), [[0, 1, 2], [65535, 300, 65534]])


def test_an_8_bit_png_holds_plain_ids_up_to_255(tmp_path):
    Image.fromarray(np.array([[0, 7], [254, 255]], np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_ids(tmp_path / "a.png"), [[0, 7], [254, 255]])


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_signed_arrays_say_minus_one_for_unlabelled(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.array([[-1, 0, 3]], dtype))
    np.testing.assert_array_equal(read_ids(tmp_path / "a.npy"), [[-1, 0, 3]])


def test_blenderproc_hdf5_is_read_as_written_by_it(tmp_path):
    with h5py.File(tmp_path / "0.hdf5", "w") as file:
        file[HDF5_KEY] = np.array([[0, 4], [-1, 2]], np.int64)
        file["colors"] = np.zeros((2, 2, 3), np.uint8)
    np.testing.assert_array_equal(read_ids(tmp_path / "0.hdf5"), [[0, 4], [-1, 2]])


def test_hdf5_without_the_dataset_names_what_it_has(tmp_path):
    with h5py.File(tmp_path / "0.hdf5", "w") as file:
        file["colors"] = np.zeros((2, 2, 3))
        file["depth"] = np.zeros((2, 2))
    with pytest.raises(InputError, match=rf"0\.hdf5 has no '{HDF5_KEY}', only colors, depth; store"):
        read_ids(tmp_path / "0.hdf5")


def test_npz_without_ids_names_what_it_has(tmp_path):
    np.savez(tmp_path / "0.npz", labels=IDS)
    with pytest.raises(InputError, match=r"0\.npz has no 'ids', only labels; store"):
        read_ids(tmp_path / "0.npz")


@pytest.mark.parametrize("suffix", MASK_SUFFIXES)
def test_truncated_files_are_refused_wherever_they_end(tmp_path, suffix):
    # Noise compresses badly, so that the cut removes labels and not only a trailer.
    ids = np.random.default_rng(0).integers(0, 60000, (40, 50)).astype(np.int32)
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    write_ids(whole, ids)
    content = whole.read_bytes()
    for length in np.linspace(0, len(content) * 0.95, 25, dtype=int):
        cut.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\..* is damaged or truncated \(.*\); write or copy it again"):
            read_ids(cut)


@pytest.mark.parametrize("suffix", MASK_SUFFIXES)
def test_damaged_bytes_end_in_ids_or_a_refusal_and_nothing_else(tmp_path, suffix):
    rng = np.random.default_rng(1)
    whole, hurt = tmp_path / f"whole{suffix}", tmp_path / f"hurt{suffix}"
    write_ids(whole, rng.integers(-1, 3, (12, 9)).astype(np.int32))
    for _ in range(60):
        content = bytearray(whole.read_bytes())
        for _ in range(3):
            content[rng.integers(len(content))] = rng.integers(256)
        hurt.write_bytes(content)
        try:
            ids = read_ids(hurt)
        except InputError as error:
            assert str(hurt) in str(error)
        else:
            assert ids.dtype == np.int32 and ids.ndim == 2


def test_a_bit_flip_in_a_png_is_refused(tmp_path):
    write_ids(tmp_path / "a.png", np.arange(2000, dtype=np.int32).reshape(40, 50))
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png is damaged"):
        read_ids(tmp_path / "a.png")


def test_colour_previews_are_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png is a colour image \(RGB\); masks are ids, saved as a single-channel"):
        read_ids(tmp_path / "a.png")


def test_pickled_arrays_are_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"evil": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy"):
        read_ids(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2), np.float32), "float32 values; a mask holds integer ids"),
        (np.zeros((2, 2, 3), np.int32), r"shape \(2, 2, 3\)"),
        (np.zeros((0, 2), np.int32), r"shape \(0, 2\)"),
        (np.array([[70000]]), "ids from 70000 to 70000; renumber"),
        (np.array([[-2, 5]]), "ids from -2 to 5; renumber"),
    ],
)
def test_arrays_that_hold_no_ids_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=rf"a\.npy.* {message}"):
        read_ids(tmp_path / "a.npy")


def test_missing_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.png does not exist"):
        read_ids(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.hdf5 does not exist"):
        read_ids(tmp_path / "a.hdf5")
    with pytest.raises(InputError, match=r"a\.exr is not a mask format; use one of"):
        read_ids(tmp_path / "a.exr")


@pytest.mark.parametrize("value", [-2, 65535])
def test_ids_that_a_file_cannot_hold_are_not_written(tmp_path, value):
    path = tmp_path / "a.png"
    with pytest.raises(InputError, match=rf"a\.png is not written.*{value}; renumber them within -1 and 65534"):
        write_ids(path, np.array([[value]]))
    with pytest.raises(InputError, match=r"a\.png is not written: ids must be \(H, W\) integers"):
        write_ids(path, np.zeros((2, 2)))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_mask(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_ids(path, IDS)

    def disk_full(self, target, *args, **kwargs):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_ids(path, np.zeros((2, 3), np.int32))
    monkeypatch.undo()
    np.testing.assert_array_equal(read_ids(path), IDS)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_find_mask_prefers_ids_over_their_preview(tmp_path):
    assert find_mask(tmp_path, "0000") is None
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "0000.png")
    assert find_mask(tmp_path, "0000") == tmp_path / "0000.png"
    write_ids(tmp_path / "0000.npy", IDS)
    assert find_mask(tmp_path, "0000") == tmp_path / "0000.npy"
    assert find_mask(tmp_path, "000") is None


def test_check_mask_takes_height_and_width(tmp_path):
    check_mask(IDS, (2, 3), tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png is 3x2 pixels but its image is 2x3; make the masks at the size"):
        check_mask(IDS, (3, 2), tmp_path / "a.png")


def test_check_ids_refuses_an_id_beyond_the_declared_count(tmp_path):
    ids = np.array([[0, -1, 3]])
    check_ids(ids, 3, tmp_path / "a.png")
    check_ids(ids, None, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png holds id 3 but the data declare 2 instances; correct num_instances"):
        check_ids(ids, 2, tmp_path / "a.png")


def test_check_labelled_finds_the_instances_of_all_views(tmp_path):
    found = check_labelled([np.array([[0, 5]]), np.array([[-1], [2]]), np.array([[5]])], tmp_path)
    np.testing.assert_array_equal(found, [2, 5])


@pytest.mark.parametrize(("fill", "message"), [(-1, "leave every pixel unlabelled"), (0, "label background alone")])
def test_masks_without_an_instance_are_refused(tmp_path, fill, message):
    with pytest.raises(InputError, match=f"the masks in {tmp_path} {message}; masks need at least one instance"):
        check_labelled([np.full((2, 2), fill), np.full((3, 3), fill)], tmp_path)


def _segments() -> Segments:
    return Segments(
        ids=np.array([[0, 1], [-1, 4]], np.int32),
        segment_ids=np.array([1, 4], np.int32),
        class_ids=np.array([5, 0], np.int32),
        scores=np.array([0.5, 0.25], np.float32),
    )


def _assert_same(found: Segments, expected: Segments) -> None:
    for name in ("ids", "segment_ids", "class_ids", "scores"):
        assert getattr(found, name).dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_segments_come_back_from_npz_and_keep_16_bit_ids(tmp_path):
    path = tmp_path / "0000.npz"
    write_segments(path, _segments())
    _assert_same(read_segments(path), _segments())
    np.testing.assert_array_equal(read_ids(path), _segments().ids)
    with np.load(path) as archive:
        assert archive["ids"].dtype == np.uint16
        assert archive["ids"][1, 0] == 65535


def test_segments_are_read_from_an_id_image_and_its_list(tmp_path):
    write_ids(tmp_path / "0000.png", _segments().ids)
    rows = [{"id": 1, "class_id": 5, "class": "chair", "score": 0.5}, {"id": 4, "score": 0.25, "area": 1}]
    (tmp_path / "0000.json").write_text(json.dumps(rows))
    _assert_same(read_segments(tmp_path / "0000.png"), _segments())


def test_a_bare_mask_has_segments_of_unknown_class(tmp_path):
    write_ids(tmp_path / "0000.hdf5", _segments().ids)
    found = read_segments(tmp_path / "0000.hdf5")
    np.testing.assert_array_equal(found.segment_ids, [1, 4])
    np.testing.assert_array_equal(found.class_ids, [0, 0])
    np.testing.assert_array_equal(found.scores, [1, 1])


@pytest.mark.parametrize(
    "text", ['{"1": 5}', "[1, 2]", '[{"class_id": 5}]', '[{"id": "x"}]', '[{"id": 1, "score": null}]']
)
def test_a_list_of_another_form_is_refused(tmp_path, text):
    write_ids(tmp_path / "0000.png", _segments().ids)
    (tmp_path / "0000.json").write_text(text)
    with pytest.raises(InputError, match=r"0000\.json is no list like"):
        read_segments(tmp_path / "0000.png")


def test_a_segment_that_the_list_leaves_out_is_refused(tmp_path):
    write_ids(tmp_path / "0000.png", _segments().ids)
    (tmp_path / "0000.json").write_text('[{"id": 1}]')
    with pytest.raises(InputError, match=r"0000\.png has pixels of segment 4 that its list leaves out; add it"):
        read_segments(tmp_path / "0000.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segment_ids": [1, 1]}, "list each segment once"),
        ({"segment_ids": [0, 4]}, "list each segment once"),
        ({"scores": [0.5]}, "different lengths"),
        ({"scores": [0.5, np.nan]}, "not finite"),
    ],
)
def test_contradictory_segments_are_refused_both_ways(tmp_path, change, message):
    good = _segments()
    arrays = {key: np.array(change.get(key, getattr(good, key))) for key in ("segment_ids", "class_ids", "scores")}
    with pytest.raises(InputError, match=rf"0000\.npz .*{message}"):
        write_segments(tmp_path / "0000.npz", Segments(good.ids, **arrays))
    assert list(tmp_path.iterdir()) == []
    np.savez(tmp_path / "0000.npz", ids=good.ids, **arrays)
    with pytest.raises(InputError, match=rf"0000\.npz .*{message}"):
        read_segments(tmp_path / "0000.npz")


def test_segments_are_kept_in_npz_alone(tmp_path):
    with pytest.raises(InputError, match=r"0000\.png must end in \.npz"):
        write_segments(tmp_path / "0000.png", _segments())


def test_a_truncated_segment_file_is_refused(tmp_path):
    path = tmp_path / "0000.npz"
    write_segments(path, _segments())
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"0000\.npz is damaged or truncated"):
            read_segments(path)
