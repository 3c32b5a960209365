"""Ids as palette colours, exactly invertible, and a PCA basis that shows features in the same colours always.

A palette is a uint8 array (N, 3): row i is the colour of id i, row 0 the background. The colour of -1 (unlabelled) is
reserved, no palette uses it. A picture of ids that was stored without loss therefore turns back into the same ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional, Union, overload

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path, read_json, write_json

BACKGROUND_COLOR = (32, 32, 36)
"""Colour of id 0."""
UNLABELLED_COLOR = (128, 128, 128)
"""Colour of id -1. Every palette colour but the background's is saturated, so no grey is ever an instance."""

MAX_IDS = 65536
"""As many colours as 16-bit masks have values."""
NUM_SEPARATED = 64
"""So many ids get colours that are chosen apart from each other; the rest are merely distinct."""


def palette(num_ids: int, seed: int = 0) -> np.ndarray:
    """Distinct colours for the ids 0..num_ids-1.

    The first `NUM_SEPARATED` are a greedy farthest-point sequence in CIE Lab among saturated colours; later ones are a
    fixed scramble of the remaining saturated colours. A longer palette starts with the shorter one.

    Args:
        num_ids: number of ids, the background (id 0) included; 0..65536.
        seed: another seed gives another order of colours.

    Returns:
        uint8 (num_ids, 3), a fresh array.

    Raises:
        InputError: more ids are asked for than there are colours.
    """
    if not 0 <= num_ids <= MAX_IDS:
        raise InputError(f"a palette of {num_ids} colours was asked for; ids go from 0 to {MAX_IDS - 1}, renumber them")
    separated = _separated(seed)
    colors = separated if num_ids <= len(separated) else np.concatenate([separated, _scrambled(seed)])
    return colors[:num_ids].copy()


@overload
def ids_to_colors(ids: Tensor, colors: np.ndarray) -> Tensor: ...
@overload
def ids_to_colors(ids: np.ndarray, colors: np.ndarray) -> np.ndarray: ...
def ids_to_colors(ids: Union[Tensor, np.ndarray], colors: np.ndarray) -> Union[Tensor, np.ndarray]:
    """Paint ids.

    Args:
        ids: integers of any shape (...); -1 is painted in `UNLABELLED_COLOR`.
        colors: palette, uint8 (N, 3).

    Returns:
        float32 (..., 3) in [0, 1], of the kind and on the device of `ids`: colour / 255, so that a renderer that writes
        `uint8(255 x + 0.5)` stores the palette's bytes.

    Raises:
        InputError: an id is below -1 or beyond the palette.
    """
    # The reserved colour goes last, where index -1 finds it in both libraries.
    table = np.concatenate([colors, np.array([UNLABELLED_COLOR], np.uint8)]).astype(np.float32) / np.float32(255)
    if ids.shape and 0 not in ids.shape:
        low, high = int(ids.min()), int(ids.max())
        if low < -1 or high >= len(colors):
            wrong = low if low < -1 else high
            raise InputError(f"id {wrong} has no colour: the palette holds the ids -1 to {len(colors) - 1}")
    if isinstance(ids, Tensor):
        return torch.from_numpy(table).to(ids.device)[ids.long()]
    return table[np.asarray(ids, np.int64)]


