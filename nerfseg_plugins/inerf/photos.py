"""Photos and their masks, read and checked."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.masks import check_mask, find_mask, read_ids

PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Files of a folder that are taken for photos, in lower case."""
MIN_PIXELS = 64
"""Fewer usable pixels say next to nothing of six unknowns."""
MIN_CONTRAST = 3 / 255
"""A photo whose channels all vary by less is one colour and its coding noise."""


def read_photo(path: Path, background: Sequence[float]) -> Tensor:
    """A photo as it lies on disk: like nerfstudio and COLMAP, without turning it as its EXIF tags say.

    Args:
        path: any format that Pillow reads, 8 or 16 bits; grey becomes RGB.
        background: RGB in [0, 1] that shines through where the photo is transparent.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        InputError: the file is missing or no image.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path")
    try:
        with Image.open(path) as image:
            return _to_rgb(image, background)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image ({error}); restore it or leave it out") from error


def reduced_size(width: int, height: int, max_side: Optional[int]) -> tuple[int, int]:
    """(width, height) with neither side above `max_side`; None keeps the size.

    Raises:
        InputError: `max_side` is less than 1.
    """
    if max_side is None:
        return width, height
    if max_side < 1:
        raise InputError(f"max_side is {max_side}; give the pixels of the longer side, or leave it out")
    factor = min(1.0, max_side / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def reduce_photo(image: Tensor, width: int, height: int) -> Tensor:
    """A photo (H, W, C) at a smaller size, low-pass filtered (a triangle as wide as two new pixels)."""
    if image.shape[:2] == (height, width):
        return image
    planes = image.permute(2, 0, 1)[None]
    smaller = F.interpolate(planes, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    return smaller[0].permute(1, 2, 0).contiguous()


def reduce_mask(mask: Tensor, width: int, height: int) -> Tensor:
    """A mask (H, W) at a smaller size: a new pixel may be used where nothing hidden shines into it."""
    return reduce_photo(mask[..., None].float(), width, height)[..., 0] > 1 - 1e-4


def read_mask(path: Path, image: Path, size: tuple[int, int]) -> Tensor:
    """The pixels that may be used.

    Args:
        path: an id mask (`segments.masks`: png, npy, npz, hdf5) or a folder of them named by the images' stems; 0 =
            do not use.
        image: the photo.
        size: its (height, width).

    Returns:
        (H, W) bool.

    Raises:
        InputError: no mask of this photo, or one of another size.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; name the mask of {image}, or a folder of masks")
    file = find_mask(path, image.stem) if path.is_dir() else path
    if file is None:
        raise InputError(f"{path} holds no mask for {image}; add {image.stem}.png (0 = do not use)")
    ids = read_ids(file)
    check_mask(ids, size, file)
    return torch.from_numpy(ids != 0)


def is_binary(path: Path) -> bool:
    """Whether a mask has two values at most.

    Raises:
        InputError: it is no mask.
    """
    return len(np.unique(read_ids(path))) <= 2


def read_features(path: Path, image: Path) -> Tensor:
    """The feature map of a photo.

    Args:
        path: an array (h, w, C) as .npy, or as the only array of an .npz; or a folder of them named by the images'
            stems.
        image: the photo.

    Returns:
        (h, w, C) float32.

    Raises:
        InputError: no map of this photo, or no map at all.
    """
    files = [path] if path.is_file() else [path / f"{image.stem}{suffix}" for suffix in (".npz", ".npy")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise InputError(f"{path} holds no feature map for {image}; add {image.stem}.npy, (height, width, channels)")
    try:
        found = np.load(file, allow_pickle=False)
        if not isinstance(found, np.ndarray):  # an .npz
            with found:
                found = found[found.files[0]] if len(found.files) == 1 else np.zeros(0)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} is no array that can be read; write it with numpy.save") from error
    if found.ndim != 3 or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise InputError(f"{file} is no feature map; it must be one finite array of (height, width, channels)")
    return torch.from_numpy(found.astype(np.float32))


def check_usable(image: Tensor, mask: Tensor, path: Path, mask_path: Optional[Path]) -> None:
    """Refuse a photo that nothing can be aligned with.

    Args:
        image: (H, W, 3) in [0, 1].
        mask: (H, W) bool.
        path: the photo, for the message.
        mask_path: its mask, if it has one.

    Raises:
        InputError: fewer than `MIN_PIXELS` usable pixels, or all of one colour.
    """
    count = int(mask.sum())
    if count < MIN_PIXELS and mask_path is not None:
        left = f"only {count}" if count else "none"
        raise InputError(
            f"the mask {mask_path} leaves {left} of the {mask.numel()} pixels of {path}; at least {MIN_PIXELS} are "
            "needed (0 = do not use, so it may have to be inverted)"
        )
    if count < MIN_PIXELS:
        raise InputError(f"{path} has only {count} pixels; at least {MIN_PIXELS} are needed, so give a larger photo")
    used = image[mask]
    if float((used.amax(0) - used.amin(0)).max()) < MIN_CONTRAST:
        kind = "all black" if float(used.max()) < MIN_CONTRAST else "of one colour"
        where = "" if mask_path is None else f" where {mask_path} lets it be used"
        raise InputError(f"{path} is {kind}{where}: there is nothing to align; give a photo of the scene")


def _to_rgb(image: Image.Image, background: Sequence[float]) -> Tensor:
    if image.mode == "F":
        raise ValueError("it holds floating-point values, whose range is not known")
    if image.mode.startswith("I"):  # 16 bits
        grey = np.asarray(image).astype(np.float32)[..., None].clip(0, 65535) / 65535.0
        return torch.from_numpy(np.repeat(grey, 3, axis=-1))
    if "A" not in image.getbands() and "transparency" not in image.info:
        return torch.from_numpy(np.asarray(image.convert("RGB")).astype(np.float32) / 255.0)
    rgba = torch.from_numpy(np.asarray(image.convert("RGBA")).astype(np.float32) / 255.0)
    return rgba[..., :3] * rgba[..., 3:] + torch.tensor(background, dtype=torch.float32) * (1 - rgba[..., 3:])
