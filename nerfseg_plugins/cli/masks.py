"""`nerfseg masks`: 2D segments of every image, from a network or without one, from a folder of masks, or from truth."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import tyro

from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfseg_plugins.cli.mask_makers import MaskMaker
    from nerfseg_plugins.segments.sources import SegmentSource

Source = Literal["classical", "sam", "mask-rcnn", "mask2former", "imported", "labels"]


@dataclass
class Masks:
    """2D segments of every image of a data folder: DATA/segments/SOURCE/NAME.npz and manifest.json.

    classical, sam, imported and labels also keep masks that may lie in each other (parts, things, groups), with their
    hierarchy. A run that was stopped goes on where it was; images or settings that have changed are refused until
    --overwrite.
    """

    data: Path
    """Folder with transforms.json (the images that it lists), with poses_bounds.npy, or with a folder images/."""
    source: Source = "classical"
    """classical needs no weights; sam, mask-rcnn and mask2former are networks; imported packs folders of binary masks
    that sam's own command line or a published data set (Blender-HS) has left; labels makes SAM-like masks up from the
    exact ids of a scene that has them, for trying things."""
    checkpoint: Optional[Path] = None
    """Weights: a file for sam and mask-rcnn, a folder for mask2former; sam also takes an address (https://...)."""
    from_: Annotated[Optional[Path], tyro.conf.arg(name="from")] = None
    """imported: folder that holds SPLIT_seg/NAME/, SPLIT/NAME/ or NAME/ with the masks of each image; the data folder
    itself without it."""
    downscale_factor: Optional[int] = None
    """Folders with images/ and images_N/: take images_N/ (1: images/), as llff-data does with the same flag."""
    output_path: Optional[Path] = None
    """Folder to write into instead of DATA/segments/SOURCE (imported: DATA/segments/sam)."""
    overwrite: bool = False
    """Whether to throw away segments of other images or settings and begin anew."""
    device: str = "auto"
    """Torch device of the network: auto, cpu, cuda, cuda:1 ..."""
    min_score: float = 0.5
    """mask-rcnn, mask2former: detections below are left out."""
    granularity: float = 0.5
    """classical: regions of the flat map that differ less than this are merged; 0.3 gives many small ones, 0.8 few
    large ones."""
    points_per_side: int = 32
    """sam: prompts along each side of an image."""
    pred_iou_thresh: float = 0.88
    """sam: masks of which it thinks less are left out."""
    stability_score_thresh: float = 0.95
    """sam: masks that depend more on the threshold of its logits are left out."""
    box_nms_thresh: float = 0.7
    """sam: of two masks whose boxes have a larger IoU only the better one stays."""
    resize_factor: float = 1.0
    """sam: the sides of an image are multiplied by this before SAM sees it (0.25 for large photos); masks are kept at
    the size of the image."""
    noise: bool = True
    """labels: whether a tenth of the masks is missing and edges are off by up to 1.5 pixels."""
    seed: int = 0
    """labels: of the noise."""

    def main(self) -> None:
        """Segment all images.

        Raises:
            InputError: the data, the source or the folder to write into cannot be used.
        """
        from nerfseg_plugins.cli.derived import image_size, list_images, prepare_folder
        from nerfseg_plugins.cli.views import output_names, with_progress
        from nerfseg_plugins.segments import hierarchy, masks

        self._check()
        images = list_images(self.data, self.downscale_factor)
        folder = self.output_path or self._root() / "segments" / ("sam" if self.source == "imported" else self.source)
        names = output_names(images, ".npz")
        maker = self._maker(images, names)
        prepare_folder(folder, maker.manifest, ".npz", self._command(folder), self.overwrite)
        covered = [index for index in range(len(images)) if maker.covers(index)]
        todo = [
            index
            for index in covered
            if not is_whole(folder / names[index], image_size(images[index]), maker.overlapping)
        ]
        count = 0
        for index in with_progress(todo, len(todo), f"segments: {self.source}") if todo else ():
            segments, found = maker.make(index)
            if found is not None:
                count += len(found)
                hierarchy.write_hierarchy(folder / names[index], found, segments)
            elif segments is not None:
                count += len(segments.segment_ids)
                masks.write_segments(folder / names[index], segments)
        kept = len(covered) - len(todo)
        what = "masks" if maker.overlapping else "segments"
        mean = f", {count / len(todo):.1f} {what} an image" if todo else ""
        print(f"wrote {len(todo)} of {len(covered)} segment maps into {folder} ({kept} were there){mean}")
        if len(covered) < len(images):
            print(f"warning: {len(images) - len(covered)} of {len(images)} images have no masks and were left out")
        if maker.overlapping:
            name = folder.name if folder.parent == self._root() / "segments" else str(folder.resolve())
            words = ["ns-train", "ultrametric", "--data", str(self.data)]
            print(f"next: {shlex.join([*words, 'sam-hierarchy-data', '--masks', name])}")
        print(f"next: nerfseg match --load-config RUN/config.yml --segments {shlex.quote(str(folder))}")

    def _root(self) -> Path:
        return self.data.parent if self.data.is_file() else self.data

    def _check(self) -> None:
        shares = ("min_score", "pred_iou_thresh", "stability_score_thresh", "box_nms_thresh")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}; give 0 to 1")
        if not 0 < self.resize_factor <= 1:
            raise InputError(f"--resize-factor is {self.resize_factor}; give a factor above 0 and up to 1")
        if self.points_per_side < 1:
            raise InputError(f"--points-per-side is {self.points_per_side}; give 1 or more")
        if self.from_ is not None and self.source != "imported":
            raise InputError(f"--source {self.source} reads no masks; leave out --from, or take --source imported")
        if self.from_ is not None and not self.from_.is_dir():
            raise InputError(f"{self.from_} is no folder; give --from the folder that holds the masks")
        if self.checkpoint is not None and self.source in ("classical", "imported", "labels"):
            raise InputError(f"--source {self.source} has no weights; leave out --checkpoint")

    def _maker(self, images: list[Path], names: list[Path]) -> "MaskMaker":
        from nerfseg_plugins.cli.mask_makers import FromFolders, FromImages, FromLabels

        if self.source == "imported":
            return FromFolders(self.from_ or self._root(), images, names)
        if self.source == "labels":
            return FromLabels(self.data, images, self.noise, self.seed)
        return FromImages(self._source(), images)

    def _source(self) -> "SegmentSource":
        from nerfseg_plugins.segments.sources import SourceOptions, make_source

        device = self.device
        if device == "auto" and self.source == "classical":
            device = "cpu"
        elif device == "auto":
            import torch

            device = "cuda" if torch.cuda.is_available() else "cpu"
        return make_source(
            self.source,  # type: ignore[arg-type]
            SourceOptions(
                checkpoint=self.checkpoint,
                device=device,
                min_score=self.min_score,
                granularity=self.granularity,
                points_per_side=self.points_per_side,
                pred_iou_thresh=self.pred_iou_thresh,
                stability_score_thresh=self.stability_score_thresh,
                box_nms_thresh=self.box_nms_thresh,
                resize_factor=self.resize_factor,
            ),
        )

    def _command(self, folder: Path) -> str:
        words = ["nerfseg", "masks", "--data", str(self.data), "--source", self.source]
        words += ["--checkpoint", str(self.checkpoint)] if self.checkpoint else []
        words += ["--from", str(self.from_)] if self.from_ else []
        words += ["--downscale-factor", str(self.downscale_factor)] if self.downscale_factor else []
        words += ["--output-path", str(folder)] if self.output_path else []
        words += ["--no-noise"] if self.source == "labels" and not self.noise else []
        return shlex.join([*words, "--overwrite"])


def is_whole(file: Path, size: tuple[int, int], overlapping: bool = False) -> bool:
    """Whether a segment file is there, readable and as large as its image, with overlapping masks where there should be
    some; a damaged one is simply made again."""
    from nerfseg_plugins.segments.hierarchy import read_hierarchy
    from nerfseg_plugins.segments.masks import read_segments

    if not file.is_file():
        return False
    try:
        if overlapping:
            read_hierarchy(file, size)
        return read_segments(file).ids.shape == size
    except InputError:
        return False
