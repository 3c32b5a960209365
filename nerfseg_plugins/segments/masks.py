"""Id masks on disk: what instance does each pixel of a view belong to.

In arrays ids are int32: 0 is background, 1..N are instances, -1 is unlabelled. On disk the same ids are an HDF5 file of
BlenderProc (`cp_instance_id_segmaps`), a `.npy`, a single-channel 8- or 16-bit PNG or an `.npz` (`ids`); unsigned files
say 65535 for unlabelled. Only numpy, Pillow and h5py are needed here, so that a dataparser may import this module.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import h5py
import numpy as np
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path, read_json

UNLABELLED = -1
"""The id of a pixel that nobody labelled; no loss and no metric counts it."""
UNLABELLED_ON_DISK = 65535
"""How an unsigned file says unlabelled."""
MAX_ID = 65534
"""The largest id that a 16-bit file can hold beside `UNLABELLED_ON_DISK`."""
HDF5_KEY = "cp_instance_id_segmaps"
"""The dataset that BlenderProc writes."""
MASK_SUFFIXES = (".hdf5", ".h5", ".npz", ".npy", ".png")
"""Accepted formats, the first found wins: a matcher may leave a coloured PNG preview beside its `.npy`."""

_GRAY_MODES = ("L", "P", "1", "I", "I;16", "I;16B", "I;16L")


def read_ids(path: Path) -> np.ndarray:
    """Read an id mask.

    Args:
        path: a file with one of `MASK_SUFFIXES`.

    Returns:
        (H, W) int32: 0 background, 1..N instances, -1 unlabelled.

    Raises:
        InputError: the file is missing, damaged, of another format, or holds something else than ids.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} is not a mask format; use one of {', '.join(MASK_SUFFIXES)}")
    return _to_ids(reader(path), path)


