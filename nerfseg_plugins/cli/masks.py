"""`nerfseg masks`: 2D segments of every image, from a network or without one."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Optional

from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from nerfseg_plugins.segments.manifest import Manifest
    from nerfseg_plugins.segments.sources import SegmentSource

Source = Literal["classical", "sam", "mask-rcnn", "mask2former"]


@dataclass
class Masks:
    """2D segments of every image of a data folder: DATA/segments/SOURCE/NAME.npz and manifest.json.

    A run that was stopped goes on where it was; images or settings that have changed are refused until --overwrite.
    """

    data: Path
    """Folder with transforms.json (the images that it lists) or with a folder images/."""
    source: Source = "classical"
    """classical needs no weights; sam, mask-rcnn and mask2former are networks."""
    checkpoint: Optional[Path] = None
    """Weights: a file for sam and mask-rcnn, a folder for mask2former."""
    output_path: Optional[Path] = None
    """Folder to write into instead of DATA/segments/SOURCE."""
    overwrite: bool = False
    """Whether to throw away segments of other images or settings and begin anew."""
    device: str = "auto"
    """Torch device of the network: auto, cpu, cuda, cuda:1 ..."""
    min_score: float = 0.5
    """mask-rcnn, mask2former: detections below are left out."""
    granularity: float = 0.5
    """classical: regions that differ less than this are merged; 0.3 gives many small ones, 0.8 few large ones."""
    points_per_side: int = 32
    """sam: prompts along each side of an image."""

    def main(self) -> None:
        """Segment all images.

        Raises:
            InputError: the data, the source or the folder to write into cannot be used.
        """
        from nerfseg_plugins.cli.views import output_names, with_progress
        from nerfseg_plugins.segments.masks import write_segments

        images = list_images(self.data)
        folder = self.output_path or self.data / "segments" / self.source
        source = self._source()
        files = [folder / name for name in output_names(images, ".npz")]
        self._prepare(folder, manifest_of(source, images))
        todo = [
            (image, file) for image, file in zip(images, files, strict=True) if not is_whole(file, image_size(image))
        ]
        count = 0
        for image, file in with_progress(todo, len(todo), f"segments: {self.source}") if todo else ():
            segments = source(read_rgb(image))
            count += len(segments.segment_ids)
            write_segments(file, segments)
        kept = len(files) - len(todo)
        mean = f", {count / len(todo):.1f} segments an image" if todo else ""
        print(f"wrote {len(todo)} of {len(files)} segment maps into {folder} ({kept} were there){mean}")
        print(f"next: nerfseg match --load-config RUN/config.yml --segments {shlex.quote(str(folder))}")

    def _source(self) -> "SegmentSource":
        from nerfseg_plugins.segments.sources import SourceOptions, make_source

        device = self.device
        if device == "auto":
            import torch

            device = "cuda" if torch.cuda.is_available() else "cpu"
        return make_source(
            self.source,
            SourceOptions(
                checkpoint=self.checkpoint,
                device=device,
                min_score=self.min_score,
                granularity=self.granularity,
                points_per_side=self.points_per_side,
            ),
        )

    def _prepare(self, folder: Path, manifest: "Manifest") -> None:
        """Leave `folder` with our manifest and no segment that it does not describe."""
        from nerfseg_plugins.segments.manifest import MANIFEST, check_manifest, write_manifest

        strangers = sorted(folder.rglob("*.npz")) if folder.is_dir() else []
        if (folder / MANIFEST).exists() and not self.overwrite:
            check_manifest(folder, manifest, self._command(folder))
            return
        if strangers and not self.overwrite:
            raise InputError(
                f"{folder} holds {len(strangers)} .npz files and no {MANIFEST}, so it is unknown what made them; "
                f"make them again with: {self._command(folder)}"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in strangers:
                path.unlink()
            write_manifest(folder, manifest)
        except OSError as error:
            raise InputError(
                f"{folder} cannot be written ({error.strerror}); give --output-path a folder of your own"
            ) from error

    def _command(self, folder: Path) -> str:
        words = ["nerfseg", "masks", "--data", str(self.data), "--source", self.source]
        words += ["--checkpoint", str(self.checkpoint)] if self.checkpoint else []
        words += ["--output-path", str(folder)] if self.output_path else []
        return shlex.join([*words, "--overwrite"])


def list_images(data: Path) -> list[Path]:
    """Images of a data folder: those that its transforms.json lists and that exist, else those in images/.

    Raises:
        InputError: there is neither, or there are no images.
    """
    from nerfseg_plugins.dataparsers.transforms import IMAGE_SUFFIXES, natural_key, read_capture

    data = Path(data)
    if not data.exists():
        raise InputError(f"{data} does not exist; give --data the folder that holds transforms.json or images/")
    if data.is_file() or any(data.glob("*transforms*.json")) or (data / "train" / "transforms.json").is_file():
        capture = read_capture(data)
        if capture.missing:
            total = len(capture.missing) + len(capture.frames)
            print(f"warning: {len(capture.missing)} of {total} images listed in {data} do not exist and are skipped")
        return [frame.image for frame in capture.frames]
    folder = data / "images"
    images = [path for path in folder.glob("*") if path.suffix in IMAGE_SUFFIXES] if folder.is_dir() else []
    if not images:
        raise InputError(f"{data} holds neither transforms.json nor images in {folder}; check --data")
    return sorted(images, key=lambda path: natural_key(path.name))


def read_rgb(path: Path) -> "np.ndarray":
    """(H, W, 3) uint8; transparent pixels are laid over white.

    Raises:
        InputError: the image cannot be read.
    """
    import numpy as np
    from PIL import Image

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
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is damaged or no image ({error}); copy it again") from error


def is_whole(file: Path, size: tuple[int, int]) -> bool:
    """Whether a segment file is there, readable and as large as its image; a damaged one is simply made again."""
    from nerfseg_plugins.segments.masks import read_segments

    if not file.is_file():
        return False
    try:
        return read_segments(file).ids.shape == size
    except InputError:
        return False


def manifest_of(source: "SegmentSource", images: list[Path]) -> "Manifest":
    """What the segments of these images come from."""
    from nerfseg_plugins.segments.manifest import Manifest, hash_images

    return Manifest(
        source=source.name,
        model=source.model,
        checkpoint=source.checkpoint,
        image_size=image_size(images[0]),
        images=hash_images(images),
        parameters=dict(source.parameters),
    )
