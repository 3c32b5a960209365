"""What an imperfect 2D network would say about a view, made from exact labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nerfseg_plugins.rooms.parts import NYU40

UNLABELLED = -1


@dataclass(frozen=True)
class NoiseLevel:
    """How imperfect.

    Attributes:
        drop: share of segments that stay unlabelled.
        merge: share of segments that take a neighbour's id.
        wrong_class: share of segments with a wrong class.
        jitter: largest displacement of boundaries in pixels.
        specks: small wrong patches per image.
    """

    drop: float = 0.15
    merge: float = 0.05
    wrong_class: float = 0.1
    jitter: float = 3.0
    specks: int = 6

    @classmethod
    def for_width(cls, width: int) -> NoiseLevel:
        """The level that suits images `width` pixels wide: boundaries move by 1 to 3 pixels, as at 320."""
        return cls(jitter=float(np.clip(3.0 * width / 320, 1.0, 3.0)))


def noisy_ids(
    ids: np.ndarray, classes: np.ndarray, level: NoiseLevel, rng: np.random.Generator
) -> tuple[np.ndarray, list[dict]]:
    """Degrade one view.

    Args:
        ids: (H, W) exact object ids, 0 background.
        classes: (N + 1,) NYU40 id of each object id.
        level: how imperfect.
        rng: of the draw.

    Returns:
        (H, W) int32 ids that mean nothing beyond this view, -1 unlabelled, and one entry
        {id, class, class_id, score, area} for each segment.
    """
    visible = np.setdiff1d(np.unique(ids), [0])
    merged = _merge(ids, visible, level.merge, rng)
    kept = np.setdiff1d(np.unique(merged), [0])
    names = rng.permutation(len(kept)) + 1
    dropped = rng.uniform(size=len(kept)) < level.drop
    lookup = np.zeros(int(ids.max()) + 1, dtype=np.int32)
    lookup[kept] = np.where(dropped, UNLABELLED, names)
    noisy = jitter_labels(lookup[merged], level.jitter, rng)
    _add_specks(noisy, level.specks, rng)
    segments = []
    by_id = {int(NYU40[name]): name for name in NYU40}
    for instance, name, lost in zip(kept, names, dropped, strict=True):
        area = int((noisy == name).sum())
        wrong = rng.uniform() < level.wrong_class
        others = [item for item in by_id if item != classes[instance]]
        class_id = int(rng.choice(others)) if wrong else int(classes[instance])
        score = float(np.clip(rng.normal(0.72 if wrong else 0.88, 0.09), 0.3, 0.99))
        if area and not lost:
            entry = {"id": int(name), "class": by_id[class_id], "class_id": class_id}
            segments.append({**entry, "score": round(score, 3), "area": area})
    return noisy, sorted(segments, key=lambda item: item["id"])


def jitter_labels(labels: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W) labels looked up through a smooth random displacement of at most `reach` pixels along each axis."""
    height, width = labels.shape
    shifts = []
    for _ in range(2):
        field = ndimage.gaussian_filter(rng.normal(size=labels.shape), max(1.5, 1.3 * reach))
        shifts.append(reach * np.clip(field / (2.0 * field.std() + 1e-9), -1, 1))
    rows, columns = np.mgrid[:height, :width]
    rows = np.clip(np.rint(rows + shifts[0]), 0, height - 1).astype(int)
    columns = np.clip(np.rint(columns + shifts[1]), 0, width - 1).astype(int)
    return labels[rows, columns]


def _merge(ids: np.ndarray, visible: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """`ids` in which a share of the segments carries the id of a segment that it touches."""
    merged = ids.copy()
    for instance in visible[rng.uniform(size=len(visible)) < share]:
        inside = merged == instance
        rim = ndimage.binary_dilation(inside) & ~inside
        near = np.setdiff1d(np.unique(merged[rim]), [0])
        if len(near):
            merged[inside] = rng.choice(near)
    return merged


def _add_specks(labels: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Paint small discs of labels taken from elsewhere in the image, in place."""
    height, width = labels.shape
    rows, columns = np.mgrid[:height, :width]
    for _ in range(count):
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        source = labels[int(rng.integers(height)), int(rng.integers(width))]
        radius = rng.uniform(0.8, max(1.2, width / 110))
        labels[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = source