def write_ids(path: Path, ids: np.ndarray) -> None:
    """Write an id mask, whole or not at all.

    Args:
        path: the file to write; its suffix (one of `MASK_SUFFIXES`) chooses the format.
        ids: (H, W) integers, -1 (unlabelled) to 65534.

    Raises:
        InputError: the suffix is unknown, or `ids` is not such an array.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise InputError(f"{path} is not a mask format; use one of {', '.join(MASK_SUFFIXES)}")
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise InputError(f"{path} is not written: ids must be (H, W) integers, not {ids.dtype} of shape {ids.shape}")
    low, high = int(ids.min()), int(ids.max())
    if low < UNLABELLED or high > MAX_ID:
        raise InputError(f"{path} is not written: its ids are {low} to {high}; renumber them within -1 and {MAX_ID}")
    with atomic_path(path) as temporary:
        writer(temporary, ids.astype(np.int32))


def find_mask(folder: Path, stem: str) -> Optional[Path]:
    """The mask of the view named `stem` in `folder`: the first of `MASK_SUFFIXES` that exists, or None."""
    for suffix in MASK_SUFFIXES:
        path = Path(folder) / f"{stem}{suffix}"
        if path.is_file():
            return path
    return None


def check_mask(ids: np.ndarray, image_size: tuple[int, int], path: Path) -> None:
    """Refuse a mask whose size is not its image's.

    Args:
        ids: (H, W) mask.
        image_size: (height, width) of the image in pixels.
        path: where the mask came from, for the message.

    Raises:
        InputError: the sizes differ.
    """
    if tuple(ids.shape) != tuple(image_size):
        raise InputError(
            f"{path} is {ids.shape[1]}x{ids.shape[0]} pixels but its image is {image_size[1]}x{image_size[0]}; "
            "make the masks at the size of the images (nearest neighbour: ids must not be interpolated)"
        )


def check_ids(ids: np.ndarray, num_instances: Optional[int], path: Path) -> None:
    """Refuse ids beyond the number of instances that the data declare; None declares nothing.

    Raises:
        InputError: an id is larger than `num_instances`.
    """
    if num_instances is None or ids.size == 0:
        return
    highest = int(ids.max())
    if highest > num_instances:
        raise InputError(
            f"{path} holds id {highest} but the data declare {num_instances} instances; "
            "correct num_instances in transforms.json or renumber the masks"
        )


def check_labelled(id_maps: Iterable[np.ndarray], folder: Path) -> np.ndarray:
    """The instances of a whole set of masks; a set without any cannot be learned from.

    Args:
        id_maps: (H, W) masks, sizes may differ.
        folder: where they came from, for the message.

    Returns:
        (N,) int32, the ids >= 1 that occur, ascending.

    Raises:
        InputError: all pixels are unlabelled, or none belongs to an instance.
    """
    seen: set[int] = set()
    for ids in id_maps:
        seen.update(np.unique(ids).tolist())
    instances = np.array(sorted(value for value in seen if value > 0), dtype=np.int32)
    if len(instances) == 0:
        what = "label background alone" if 0 in seen else "leave every pixel unlabelled"
        raise InputError(f"the masks in {folder} {what}; masks need at least one instance (ids from 1) to learn from")
    return instances


@dataclass(frozen=True)
class Segments:
    """The 2D segments of one view: an id mask and what its source said of each segment."""

    ids: np.ndarray
    """(H, W) int32: 0 background, 1.. segments, -1 unlabelled; ids mean nothing in another view."""
    segment_ids: np.ndarray
    """(S,) int32, the ids that the rows below describe, each once; every id >= 1 of the mask is among them."""
    class_ids: np.ndarray
    """(S,) int32 class of each segment, 0 = unknown."""
    scores: np.ndarray
    """(S,) float32 confidence of each segment."""

    @staticmethod
    def of_ids(ids: np.ndarray) -> "Segments":
        """Segments of a bare mask: classes unknown, scores 1."""
        found = np.unique(ids)
        found = found[found > 0].astype(np.int32)
        return Segments(ids.astype(np.int32), found, np.zeros_like(found), np.ones(len(found), np.float32))


def read_segments(path: Path) -> Segments:
    """Read the segments of one view.

    Args:
        path: an `.npz` (`ids`, and optionally `segment_ids`, `class_ids`, `scores`) or any id mask; a `.json` of the
            same name beside a mask lists its segments: `[{"id": 1, "class_id": 5, "score": 0.9}, ...]`.

    Returns:
        The segments; without a list classes are 0 and scores 1.

    Raises:
        InputError: a file is missing or damaged, or list and mask do not fit.
    """
    path = Path(path)
    ids = read_ids(path)
    rows = path.with_suffix(".json")
    if path.suffix.lower() == ".npz":
        segments = _segments_from_npz(path, ids)
    elif rows.is_file():
        segments = _segments_from_json(rows, ids)
    else:
        return Segments.of_ids(ids)
    _check_segments(segments, path)
    return segments


def write_segments(path: Path, segments: Segments) -> None:
    """Write `segments` as `.npz`, whole or not at all.

    Raises:
        InputError: `path` is no `.npz`, or the segments contradict themselves.
    """
    arrays = segment_arrays(path, segments)
    with atomic_path(Path(path)) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def segment_arrays(path: Path, segments: Segments) -> dict[str, np.ndarray]:
    """What an `.npz` of `segments` holds, for archives that hold more.

    Args:
        path: where they will be written, for messages.
        segments: the segments.

    Raises:
        InputError: `path` is no `.npz`, or the segments contradict themselves.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise InputError(f"{path} must end in .npz: segments are kept in one format")
    _check_segments(segments, path)
    ids = np.asarray(segments.ids)
    if ids.ndim != 2 or ids.min() < UNLABELLED or ids.max() > MAX_ID:
        raise InputError(f"{path} is not written: ids must be (H, W) within -1 and {MAX_ID}")
    return {
        "ids": _to_unsigned(ids),
        "segment_ids": np.asarray(segments.segment_ids, np.int32),
        "class_ids": np.asarray(segments.class_ids, np.int32),
        "scores": np.asarray(segments.scores, np.float32),
    }


def _segments_from_npz(path: Path, ids: np.ndarray) -> Segments:
    with whole(path), np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in ("segment_ids", "class_ids", "scores") if key in archive.files}
    if "segment_ids" not in arrays:
        return Segments.of_ids(ids)
    segment_ids = arrays["segment_ids"]
    return Segments(
        ids,
        segment_ids.astype(np.int32),
        arrays.get("class_ids", np.zeros(len(segment_ids))).astype(np.int32),
        arrays.get("scores", np.ones(len(segment_ids))).astype(np.float32),
    )


def _segments_from_json(path: Path, ids: np.ndarray) -> Segments:
    rows = read_json(path)
    try:
        segment_ids = np.array([int(row["id"]) for row in rows], np.int32)
        class_ids = np.array([int(row.get("class_id", 0)) for row in rows], np.int32)
        scores = np.array([float(row.get("score", 1.0)) for row in rows], np.float32)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f'{path} is no list like [{{"id": 1, "class_id": 5, "score": 0.9}}]; write it so') from error
    return Segments(ids, segment_ids, class_ids, scores)


