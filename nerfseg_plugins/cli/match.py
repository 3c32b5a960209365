"""`nerfseg match`: segments of single views -> ids of the whole scene, through the depth of a trained run."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import tyro

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.match_config import AssignConfig, MatchConfig

if TYPE_CHECKING:
    import numpy as np

    from nerfseg_plugins.cli.matching import MatchInput
    from nerfseg_plugins.manifest import Manifest
    from nerfseg_plugins.scene.run import Run
    from nerfseg_plugins.segments.lift import DepthView
    from nerfseg_plugins.segments.masks3d import IdGrid
    from nerfseg_plugins.segments.match import MatchResult


@dataclass
class Match:
    """Find the things that segments of several views show, and write every view with scene-wide ids to learn from.

    Writes NAME.npz for each view, instances.json (id, class, views, box in the data's frame), a contact sheet
    preview.png and manifest.json into DATA/segments/SOURCE-matched.
    """

    load_config: Path
    """config.yml of a run of the same data; its depth carries the segments into space. Geometry alone is enough."""
    segments: Path
    """Folder of segments: of nerfseg masks, or id masks of your own (.npz, .png, .npy, .hdf5; .json lists optional)."""
    masks3d: Optional[Path] = None
    """3D masks to follow: NeRF-RCNN's .npz (masks, scores, labels) or a .npy grid of ids; without them views vote."""
    masks3d_box: Optional[tuple[float, float, float, float, float, float]] = None
    """Box that the 3D masks fill, in the data's frame: x y z of the lower corner, then of the upper; else room_bbox."""
    output_path: Optional[Path] = None
    """Folder to write into instead of DATA/segments/SOURCE-matched."""
    overwrite: bool = False
    """Whether to replace a folder that something else than this command has written."""
    include_held_out: bool = False
    """Whether held-out views are matched and written too; by default they stay out of all that training sees."""
    downscale: float = 0.5
    """Factor on the images' size at which depth is rendered; ids keep the size of the segments."""
    sharpen: bool = True
    """Whether voted outlines are moved to the photo's edges, as nerfseg refine --method guided does, since depth is
    softer than photos; only with --labels vote and without --masks3d."""
    matching: Annotated[MatchConfig, tyro.conf.arg(name="")] = field(default_factory=MatchConfig)
    """How views vote."""
    assigning: Annotated[AssignConfig, tyro.conf.arg(name="")] = field(default_factory=AssignConfig)
    """How 3D masks are assigned."""

    def main(self) -> None:
        """Render depth, match and write.

        Raises:
            InputError: run, segments or 3D masks cannot be used.
        """
        import numpy as np

        from nerfseg_plugins.cli import matching
        from nerfseg_plugins.scene.run import load_run
        from nerfseg_plugins.segments.masks import UNLABELLED

        if not 0 < self.downscale <= 1:
            raise InputError(f"--downscale is {self.downscale}; give a factor above 0 and at most 1")
        if not self.segments.is_dir():
            raise InputError(f"{self.segments} is no folder; give --segments what nerfseg masks wrote")
        run = load_run(self.load_config)
        data = matching.data_folder(run)
        inputs = matching.collect_inputs(run, self.segments, data, self.include_held_out)
        grid = self._grid(run)
        folder = self.output_path or data / "segments" / f"{self.segments.resolve().name}-matched"
        matching.check_output(folder, self.segments, self.overwrite)
        views = matching.render_depth(run, inputs, self.downscale)
        result = self._match(inputs, views, grid)
        if self.sharpen and grid is None and self.matching.labels == "vote":
            result = matching.sharpen(inputs, result)
        matching.write_result(folder, inputs, result, self._manifest(run, inputs))
        unlabelled = float(np.mean([np.mean(ids == UNLABELLED) for ids in result.ids]))
        print(f"{len(result.instances)} instances in {len(inputs)} views, {unlabelled:.1%} of the pixels unlabelled")
        print(f"wrote {folder}; look at {folder / matching.PREVIEW}")
        print(f"next: ns-train instance-nerf front3d-data --data {data} --masks {_relative(folder, data)}")

    def _match(self, inputs: "list[MatchInput]", views: "list[DepthView]", grid: "Optional[IdGrid]") -> "MatchResult":
        from nerfseg_plugins.segments.assign import match_masks3d
        from nerfseg_plugins.segments.match import match_segments

        segments = [item.segments for item in inputs]
        print(f"matching {sum(len(own.segment_ids) for own in segments)} segments of {len(inputs)} views ...")
        if grid is not None:
            return match_masks3d(segments, views, grid, self.assigning)
        result = match_segments(segments, views, self.matching)
        if not result.instances:
            raise InputError(
                f"no instance was found in {self.segments}: nothing is seen alike in {self.matching.min_views} views; "
                "train the scene longer, or lower --min-views or --consensus"
            )
        return result

    def _grid(self, run: "Run") -> "Optional[IdGrid]":
        from nerfseg_plugins.segments.masks3d import read_masks3d

        return None if self.masks3d is None else read_masks3d(self.masks3d, self._box(run))

    def _box(self, run: "Run") -> "Optional[np.ndarray]":
        import numpy as np

        if self.masks3d_box is not None:
            return np.array(self.masks3d_box).reshape(2, 3)
        parser: Any = run.pipeline.datamanager.dataparser  # pyright: ignore[reportAttributeAccessIssue]
        return parser.capture().room_bbox if hasattr(parser, "capture") else None

    def _manifest(self, run: "Run", inputs: "list[MatchInput]") -> "Manifest":
        from nerfseg_plugins.files import sha256_file
        from nerfseg_plugins.manifest import Manifest, hash_images

        parameters: dict[str, Any] = dataclasses.asdict(self.assigning if self.masks3d else self.matching)
        parameters |= {
            "sharpen": self.sharpen,
            "segments": self.segments.resolve().name,
            "downscale": self.downscale,
            "run": run.config.method_name,
        }
        if self.masks3d is not None:
            parameters["masks3d"] = sha256_file(self.masks3d)
        return Manifest(
            source=f"{self.segments.resolve().name}-matched",
            model="assigned-to-3d-masks-1" if self.masks3d else "view-consensus-1",
            checkpoint=sha256_file(run.checkpoint),
            image_size=inputs[0].size,
            images=hash_images([item.image for item in inputs]),
            parameters=parameters,
        )


def _relative(folder: Path, data: Path) -> Path:
    return folder.resolve().relative_to(data.resolve()) if folder.resolve().is_relative_to(data.resolve()) else folder
