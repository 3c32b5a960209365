"""Photos as image-based methods take them: decoded, in front of one background, kept within bounds of memory."""

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Optional

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nerfseg_plugins.errors import InputError

Color = tuple[float, float, float]
BLACK: Color = (0.0, 0.0, 0.0)
MEGABYTE = 1 << 20
DECODERS = 8
"""Images that are decoded side by side at most."""


def decode(
    path: Path, size: tuple[int, int], background: Optional[Color] = None, foreground: Optional[Path] = None
) -> np.ndarray:
    """An image in front of the background.

    Args:
        path: of 8-bit colours or greys, with or without transparency.
        size: (height, width) that it must have.
        background: (r, g, b) in [0, 1] behind what is transparent; None is black.
        foreground: mask of what is not painted over with the background.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: a file cannot be decoded or has another size; names it.
    """
    pixels = _read(path, size, "restore it or remove its frame")
    alpha = pixels[..., 3:] / np.float32(255) if pixels.shape[2] == 4 else None
    if foreground is not None:
        there = read_mask(foreground, size)[..., None]
        alpha = there.astype(np.float32) if alpha is None else alpha * there
    if alpha is None:
        return pixels
    behind = np.asarray(BLACK if background is None else background, np.float32) * 255
    return np.round(pixels[..., :3] * alpha + behind * (1 - alpha)).astype(np.uint8)


def read_mask(path: Path, size: tuple[int, int], above: int = 127) -> np.ndarray:
    """A mask (H, W) bool: where a channel is brighter than a level of 255, and nothing is transparent.

    Raises:
        InputError: the file cannot be decoded or has another size; names it.
    """
    pixels = _read(path, size, "write it at the image's size")
    there = np.asarray((pixels[..., :3] > above).any(axis=-1))
    return there & (pixels[..., 3] > above) if pixels.shape[2] == 4 else there


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) uint8 at another (height, width), without aliasing; it spans the same field of view."""
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def to_float(images: Sequence[np.ndarray]) -> Tensor:
    """Images (H, W, 3) uint8 as (N, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image in images])).float().div_(255)


def _read(path: Path, size: tuple[int, int], mend: str) -> np.ndarray:
    """(H, W, 3 or 4) uint8."""
    try:
        with Image.open(path) as opened:
            if opened.mode in ("I", "F") or opened.mode.startswith("I;16"):
                raise InputError(f"{path} is an image of mode {opened.mode}; save it with 8 bits a channel")
            transparent = "A" in opened.mode or "transparency" in opened.info
            pixels = np.array(opened.convert("RGBA" if transparent else "RGB"))
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError) as error:  # Pillow reports damaged PNG as SyntaxError
        raise InputError(f"{path} cannot be decoded ({error}); restore it or remove its frame") from error
    if pixels.shape[:2] != tuple(size):
        raise InputError(
            f"{path} has {pixels.shape[1]}x{pixels.shape[0]} pixels, but {size[1]}x{size[0]} are expected; {mend}"
        )
    return pixels


class ImageCache:
    """Arrays by key: those used last are kept, up to a number of bytes. Safe to use from several threads."""

    def __init__(self, megabytes: float) -> None:
        """`megabytes`: how much may be kept; 0 keeps nothing.

        Raises:
            InputError: it is negative.
        """
        if megabytes < 0:
            raise InputError(f"image_cache_mb is {megabytes}; give 0 or more")
        self.limit = int(megabytes * MEGABYTE)
        self.num_bytes = 0
        self._kept: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of a key; made where it is not kept. Must not be changed."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            self._keep(key, value)
        return value

    def get_all(self, makers: "dict[Any, Callable[[], np.ndarray]]") -> list[np.ndarray]:
        """The arrays of several keys; those not kept are made side by side."""
        with self._lock:
            missing = [key for key in makers if key not in self._kept]
        made: dict[Any, np.ndarray] = {}
        if len(missing) > 1:
            with ThreadPoolExecutor(min(DECODERS, len(missing), os.cpu_count() or 1)) as workers:
                made = dict(zip(missing, workers.map(lambda key: makers[key](), missing), strict=True))
        # In the order of the request, so that what is kept does not depend on which thread was first.
        return [self.get(key, (lambda value=made[key]: value) if key in made else make) for key, make in makers.items()]

    def _keep(self, key: Hashable, value: np.ndarray) -> None:
        if key in self._kept or value.nbytes > self.limit:
            return
        self._kept[key] = value
        self.num_bytes += value.nbytes
        while self.num_bytes > self.limit:
            _, oldest = self._kept.popitem(last=False)
            self.num_bytes -= oldest.nbytes
