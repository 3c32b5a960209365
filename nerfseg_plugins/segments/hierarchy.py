"""Overlapping masks of one image and which lies in which: things, their parts and their groups.

Containment is that of Ultrametric Feature Fields (He et al. 2024, arXiv 2405.19678): a mask lies in another when more
than 95 % of it do and the two are not the same (IoU above 0.9). From all containers the smallest one is the parent, and
since rows are ordered by area, a parent always stands before its children: however noisy the masks, nothing goes in
circles. Pure numpy, so that dataparsers may import it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path
from nerfseg_plugins.segments.mask_folder import read_mask_folder
from nerfseg_plugins.segments.masks import UNLABELLED, Segments, segment_arrays, whole

CONTAINED = 0.95
"""Share of a mask beyond which it lies in another."""
SAME = 0.9
"""IoU beyond which two masks are one."""
KEYS = ("masks", "size", "area", "dup_of", "parent", "predicted_iou", "stability")
"""What an archive holds beside the keys of `Segments`."""
_CHUNK = 8192
"""Bytes of bits (pixels / 8) that are looked at together, which bounds memory."""


@dataclass(frozen=True, eq=False)
class MaskHierarchy:
    """M masks of one image, largest first."""

    bits: np.ndarray
    """(M, ceil(H * W / 8)) uint8: `np.packbits` of each mask, row by row."""
    size: tuple[int, int]
    """(H, W) in pixels."""
    area: np.ndarray
    """(M,) int64 pixels, falling, at least 1."""
    dup_of: np.ndarray
    """(M,) int32 the earlier mask that it repeats (and that repeats none itself), or -1."""
    parent: np.ndarray
    """(M,) int32 the smallest mask that it lies in, an earlier row that repeats none; -1 for roots. A duplicate has
    the parent of its original."""
    predicted_iou: np.ndarray
    """(M,) float32 what the source thinks of the mask's quality."""
    stability: np.ndarray
    """(M,) float32 how little the mask depends on its threshold."""

    @staticmethod
    def of_masks(
        masks: np.ndarray, predicted_iou: Optional[np.ndarray] = None, stability: Optional[np.ndarray] = None
    ) -> "MaskHierarchy":
        """Order masks and find their duplicates and parents.

        Args:
            masks: (M, H, W) bool; empty ones are left out.
            predicted_iou: (M,), 1 without it.
            stability: (M,), 1 without it.
        """
        masks = np.asarray(masks, bool)
        count, size = len(masks), (int(masks.shape[1]), int(masks.shape[2]))
        area = np.array([np.count_nonzero(mask) for mask in masks], np.int64)
        order = np.argsort(-area, kind="stable")
        order = order[area[order] > 0]
        bits = np.packbits(masks.reshape(count, size[0] * size[1]), axis=1)[order]
        dup_of, parent = containment(overlaps(bits))

        def scores(values: Optional[np.ndarray]) -> np.ndarray:
            return np.ones(len(order), np.float32) if values is None else np.asarray(values, np.float32)[order]

        return MaskHierarchy(bits, size, area[order], dup_of, parent, scores(predicted_iou), scores(stability))

    def __len__(self) -> int:
        """M."""
        return len(self.bits)

    def masks(self) -> np.ndarray:
        """(M, H, W) bool."""
        pixels = self.size[0] * self.size[1]
        return np.unpackbits(self.bits, axis=1, count=pixels).astype(bool).reshape(len(self), *self.size)

    def at(self, pixels: np.ndarray) -> np.ndarray:
        """(M, N) bool: which masks the pixels (N,) lie in; pixel = row * W + column."""
        pixels = np.asarray(pixels)
        return (self.bits[:, pixels >> 3] >> (7 - (pixels & 7)).astype(np.uint8) & 1).astype(bool)

    def leaves(self) -> np.ndarray:
        """(M,) bool: masks that are nobody's parent, duplicates aside."""
        leaves = self.dup_of < 0
        leaves[self.parent[self.parent >= 0]] = False
        return leaves

    def resized(self, size: tuple[int, int]) -> "MaskHierarchy":
        """The masks at another (height, width): the nearest pixel is taken, masks that vanish are left out."""
        rows, columns = (nearest(old, new) for old, new in zip(self.size, size, strict=True))
        return MaskHierarchy.of_masks(self.masks()[:, rows][:, :, columns], self.predicted_iou, self.stability)