def _check_segments(segments: Segments, path: Path) -> None:
    count = len(segments.segment_ids)
    if not np.shape(segments.segment_ids) == np.shape(segments.class_ids) == np.shape(segments.scores) == (count,):
        raise InputError(f"{path} lists segment_ids, class_ids and scores of different lengths; make it again")
    if len(np.unique(segments.segment_ids)) != count or np.any(np.asarray(segments.segment_ids) < 1):
        raise InputError(f"{path} must list each segment once, with an id of 1 or more; renumber its segments")
    if not np.all(np.isfinite(segments.scores)):
        raise InputError(f"{path} has a score that is not finite; make it again")
    found = np.unique(segments.ids)
    missing = np.setdiff1d(found[found > 0], segments.segment_ids)
    if len(missing):
        raise InputError(f"{path} has pixels of segment {missing[0]} that its list leaves out; add it to the list")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[None]:
    """Whatever a library says of an unreadable file becomes one sentence.

    The block holds reading alone, and damaged headers end in all sorts of exceptions (zlib's, the tokenizer's ...).
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path") from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is damaged or truncated ({reason}); write or copy it again") from error


def _read_hdf5(path: Path) -> np.ndarray:
    with whole(path), h5py.File(path, "r") as file:
        if HDF5_KEY not in file:
            keys = ", ".join(sorted(file.keys())) or "nothing"
            raise InputError(f"{path} has no {HDF5_KEY!r}, only {keys}; store the instance ids under that name")
        dataset = file[HDF5_KEY]
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(f"{path}: {HDF5_KEY!r} is a group; store the instance ids there as an (H, W) array")
        return np.asarray(dataset[()])


def _read_npy(path: Path) -> np.ndarray:
    with whole(path):
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise InputError(f"{path} is an archive under the name of an array; rename it to .npz")
        return array


def _read_npz(path: Path) -> np.ndarray:
    with whole(path), np.load(path, allow_pickle=False) as archive:
        if isinstance(archive, np.ndarray):
            raise InputError(f"{path} is an array under the name of an archive; rename it to .npy")
        if "ids" not in archive.files:
            keys = ", ".join(archive.files) or "nothing"
            raise InputError(f"{path} has no 'ids', only {keys}; store the (H, W) ids under that name")
        return archive["ids"]


def _read_png(path: Path) -> np.ndarray:
    with whole(path), Image.open(path) as image:
        if image.mode not in _GRAY_MODES:
            raise InputError(
                f"{path} is a colour image ({image.mode}); masks are ids, saved as a single-channel 8- or 16-bit PNG"
            )
        return np.array(image)


def _to_ids(array: np.ndarray, path: Path) -> np.ndarray:
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{path} has shape {array.shape}; a mask is one (H, W) array of ids")
    if array.dtype.kind not in "iub":
        raise InputError(f"{path} holds {array.dtype} values; a mask holds integer ids")
    low, high = int(array.min()), int(array.max())
    if low < UNLABELLED or high > UNLABELLED_ON_DISK:
        raise InputError(f"{path} holds ids from {low} to {high}; renumber them within -1 (unlabelled) and {MAX_ID}")
    ids = array.astype(np.int32)
    ids[ids == UNLABELLED_ON_DISK] = UNLABELLED
    return ids


def _to_unsigned(ids: np.ndarray) -> np.ndarray:
    return np.where(ids == UNLABELLED, UNLABELLED_ON_DISK, ids).astype(np.uint16)


def _write_hdf5(path: Path, ids: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(HDF5_KEY, data=ids, compression="gzip")


def _write_npz(path: Path, ids: np.ndarray) -> None:
    np.savez_compressed(path, ids=_to_unsigned(ids))


def _write_png(path: Path, ids: np.ndarray) -> None:
    Image.fromarray(_to_unsigned(ids)).save(path)


_READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".hdf5": _read_hdf5,
    ".h5": _read_hdf5,
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".png": _read_png,
}
_WRITERS: dict[str, Callable[[Path, np.ndarray], Any]] = {
    ".hdf5": _write_hdf5,
    ".h5": _write_hdf5,
    ".npz": _write_npz,
    ".npy": np.save,
    ".png": _write_png,
}
