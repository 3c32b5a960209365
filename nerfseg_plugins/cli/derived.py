"""Folders of data derived from images: which images, how they are read, and that nothing stale stays among the new."""

from pathlib import Path
from typing import Optional

import numpy as np
from PIL import Image

from nerfseg_plugins.dataparsers.partnet import is_partnet, read_views
from nerfseg_plugins.dataparsers.poses_bounds import POSES_FILE, find_images
from nerfseg_plugins.dataparsers.poses_bounds import list_images as images_in
from nerfseg_plugins.dataparsers.transforms import read_capture
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.manifest import MANIFEST, Manifest, check_manifest, write_manifest


def prepare_folder(folder: Path, manifest: Manifest, suffix: str, command: str, overwrite: bool) -> None:
    """Leave `folder` with this manifest and no file that it does not describe.

    A folder that has this very manifest already keeps its files: a killed run goes on.

    Args:
        folder: made where it does not exist.
        manifest: what the files will come from.
        suffix: of the derived files, such as ".npz".
        command: that makes the folder anew, for the message.
        overwrite: throw away what other images or settings have made.

    Raises:
        InputError: the folder was made from something else, or cannot be written.
    """
    files = sorted(folder.rglob(f"*{suffix}")) if folder.is_dir() else []
    if not overwrite:
        if (folder / MANIFEST).exists():
            check_manifest(folder, manifest, command)
            return
        if files:
            raise InputError(
                f"{folder} holds {len(files)} {suffix} files and no {MANIFEST}, so it is unknown what made them; "
                f"make them again with: {command}"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        for path in files:
            path.unlink()
        write_manifest(folder, manifest)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); give --output-path a folder of your own"
        ) from error


def list_images(data: Path, downscale_factor: Optional[int] = None) -> list[Path]:
    """Images of a data folder: those that its transforms.json lists and that exist; else, beside a poses_bounds.npy,
    those that `llff-data` takes; else the renderings of a PartNet shape; else those in images/.

    Args:
        data: the folder, or its transforms.json or poses_bounds.npy.
        downscale_factor: N for the images in images_N/, 1 for images/; None leaves the choice to the data.

    Raises:
        InputError: there is neither, or there are no images.
    """
    data = Path(data)
    if not data.exists():
        raise InputError(f"{data} does not exist; give --data the folder that holds transforms.json or images/")
    has_bounds = data.name == POSES_FILE or (data / POSES_FILE).is_file()
    if data.name != POSES_FILE and _has_transforms(data) and not (has_bounds and downscale_factor):
        if downscale_factor:
            raise InputError(f"{data} lists its images itself; leave out --downscale-factor")
        return _listed(data)
    if has_bounds:
        from nerfseg_plugins.dataparsers.llff import read_llff

        return [frame.image for frame in read_llff(data, downscale_factor).frames]
    if downscale_factor:
        return find_images(data, downscale_factor)
    if is_partnet(data):
        return [frame.image for frame in read_views(data).frames]
    images = images_in(data / "images")
    if not images:
        raise InputError(f"{data} holds neither transforms.json nor images in {data / 'images'}; check --data")
    return images


def _has_transforms(data: Path) -> bool:
    return data.is_file() or any(data.glob("*transforms*.json")) or (data / "train" / "transforms.json").is_file()


def _listed(data: Path) -> list[Path]:
    capture = read_capture(data)
    if capture.missing:
        total = len(capture.missing) + len(capture.frames)
        print(f"warning: {len(capture.missing)} of {total} images listed in {data} do not exist and are skipped")
    return [frame.image for frame in capture.frames]


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8; transparent pixels are laid over white.

    Raises:
        InputError: the image cannot be read.
    """
    try:
        with Image.open(path) as image:
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is damaged or no image ({error}); copy it again") from error


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from an image's header.

    Raises:
        InputError: the image cannot be read.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is damaged or no image ({error}); copy it again") from error
