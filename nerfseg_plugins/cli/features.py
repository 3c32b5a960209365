"""`nerfseg features`: 2D features of every image, from a network or without one."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Optional

from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfseg_plugins.features.sources import FeatureSource

Source = Literal["classical", "dino-vits8", "dino-vitb8", "dinov2-vits14", "dinov2-vitb14", "clip", "sam"]


@dataclass
class Features:
    """2D features of every image of a data folder: DATA/features/SOURCE/NAME.npz, pca.npz and manifest.json.

    A run that was stopped goes on where it was; images or settings that have changed are refused until --overwrite.
    """

    data: Path
    """Folder with transforms.json (the images that it lists), with poses_bounds.npy, or with a folder images/."""
    source: Source = "classical"
    """classical needs no weights; the others are networks."""
    checkpoint: Optional[Path] = None
    """File with the network's weights; without it those of dino, dinov2 and clip are fetched."""
    downscale_factor: Optional[int] = None
    """Folders with images/ and images_N/: take images_N/ (1: images/), as llff-data does with the same flag."""
    output_path: Optional[Path] = None
    """Folder to write into instead of DATA/features/SOURCE."""
    overwrite: bool = False
    """Whether to throw away features of other images or settings and begin anew."""
    device: str = "auto"
    """Torch device of the network: auto, cpu, cuda, cuda:1 ..."""
    batch_size: int = 4
    """Images that the network sees at once."""
    channels: int = 64
    """Channels to keep: the main directions of the scene's features."""
    pca_images: int = 50
    """The main directions are those of so many images, evenly chosen."""
    stride: Optional[int] = None
    """Pixels between neighbouring features: classical (as small as 15 000 cells allow) and dino, dinov2 (the patch)."""

    def main(self) -> None:
        """Describe all images.

        Raises:
            InputError: the data, the source or the folder to write into cannot be used.
        """
        from nerfseg_plugins.cli.derived import image_size, list_images, prepare_folder, read_rgb
        from nerfseg_plugins.cli.views import output_names, with_progress
        from nerfseg_plugins.features.extract import Target, extract
        from nerfseg_plugins.features.find import features_folder
        from nerfseg_plugins.manifest import Manifest, hash_images

        for name, value in (
            ("channels", self.channels),
            ("pca-images", self.pca_images),
            ("batch-size", self.batch_size),
        ):
            if value < 1:
                raise InputError(f"--{name} is {value}; give 1 or more")
        images = list_images(self.data, self.downscale_factor)
        folder = self.output_path or features_folder(self.data, self.source)
        source = self._source()
        manifest = Manifest(
            source=source.name,
            model=source.model,
            checkpoint=source.checkpoint,
            image_size=image_size(images[0]),
            images=hash_images(images),
            parameters={**source.parameters, "channels": self.channels, "pca_images": self.pca_images},
        )
        prepare_folder(folder, manifest, ".npz", self._command(folder), self.overwrite)
        files = [folder / name for name in output_names(images, ".npz")]
        targets = [Target(image, file, image_size(image)) for image, file in zip(images, files, strict=True)]
        written = extract(source, targets, folder, read_rgb, self.channels, self.pca_images, with_progress)
        print(f"wrote {written} of {len(files)} feature maps into {folder} ({len(files) - written} were there)")
        print(f"next: ns-train isrf --data {shlex.quote(str(self.data))}")

    def _source(self) -> "FeatureSource":
        from nerfseg_plugins.features.sources import FeatureOptions, make_feature_source

        device = self.device
        if device == "auto" and self.source == "classical":
            device = "cpu"
        elif device == "auto":
            import torch

            device = "cuda" if torch.cuda.is_available() else "cpu"
        options = FeatureOptions(self.checkpoint, device, self.batch_size, self.stride)
        return make_feature_source(self.source, options)

    def _command(self, folder: Path) -> str:
        words = ["nerfseg", "features", "--data", str(self.data), "--source", self.source]
        words += ["--checkpoint", str(self.checkpoint)] if self.checkpoint else []
        words += ["--downscale-factor", str(self.downscale_factor)] if self.downscale_factor else []
        words += ["--output-path", str(folder)] if self.output_path else []
        return shlex.join([*words, "--overwrite"])
