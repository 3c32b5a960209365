"""`nerfseg photo normalize`: cars cut out of photos, in front of white, as large as in ShapeNet's renderings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
NORMALIZED, MASK = "_normalize", "_mask"
"""What follows the photo's name in the names of results."""


@dataclass
class PhotoNormalize:
    """Cut cars out of photos: NAME_normalize.png for `photo render`, and NAME_mask.png.

    A mask that is not good enough can be corrected in any program and given back with --masks.
    """

    images: list[Path]
    """Photos, or folders of photos."""
    output_path: Path = Path("photos")
    """Folder to write into."""
    source: Literal["mask-rcnn", "sam"] = "mask-rcnn"
    """What finds the car: mask-rcnn knows cars; sam takes what is at a point or in a box."""
    masks: Optional[Path] = None
    """Mask of the photo, or folder of masks named as the photos, instead of a network: 0 where the car is not."""
    checkpoint: Optional[Path] = None
    """Weights of the network; mask-rcnn fetches torchvision's own without it."""
    category: str = "car"
    """mask-rcnn: COCO's name of what to look for; of several things the largest is taken."""
    min_score: float = 0.5
    """mask-rcnn: detections below are left out."""
    point: Optional[tuple[float, float]] = None
    """sam: a point on the car, x and y in pixels; unset: the middle of the photo."""
    box: Optional[tuple[float, float, float, float]] = None
    """sam: left, top, right and bottom of a box around the car, pixels."""
    size: int = 128
    """Pixels of a result along each side."""
    minor_scale: float = 4.37
    """A result is so many minor axes of the car's ellipse wide, ..."""
    major_scale: float = 0.8
    """... and at least so many major ones."""
    device: str = "auto"
    """Torch device of the network: auto, cpu, cuda, cuda:1 ..."""

    def main(self) -> None:
        """Write what can be written; photos without a whole car are named.

        Raises:
            InputError: no photo shows a whole car, or the photos or the network cannot be used.
        """
        self._check()
        photos = list_photos(self.images)
        find = self._finder()
        failures: list[str] = []
        for photo in photos:
            try:
                path = self._write(photo, find)
            except InputError as error:
                failures.append(str(error))
            else:
                print(f"wrote {path}")
        if len(failures) == len(photos):
            raise InputError("; ".join(failures))
        for failure in failures:
            print(f"left out: {failure}")

    def _check(self) -> None:
        """Refuse settings that make no sense.

        Raises:
            InputError: names the flag.
        """
        if self.size < 8:
            raise InputError(f"--size is {self.size}; give 8 pixels or more")
        if min(self.minor_scale, self.major_scale) <= 0:
            raise InputError("--minor-scale and --major-scale must be above 0")
        if self.source != "sam" and (self.point is not None or self.box is not None):
            raise InputError("--point and --box belong to --source sam")

    def _write(self, photo: Path, find: "Callable[[Path, np.ndarray], np.ndarray]") -> Path:
        """Normalise one photo; the path of the result."""
        from PIL import Image

        from nerfseg_plugins.pixelnerf.photos import check_mask, fit_ellipse, normalised, square_around, without_specks

        image = read_photo(photo)
        mask = find(photo, image)
        check_mask(mask, image, str(photo))
        mask = without_specks(mask)
        square = square_around(fit_ellipse(mask), self.minor_scale, self.major_scale)
        result = self.output_path / f"{photo.stem}{NORMALIZED}.png"
        pictures = {
            self.output_path / f"{photo.stem}{MASK}.png": mask.astype("uint8") * 255,
            result: normalised(image, mask, square, self.size),
        }
        for path, picture in pictures.items():
            with atomic_path(path) as temporary:
                Image.fromarray(picture).save(temporary)
        return result

    def _finder(self) -> "Callable[[Path, np.ndarray], np.ndarray]":
        """Photo and its pixels -> mask (H, W) bool, all False where there is no car."""
        if self.masks is not None:
            return self._given_mask
        from nerfseg_plugins.segments.sources import SourceOptions

        options = SourceOptions(checkpoint=self.checkpoint, device=torch_device(self.device), min_score=self.min_score)
        if self.source == "sam":
            from nerfseg_plugins.segments.prompted import PromptedSam

            ask = PromptedSam(options)
            return lambda _, image: ask(image, self.point, self.box)
        from nerfseg_plugins.segments.mask_rcnn import MaskRcnnSource

        network = MaskRcnnSource(options)
        network.check_category(self.category)
        return lambda _, image: largest_thing(network, image, self.category)

    def _given_mask(self, photo: Path, image: "np.ndarray") -> "np.ndarray":
        from PIL import Image, UnidentifiedImageError

        assert self.masks is not None
        names = (f"{photo.stem}{ending}" for ending in (".png", f"{MASK}.png", ".jpg"))
        found = [self.masks] if self.masks.is_file() else [self.masks / name for name in names]
        path = next((path for path in found if path.is_file()), None)
        if path is None:
            raise InputError(f"{self.masks} has no mask of {photo}; put {photo.stem}.png there")
        try:
            with Image.open(path) as opened:
                # Of a mask with transparency, what is opaque; else what is not black.
                channel = opened.getchannel("A") if opened.mode in ("RGBA", "LA") else opened.convert("L")
        except (OSError, UnidentifiedImageError) as error:
            raise InputError(f"{path} is no readable mask ({error}); save it again as PNG") from error
        if channel.size != (image.shape[1], image.shape[0]):
            sizes = [f"{width}x{height}" for width, height in (channel.size, image.shape[1::-1])]
            raise InputError(f"{path} has {sizes[0]} pixels, but {photo} {sizes[1]}; give a mask of the photo itself")
        import numpy as np

        return np.asarray(channel) > 127 if np.asarray(channel).max(initial=0) > 1 else np.asarray(channel) > 0


def largest_thing(network: Any, image: "np.ndarray", category: str) -> "np.ndarray":
    """Of what Mask R-CNN detects of a category, the largest; all False where it detects none."""
    import numpy as np

    found = network.things(image)
    masks = [mask for mask, name in zip(found.masks, found.categories, strict=True) if name == category]
    return max(masks, key=lambda mask: int(mask.sum()), default=np.zeros(image.shape[:2], bool))


def list_photos(paths: Sequence[Path]) -> list[Path]:
    """Images that are named or lie in named folders, without results of earlier commands.

    Raises:
        InputError: a path does not exist, or there are no photos, or two of one name.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(item for item in path.iterdir() if item.suffix.lower() in SUFFIXES)
            found += [item for item in inside if not item.stem.endswith((NORMALIZED, MASK)) and item.name[0] != "."]
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path} does not exist; check the path")
    if not found:
        raise InputError(f"{' and '.join(map(str, paths)) or '--images'} names no photos; give images or folders")
    stems: dict[str, Path] = {}
    for path in found:
        if stems.setdefault(path.stem, path) != path:
            raise InputError(f"{stems[path.stem]} and {path} would have results of one name; rename one of them")
    return found


def read_photo(path: Path) -> "np.ndarray":
    """(H, W, 3) uint8, upright.

    Raises:
        InputError: it is no image.
    """
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path} is no readable image ({error}); save it as PNG or JPEG") from error


def torch_device(name: str) -> str:
    """A device's name, with auto decided."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