def colors_to_ids(image: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Turn a colour picture of ids back into ids: the exact inverse of `ids_to_colors`.

    Args:
        image: uint8 (..., 3).
        colors: the palette it was painted with, uint8 (N, 3).

    Returns:
        int32 (...); -1 where the picture has `UNLABELLED_COLOR`.

    Raises:
        InputError: the picture is not uint8 RGB, or has colours that the palette lacks.
    """
    if image.dtype != np.uint8 or image.ndim < 1 or image.shape[-1] != 3:
        raise InputError(f"a colour picture of ids must be uint8 RGB, not {image.dtype} of shape {image.shape}")
    known = _pack(np.concatenate([colors, np.array([UNLABELLED_COLOR], np.uint8)]))
    ids = np.append(np.arange(len(colors), dtype=np.int32), np.int32(-1))
    order = np.argsort(known)
    pixels = _pack(image)
    slot = order[np.searchsorted(known, pixels, sorter=order).clip(max=len(known) - 1)]
    foreign = known[slot] != pixels
    if foreign.any():
        raise InputError(
            f"the picture has {len(np.unique(pixels[foreign]))} colours that are not in the palette "
            f"({int(foreign.sum())} of {foreign.size} pixels); JPEG and resizing change colours, "
            "render with --image-format png, at the same size, and pass the palette.json of the same run"
        )
    return ids[slot]


def write_palette(path: Path, colors: np.ndarray, names: Optional[Mapping[int, str]] = None) -> None:
    """Write a palette as JSON, whole or not at all: colours by id, the colour of -1, and names of ids where known.

    Args:
        path: the file, by custom `palette.json`.
        colors: uint8 (N, 3).
        names: id -> name, for people.
    """
    write_json(
        path,
        {
            "colors": np.asarray(colors).tolist(),
            "unlabelled": list(UNLABELLED_COLOR),
            "names": {str(i): name for i, name in sorted((names or {}).items())},
        },
    )


def read_palette(path: Path) -> tuple[np.ndarray, dict[int, str]]:
    """Read what `write_palette` wrote.

    Returns:
        The palette, uint8 (N, 3), and the names by id (empty when none were written).

    Raises:
        InputError: the file is missing, not JSON, or not a palette of distinct colours.
    """
    data = read_json(path)
    mend = "pass the palette.json that lies in the run's folder"
    if not isinstance(data, dict) or "colors" not in data:
        raise InputError(f'{path} is not a palette: it has no "colors"; {mend}')
    colors = _checked_colors(data["colors"])
    if colors is None:
        raise InputError(f'{path}: "colors" must be a list of [r, g, b], whole numbers from 0 to 255; {mend}')
    if data.get("unlabelled", list(UNLABELLED_COLOR)) != list(UNLABELLED_COLOR):
        raise InputError(f"{path}: the colour of unlabelled pixels must be {UNLABELLED_COLOR}; {mend}")
    packed = _pack(np.concatenate([colors, np.array([UNLABELLED_COLOR], np.uint8)]))
    if len(np.unique(packed)) < len(packed):
        raise InputError(f"{path}: two ids share a colour, so pictures cannot be turned back into ids; {mend}")
    try:
        names = {int(i): str(name) for i, name in data.get("names", {}).items()}
    except (AttributeError, ValueError) as error:
        raise InputError(f'{path}: "names" must map ids to names; {mend}') from error
    return colors, names


def _checked_colors(rows: Any) -> Optional[np.ndarray]:
    """JSON rows as uint8 (N, 3), or None where they are not such."""
    try:
        values = np.array(rows)
    except ValueError:
        return None
    if values.ndim != 2 or values.shape[1] != 3 or values.dtype.kind != "i" or values.min() < 0 or values.max() > 255:
        return None
    return values.astype(np.uint8)


def _pack(colors: np.ndarray) -> np.ndarray:
    """uint8 (..., 3) -> int32 (...), red in the high byte."""
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _unpack(packed: np.ndarray) -> np.ndarray:
    return np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1).astype(np.uint8)


def _is_saturated(colors: np.ndarray) -> np.ndarray:
    """Bright and colourful enough to be told from the two reserved greys; (N, 3) uint8 -> (N,) bool."""
    wide = colors.astype(np.int32)
    high, low = wide.max(-1), wide.min(-1)
    return (high >= 96) & (high - low >= 64)


@lru_cache(maxsize=8)
def _separated(seed: int) -> np.ndarray:
    """The background, then a greedy farthest-point sequence; uint8 (NUM_SEPARATED, 3)."""
    from skimage.color import rgb2lab

    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[_is_saturated(grid)]
    lab = rgb2lab(grid[None] / 255.0)[0]
    reserved = rgb2lab(np.array([[BACKGROUND_COLOR, UNLABELLED_COLOR]]) / 255.0)[0]
    chosen = [int(np.random.default_rng(seed).integers(len(grid)))] if seed else [int(lab[:, 1].argmax())]
    apart = np.linalg.norm(lab[:, None] - reserved[None], axis=-1).min(1)
    for _ in range(NUM_SEPARATED - 2):
        apart = np.minimum(apart, np.linalg.norm(lab - lab[chosen[-1]], axis=-1))
        chosen.append(int(apart.argmax()))
    return np.concatenate([np.array([BACKGROUND_COLOR], np.uint8), grid[chosen]])


@lru_cache(maxsize=2)
def _scrambled(seed: int) -> np.ndarray:
    """The saturated colours that `_separated` leaves, in a fixed scrambled order, up to `MAX_IDS`; uint8 (., 3)."""
    # Multiplying by an odd number permutes the residues modulo 2^24: distinct without keeping a table of 16 million.
    index = np.arange(4 * MAX_IDS, dtype=np.uint64)
    packed = (index * np.uint64(0x9E3779B1) + np.uint64(seed * 7919 + 1)) % np.uint64(1 << 24)
    packed = packed.astype(np.int32)
    fresh = _is_saturated(_unpack(packed)) & ~np.isin(packed, _pack(_separated(seed)))
    return _unpack(packed[fresh][: MAX_IDS - NUM_SEPARATED])


@dataclass(frozen=True)
class PCABasis:
    """Three principal directions of a scene's features, with the range that is shown as 0..1.

    Fitted once per scene and stored, so that all views and all sessions see the same colours.
    """

    mean: np.ndarray
    """float32 (D,)."""
    components: np.ndarray
    """float32 (D, 3), orthonormal columns; zero where the features have fewer dimensions."""
    low: np.ndarray
    """float32 (3,): projection shown as 0."""
    high: np.ndarray
    """float32 (3,): projection shown as 1; equal to `low` where the features do not vary."""

    @classmethod
    def fit(cls, features: Union[Tensor, np.ndarray], percentile: float = 1.0) -> "PCABasis":
        """Fit to features (..., D).

        Args:
            features: any number of vectors; those with non-finite entries are left out.
            percentile: share (in percent) of the projections that may be clipped at each end, against outliers.

        Raises:
            InputError: no finite vector is there.
        """
        vectors = features.detach().cpu().numpy() if isinstance(features, Tensor) else np.asarray(features)
        vectors = vectors.reshape(-1, vectors.shape[-1]).astype(np.float64)
        vectors = vectors[np.isfinite(vectors).all(1)]
        if not len(vectors):
            raise InputError("no finite feature vector to fit a PCA basis to; check the features or train for longer")
        mean = vectors.mean(0)
        centred = vectors - mean
        values, directions = np.linalg.eigh(centred.T @ centred / len(vectors))
        components = np.zeros((len(mean), 3))
        kept = directions[:, np.argsort(values)[::-1][:3]]
        # An eigenvector's sign is arbitrary; its largest entry made positive fixes the colours.
        kept = kept * np.where(kept[np.abs(kept).argmax(0), np.arange(kept.shape[1])] < 0, -1, 1)
        components[:, : kept.shape[1]] = kept
        low, high = np.percentile(centred @ components, [percentile, 100 - percentile], axis=0)
        flat = high - low <= 1e-6 * max(1e-6, float(np.abs(vectors).max()))
        return cls(*(a.astype(np.float32) for a in (mean, components, low, np.where(flat, low, high))))

    @overload
    def project(self, features: Tensor) -> Tensor: ...
    @overload
    def project(self, features: np.ndarray) -> np.ndarray: ...
    def project(self, features: Union[Tensor, np.ndarray]) -> Union[Tensor, np.ndarray]:
        """Features (..., D) -> RGB float32 (..., 3) in [0, 1]; a direction without variation shows as 0.5."""
        if isinstance(features, Tensor):
            mean, components, low, high = (
                torch.from_numpy(a).to(features.device) for a in (self.mean, self.components, self.low, self.high)
            )
            shown = (features.float() - mean) @ components
            scaled = ((shown - low) / torch.where(high > low, high - low, 1.0)).clamp(0, 1)
            return torch.where(high > low, scaled, 0.5)
        shown = (np.asarray(features, np.float32) - self.mean) @ self.components
        scaled = ((shown - self.low) / np.where(self.high > self.low, self.high - self.low, 1)).clip(0, 1)
        return np.where(self.high > self.low, scaled, 0.5).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write as npz, whole or not at all."""
        with atomic_path(path) as temporary:
            np.savez(temporary, mean=self.mean, components=self.components, low=self.low, high=self.high)

    @classmethod
    def load(cls, path: Path) -> "PCABasis":
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or is not such a basis.
        """
        mend = "delete it, it is made anew from the scene"
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = [stored[name].astype(np.float32) for name in ("mean", "components", "low", "high")]
        except FileNotFoundError as error:
            raise InputError(f"{path} does not exist; check the path") from error
        except Exception as error:  # numpy raises many kinds for a truncated or foreign file
            raise InputError(f"{path} is not a PCA basis ({error}); {mend}") from error
        depth = len(arrays[0]) if arrays[0].ndim == 1 else -1
        if [a.shape for a in arrays] != [(depth,), (depth, 3), (3,), (3,)]:
            raise InputError(f"{path} is not a PCA basis: its arrays have shapes {[a.shape for a in arrays]}; {mend}")
        return cls(*arrays)