def nearest(old: int, new: int) -> np.ndarray:
    """(new,) int: where each pixel of a side lies on the same side of `old` pixels."""
    return ((np.arange(new) + 0.5) * old / new).astype(int)


def overlaps(bits: np.ndarray) -> np.ndarray:
    """(M, M) int64 pixels that two packed masks share; on the diagonal their areas.

    Neighbouring pixels that lie in the same masks are counted as one with a weight, which leaves a small part of an
    image to multiply.
    """
    shared = np.zeros((len(bits), len(bits)), np.int64)
    for start in range(0, bits.shape[1], _CHUNK):
        block = np.unpackbits(bits[:, start : start + _CHUNK], axis=1)
        starts = np.flatnonzero(np.concatenate([[True], (block[:, 1:] != block[:, :-1]).any(axis=0)]))
        runs = block[:, starts].astype(np.float32)
        lengths = np.diff(starts, append=block.shape[1]).astype(np.float32)
        shared += ((runs * lengths) @ runs.T).astype(np.int64)  # exact: far below 2^24
    return shared


def containment(shared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Duplicates and parents of masks that are ordered by area.

    Args:
        shared: (M, M) pixels that two masks share, its diagonal falling and positive.

    Returns:
        dup_of (M,) int32 and parent (M,) int32, as in `MaskHierarchy`.
    """
    count = len(shared)
    area = np.diag(shared)
    iou = shared / np.maximum(area[:, None] + area[None] - shared, 1)
    dup_of = np.full(count, -1, np.int32)
    for row in range(count):
        originals = np.flatnonzero((iou[row, :row] > SAME) & (dup_of[:row] < 0))
        if len(originals):
            dup_of[row] = originals[np.argmax(iou[row, originals])]
    inside = (shared / area[:, None] > CONTAINED) & (iou <= SAME) & (dup_of < 0)[None]
    inside &= np.tri(count, k=-1, dtype=bool)
    last = count - 1 - np.argmax(inside[:, ::-1], axis=1) if count else np.zeros(0, int)
    parent = np.where(inside.any(axis=1), last, -1).astype(np.int32)
    return dup_of, np.where(dup_of >= 0, parent[dup_of], parent)


def flatten_hierarchy(hierarchy: MaskHierarchy) -> Segments:
    """A partition in which the smallest mask is seen: ids 1.. (smallest first), -1 where no mask is; duplicates, which
    would only draw a rim around their originals, are left out."""
    ids = np.zeros(hierarchy.size[0] * hierarchy.size[1], np.int32)
    for row in np.flatnonzero(hierarchy.dup_of < 0):
        ids[np.unpackbits(hierarchy.bits[row], count=len(ids)).astype(bool)] = row + 1
    seen = np.unique(ids[ids > 0])[::-1]
    names = np.full(len(hierarchy) + 1, UNLABELLED, np.int32)
    names[seen] = np.arange(1, len(seen) + 1)
    ids = names[ids].reshape(hierarchy.size)
    scores = hierarchy.predicted_iou[seen - 1]
    return Segments(ids, names[seen], np.zeros(len(seen), np.int32), scores.astype(np.float32))


def write_hierarchy(path: Path, hierarchy: MaskHierarchy, segments: Optional[Segments] = None) -> None:
    """Write masks and their hierarchy into an `.npz` that is also a file of `Segments`, whole or not at all.

    Args:
        path: ends in `.npz`.
        hierarchy: the masks.
        segments: the partition of the same image; that of the smallest masks without it.

    Raises:
        InputError: the path is no `.npz`, or the segments contradict themselves or are of another size.
    """
    path = Path(path)
    segments = flatten_hierarchy(hierarchy) if segments is None else segments
    check_size(hierarchy, segments.ids.shape, path)
    arrays = segment_arrays(path, segments)
    values = {"masks": hierarchy.bits, "size": np.array(hierarchy.size, np.int32)}
    values |= {key: getattr(hierarchy, key) for key in KEYS[2:]}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays, **values)


def read_hierarchy(path: Path, size: Optional[tuple[int, int]] = None) -> MaskHierarchy:
    """Read the masks of one image.

    Args:
        path: an `.npz` of `write_hierarchy`, or a folder of binary masks (see `mask_folder`).
        size: (height, width) of the image, which the masks must have; a folder without any mask needs it.

    Raises:
        InputError: nothing is there, it is damaged or contradicts itself, or the size is another.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz" and not path.is_dir():
        hierarchy = _read_archive(path)
    elif path.is_dir():
        folder = read_mask_folder(path, size)
        hierarchy = MaskHierarchy.of_masks(folder.masks, folder.predicted_iou, folder.stability)
    elif path.exists():
        raise InputError(f"{path} is neither an .npz of nerfseg masks nor a folder of masks; give one of these")
    else:
        raise InputError(f"{path} does not exist; make it with nerfseg masks")
    if size is not None:
        check_size(hierarchy, size, path)
    return hierarchy


def check_size(hierarchy: MaskHierarchy, size: tuple[int, ...], path: Path) -> None:
    """Refuse masks whose size is not (height, width) `size`.

    Raises:
        InputError: the sizes differ.
    """
    if tuple(hierarchy.size) != tuple(size):
        raise InputError(
            f"{path} holds masks of {hierarchy.size[1]}x{hierarchy.size[0]} pixels but its image is "
            f"{size[1]}x{size[0]}; make the masks again from these images with nerfseg masks"
        )


def has_masks(path: Path) -> bool:
    """Whether an `.npz` of segments holds overlapping masks too; only its index is read.

    Raises:
        InputError: the file is missing or damaged.
    """
    with whole(path), np.load(path, allow_pickle=False) as archive:
        return "masks" in archive.files


def _read_archive(path: Path) -> MaskHierarchy:
    with whole(path), np.load(path, allow_pickle=False) as archive:
        values = {key: archive[key] for key in KEYS if key in archive.files}
    if "masks" not in values:
        raise InputError(
            f"{path} holds a flat map of segments without overlapping masks (an older version or another source wrote "
            "it); make it again with: nerfseg masks --data DATA --source classical (or sam) --overwrite"
        )
    missing = [key for key in KEYS if key not in values]
    if missing:
        raise InputError(f"{path} has masks but no {missing[0]!r}; make it again with nerfseg masks --overwrite")
    problem = _problem(values)
    if problem:
        raise InputError(f"{path} contradicts itself: {problem}; make it again with nerfseg masks --overwrite")
    height, width = values["size"].tolist()
    return MaskHierarchy(
        bits=values["masks"],
        size=(height, width),
        area=values["area"].astype(np.int64),
        dup_of=values["dup_of"].astype(np.int32),
        parent=values["parent"].astype(np.int32),
        predicted_iou=values["predicted_iou"].astype(np.float32),
        stability=values["stability"].astype(np.float32),
    )


def _problem(values: dict[str, np.ndarray]) -> Optional[str]:
    """What is wrong with the arrays of an archive, None if nothing is."""
    bits, size = values["masks"], values["size"]
    if size.shape != (2,) or size.dtype.kind not in "iu" or size.min() < 1:
        return "its size is no (height, width)"
    count, pixels = len(bits) if bits.ndim else 0, int(size[0]) * int(size[1])
    if bits.dtype != np.uint8 or bits.shape != (count, (pixels + 7) // 8):
        return f"its masks are {bits.dtype} of shape {bits.shape}, not packed bits of {size[1]}x{size[0]} pixels"
    for key in KEYS[2:]:
        kinds = "iu" if key in ("area", "dup_of", "parent") else "f"
        if values[key].shape != (count,) or values[key].dtype.kind not in kinds:
            return f"its {key} is {values[key].dtype} of shape {values[key].shape} for {count} masks"
    if not all(np.isfinite(values[key]).all() for key in ("predicted_iou", "stability")):
        return "it has a score that is not finite"
    area = np.array([np.count_nonzero(np.unpackbits(row, count=pixels)) for row in bits], np.int64)
    if (area != values["area"]).any() or (area < 1).any() or (np.diff(area) > 0).any():
        return "its areas are not those of its masks, largest first"
    rows = np.arange(count)
    for key in ("dup_of", "parent"):
        wrong = np.flatnonzero((values[key] < -1) | (values[key] >= rows))
        if len(wrong):
            first, other = int(wrong[0]), int(values[key][wrong[0]])
            far = (
                "which does not exist"
                if not -1 <= other < count
                else "which is not larger: containment goes in circles"
            )
            return f"mask {first} has {key} {other}, {far}"
    dup_of, parent = values["dup_of"], values["parent"]
    if (dup_of[dup_of[dup_of >= 0]] >= 0).any() or (dup_of[parent[parent >= 0]] >= 0).any():
        return "a mask repeats or lies in one that is itself a duplicate"
    return None
