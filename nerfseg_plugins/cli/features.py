"""`nerfseg features`: 2D features of every image, from a network, without one, or from another program."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import tyro

from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfseg_plugins.features.extract import Target
    from nerfseg_plugins.features.sources import FeatureSource

Source = Literal[
    "classical", "dino-vits8", "dino-vitb8", "dinov2-vits14", "dinov2-vitb14", "clip", "sam", "imported", "labels"
]


@dataclass
class Features:
    """2D features of every image of a data folder: DATA/features/SOURCE/NAME.npz, pca.npz and manifest.json.

    A run that was stopped goes on where it was; images or settings that have changed are refused until --overwrite.
    """

    data: Path
    """Folder with transforms.json (the images that it lists), with poses_bounds.npy, or with a folder images/."""
    source: Source = "classical"
    """classical needs no weights; dino, dinov2, clip and sam are networks; imported takes what --from holds; labels
    makes features up from the truth of a procedural scene, for trying things."""
    checkpoint: Optional[Path] = None
    """File with the network's weights; without it those of dino, dinov2 and clip are fetched."""
    from_: Annotated[Optional[Path], tyro.conf.arg(name="from")] = None
    """imported: features.pt of the original ISRF, or a folder of .pt files of GSN."""
    name: Optional[str] = None
    """Folder below DATA/features, where it is to have another name than the source."""
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
    """Pixels between neighbouring features: classical (as small as 15 000 cells allow), dino and dinov2 (the side of a
    patch; less lets patches overlap) and labels (4)."""

    def main(self) -> None:
        """Describe all images.

        Raises:
            InputError: the data, the source or the folder to write into cannot be used.
        """
        from nerfseg_plugins.cli.derived import image_size, list_images
        from nerfseg_plugins.cli.views import output_names
        from nerfseg_plugins.features.extract import Target
        from nerfseg_plugins.features.find import features_folder

        self._check()
        images = list_images(self.data, self.downscale_factor)
        folder = self.output_path or features_folder(self.data, self.name or self.source)
        files = [folder / name for name in output_names(images, ".npz")]
        targets = [Target(image, file, image_size(image)) for image, file in zip(images, files, strict=True)]
        if self.source == "imported":
            written = self._import(targets, folder)
        elif self.source == "labels":
            written = self._make_up(targets, folder)
        else:
            written = self._extract(targets, folder)
        print(f"wrote {written} of {len(files)} feature maps into {folder} ({len(files) - written} were there)")
        words = ["ns-train", "isrf", "--data", str(self.data)]
        words += ["--pipeline.datamanager.features", str(folder)] if self.output_path else []
        print(f"next: {shlex.join(words)}")

    def _check(self) -> None:
        counts = {"channels": self.channels, "pca-images": self.pca_images, "batch-size": self.batch_size}
        counts |= {} if self.stride is None else {"stride": self.stride}
        for name, value in counts.items():
            if value < 1:
                raise InputError(f"--{name} is {value}; give 1 or more")
        networks = ("dino", "clip", "sam")
        if self.checkpoint is not None and not self.source.startswith(networks):
            raise InputError(f"--source {self.source} has no weights; leave out --checkpoint")
        if self.stride is not None and self.source in ("clip", "sam", "imported"):
            raise InputError(f"--source {self.source} has a grid of its own; leave out --stride")
        if self.name is not None and (Path(self.name).name != self.name or self.name.startswith(".")):
            raise InputError(f"--name is {self.name!r}; give the name of a folder alone, or a path as --output-path")
        if (self.source == "imported") != (self.from_ is not None):
            raise InputError(
                "--source imported needs --from with ISRF's features.pt or GSN's folder, and no other source does"
            )

    def _extract(self, targets: "list[Target]", folder: Path) -> int:
        from nerfseg_plugins.cli.derived import read_rgb
        from nerfseg_plugins.cli.views import with_progress
        from nerfseg_plugins.features.extract import extract

        source = self._source()
        made = {"channels": self.channels, "pca_images": self.pca_images}
        self._prepare(targets, folder, source.name, source.model, source.checkpoint, {**source.parameters, **made})
        return extract(source, targets, folder, read_rgb, self.channels, self.pca_images, with_progress)

    def _import(self, targets: "list[Target]", folder: Path) -> int:
        from nerfseg_plugins.cli.views import with_progress
        from nerfseg_plugins.features.importing import ForeignFeatures, import_features

        assert self.from_ is not None
        foreign = ForeignFeatures(self.from_, [target.image for target in targets])
        self._prepare(targets, folder, "imported", foreign.model, foreign.checksum, {"channels": self.channels})
        return import_features(foreign, targets, folder, self.channels, with_progress)

    def _make_up(self, targets: "list[Target]", folder: Path) -> int:
        from nerfseg_plugins.cli.truth import read_parts
        from nerfseg_plugins.cli.views import with_progress
        from nerfseg_plugins.features.find import data_folder
        from nerfseg_plugins.features.labels import LabelOptions, label_manifest, write_label_features
        from nerfseg_plugins.manifest import hash_images

        images = [target.image for target in targets]
        classes, kinds, files = read_parts(data_folder(self.data), images)
        options = LabelOptions(self.channels, self.stride or LabelOptions.stride)
        labels = hash_images(files)
        manifest = label_manifest(images, targets[0].size, options, labels)
        self._prepare(targets, folder, manifest.source, manifest.model, None, manifest.parameters)
        names = [target.file.relative_to(folder) for target in targets]
        return write_label_features(
            folder, images, classes, kinds, options, names, labels, self._command(), with_progress
        )

    def _prepare(
        self,
        targets: "list[Target]",
        folder: Path,
        source: str,
        model: str,
        checkpoint: Optional[str],
        parameters: dict,
    ) -> None:
        from nerfseg_plugins.cli.derived import prepare_folder
        from nerfseg_plugins.manifest import Manifest, hash_images

        images = hash_images(target.image for target in targets)
        manifest = Manifest(source, model, checkpoint, targets[0].size, images, parameters)
        prepare_folder(folder, manifest, ".npz", self._command(), self.overwrite)

    def _source(self) -> "FeatureSource":
        from nerfseg_plugins.features.sources import FeatureOptions, make_feature_source

        device = self.device
        if device == "auto" and self.source == "classical":
            device = "cpu"
        elif device == "auto":
            import torch

            device = "cuda" if torch.cuda.is_available() else "cpu"
        options = FeatureOptions(self.checkpoint, device, self.batch_size, self.stride)
        return make_feature_source(self.source, options)  # type: ignore[arg-type]

    def _command(self) -> str:
        words = ["nerfseg", "features", "--data", str(self.data), "--source", self.source]
        for flag, value in (
            ("--checkpoint", self.checkpoint),
            ("--from", self.from_),
            ("--name", self.name),
            ("--downscale-factor", self.downscale_factor),
            ("--output-path", self.output_path),
            ("--stride", self.stride),
        ):
            words += [flag, str(value)] if value is not None else []
        words += ["--channels", str(self.channels)] if self.channels != Features.channels else []
        words += ["--pca-images", str(self.pca_images)] if self.pca_images != Features.pca_images else []
        return shlex.join([*words, "--overwrite"])
