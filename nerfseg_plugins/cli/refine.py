"""`nerfseg refine`: sharpen rendered masks against the photos."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional

from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfseg_plugins.manifest import Manifest
    from nerfseg_plugins.segments.refine import MaskRefiner


@dataclass
class Refine:
    """Sharpen id masks, such as nerfseg export masks writes, along the edges of their photos, to learn from them again.

    Writes a 16-bit PNG for each mask, and manifest.json. A run that was stopped goes on where it was.
    """

    data: Path
    """Folder with transforms.json (the images that it lists) or with a folder images/."""
    masks: Path
    """Folder of id masks, named after the images (.png, .npz, .npy, .hdf5); images without one are left out."""
    output_path: Optional[Path] = None
    """Folder to write into instead of DATA/segments/MASKS-METHOD."""
    method: Literal["none", "guided", "cascadepsp"] = "guided"
    """guided = a guided filter on each instance's mask; cascadepsp = the network; none = copy, for comparison."""
    radius: int = 0
    """guided: how far an outline may move, in pixels; 0 = 1/35 of the image's side."""
    smoothness: float = 3e-4
    """guided: colour variance (of colours in [0, 1]) below which there is no edge; more for noisy photos."""
    model_folder: Optional[Path] = None
    """cascadepsp: folder that holds its weights under the name model."""
    device: str = "cpu"
    """cascadepsp: torch device."""
    side: int = 900
    """cascadepsp: longest side that the network sees at once; less needs less memory."""
    overwrite: bool = False
    """Whether to throw away masks that other masks, photos or settings have given and begin anew."""

    def main(self) -> None:
        """Refine all masks.

        Raises:
            InputError: masks, photos, weights or the folder to write into cannot be used.
        """
        from nerfseg_plugins.cli.derived import image_size, list_images, prepare_folder, read_rgb
        from nerfseg_plugins.cli.views import with_progress
        from nerfseg_plugins.segments.masks import check_mask, read_ids, write_ids
        from nerfseg_plugins.segments.refine import refine_ids

        if not self.masks.is_dir():
            raise InputError(f"{self.masks} is no folder; give --masks what nerfseg export masks wrote")
        refiner = self._refiner()
        pairs = pair_masks(list_images(self.data), self.masks, self.data)
        folder = self.output_path or self.data / "segments" / f"{self.masks.resolve().name}-{self.method}"
        if folder.resolve() == self.masks.resolve():
            raise InputError(f"{folder} is the folder of the masks themselves; give --output-path another one")
        prepare_folder(folder, self._manifest(pairs), ".png", self._command(folder), self.overwrite)
        todo = []
        for image, mask in pairs:
            file = folder / mask.relative_to(self.masks).with_suffix(".png")
            if not _is_whole(file, image_size(image)):
                todo.append((image, mask, file))
        for image, mask, file in with_progress(todo, len(todo), f"refining: {self.method}") if todo else ():
            ids, rgb = read_ids(mask), read_rgb(image)
            check_mask(ids, (rgb.shape[0], rgb.shape[1]), mask)
            write_ids(file, refine_ids(ids, rgb, refiner))
        print(f"wrote {len(todo)} of {len(pairs)} masks into {folder} ({len(pairs) - len(todo)} were there)")

    def _refiner(self) -> "Optional[MaskRefiner]":
        from nerfseg_plugins.segments.refine import CascadePspRefiner, GuidedRefiner

        if self.method == "guided":
            return GuidedRefiner(self.radius, self.smoothness)
        if self.method == "cascadepsp":
            return CascadePspRefiner(self.model_folder, self.device, self.side)
        return None

    def _manifest(self, pairs: list[tuple[Path, Path]]) -> "Manifest":
        from nerfseg_plugins.cli.derived import image_size
        from nerfseg_plugins.files import sha256_file
        from nerfseg_plugins.manifest import Manifest, hash_images

        parameters: dict[str, Any] = {"masks": hash_images(mask for _, mask in pairs)}
        checkpoint = None
        if self.method == "guided":
            parameters |= {"radius": self.radius, "smoothness": self.smoothness}
        elif self.method == "cascadepsp":
            parameters |= {"side": self.side}
            checkpoint = sha256_file(self.model_folder / "model") if self.model_folder else None
        return Manifest(
            source=f"{self.masks.resolve().name}-{self.method}",
            model=f"refine-{self.method}-1",
            checkpoint=checkpoint,
            image_size=image_size(pairs[0][0]),
            images=hash_images(image for image, _ in pairs),
            parameters=parameters,
        )

    def _command(self, folder: Path) -> str:
        words = ["nerfseg", "refine", "--data", str(self.data), "--masks", str(self.masks), "--method", self.method]
        words += ["--output-path", str(folder)] if self.output_path else []
        return shlex.join([*words, "--overwrite"])


def pair_masks(images: list[Path], masks: Path, data: Path) -> list[tuple[Path, Path]]:
    """Images with their masks, by name: `masks/train/r_0.*` for `train/r_0.png` before `masks/r_0.*`.

    Raises:
        InputError: no image has a mask, or two images share one.
    """
    from nerfseg_plugins.segments.masks import find_mask

    pairs: dict[Path, Path] = {}
    for image in images:
        place = image.relative_to(data).parent if image.is_relative_to(data) else Path()
        mask = find_mask(masks / place, image.stem) or find_mask(masks, image.stem)
        if mask is None:
            continue
        if mask in pairs:
            raise InputError(
                f"{pairs[mask]} and {image} would share the mask {mask}; keep masks in subfolders like the images"
            )
        pairs[mask] = image
    if not pairs:
        raise InputError(
            f"{masks} has a mask for none of the {len(images)} images of {data} (wanted: {images[0].stem}.png)"
        )
    return [(image, mask) for mask, image in pairs.items()]


def _is_whole(file: Path, size: tuple[int, int]) -> bool:
    """Whether a mask is there, readable and as large as its image; a damaged one is made again."""
    from nerfseg_plugins.segments.masks import read_ids

    try:
        return file.is_file() and read_ids(file).shape == size
    except InputError:
        return False
