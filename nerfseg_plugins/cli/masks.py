"""`nerfseg masks`: 2D segments of every image, from a network or without one."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Optional

if TYPE_CHECKING:
    from nerfseg_plugins.manifest import Manifest
    from nerfseg_plugins.segments.sources import SegmentSource

Source = Literal["classical", "sam", "mask-rcnn", "mask2former"]


@dataclass
class Masks:
    """2D segments of every image of a data folder: DATA/segments/SOURCE/NAME.npz and manifest.json.

    A run that was stopped goes on where it was; images or settings that have changed are refused until --overwrite.
    """

    data: Path
    """Folder with transforms.json (the images that it lists), with poses_bounds.npy, or with a folder images/."""
    source: Source = "classical"
    """classical needs no weights; sam, mask-rcnn and mask2former are networks."""
    checkpoint: Optional[Path] = None
    """Weights: a file for sam and mask-rcnn, a folder for mask2former."""
    downscale_factor: Optional[int] = None
    """Folders with images/ and images_N/: take images_N/ (1: images/), as llff-data does with the same flag."""
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
        from nerfseg_plugins.cli.derived import image_size, list_images, prepare_folder, read_rgb
        from nerfseg_plugins.cli.views import output_names, with_progress
        from nerfseg_plugins.segments.masks import write_segments

        images = list_images(self.data, self.downscale_factor)
        folder = self.output_path or self.data / "segments" / self.source
        source = self._source()
        files = [folder / name for name in output_names(images, ".npz")]
        prepare_folder(folder, manifest_of(source, images), ".npz", self._command(folder), self.overwrite)
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

    def _command(self, folder: Path) -> str:
        words = ["nerfseg", "masks", "--data", str(self.data), "--source", self.source]
        words += ["--checkpoint", str(self.checkpoint)] if self.checkpoint else []
        words += ["--downscale-factor", str(self.downscale_factor)] if self.downscale_factor else []
        words += ["--output-path", str(folder)] if self.output_path else []
        return shlex.join([*words, "--overwrite"])


def is_whole(file: Path, size: tuple[int, int]) -> bool:
    """Whether a segment file is there, readable and as large as its image; a damaged one is simply made again."""
    from nerfseg_plugins.errors import InputError
    from nerfseg_plugins.segments.masks import read_segments

    if not file.is_file():
        return False
    try:
        return read_segments(file).ids.shape == size
    except InputError:
        return False


def manifest_of(source: "SegmentSource", images: list[Path]) -> "Manifest":
    """What the segments of these images come from."""
    from nerfseg_plugins.cli.derived import image_size
    from nerfseg_plugins.manifest import Manifest, hash_images

    return Manifest(
        source=source.name,
        model=source.model,
        checkpoint=source.checkpoint,
        image_size=image_size(images[0]),
        images=hash_images(images),
        parameters=dict(source.parameters),
    )
