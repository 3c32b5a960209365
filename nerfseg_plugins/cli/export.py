"""`nerfseg export`: id masks and labelled point clouds of a run, in formats that others read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional, Union

import tyro

from nerfseg_plugins.cli.views import Split, output_names, rendered, why_no_ids, with_progress
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path

if TYPE_CHECKING:
    import numpy as np

    from nerfseg_plugins.scene.points import PointCloud, SurfaceView
    from nerfseg_plugins.scene.run import Run


@dataclass
class ExportMasks:
    """Id masks, a 16-bit PNG per view (0 background, 65535 unlabelled), rendered from a run or from colour pictures."""

    output_path: Path
    """Folder to write into; masks are named after the images."""
    load_config: Optional[Path] = None
    """config.yml of the run to render."""
    split: Literal["train", "val", "all"] = "val"
    """Views to render."""
    colormaps: Optional[Path] = None
    """Instead of a run: folder of instance_colormap PNGs that ns-render wrote with --image-format png."""
    palette: Optional[Path] = None
    """palette.json that the colour pictures were painted with; it lies in the run's folder."""
    previews: bool = False
    """Whether to write colour pictures too, into the folder previews/."""

    def main(self) -> None:
        """Write the masks and palette.json.

        Raises:
            InputError: the run or the pictures cannot be used.
        """
        if (self.load_config is None) == (self.colormaps is None):
            raise InputError("pass either --load-config RUN/config.yml or --colormaps DIR with --palette palette.json")
        if self.colormaps is None:
            assert self.load_config is not None
            count = _masks_of_run(self.load_config, self.split, self.output_path, self.previews)
        elif self.palette is None:
            raise InputError(f"{self.colormaps} holds colours; pass the run's palette.json as --palette")
        else:
            count = _masks_of_pictures(self.colormaps, self.palette, self.output_path, self.previews)
        print(f"wrote {count} masks and palette.json into {self.output_path}")


@dataclass
class ExportPointcloud:
    """The scene's surface as a binary PLY: x y z in the frame and unit of the data, colours, label (-1 unknown)."""

    load_config: Path
    """config.yml of the run."""
    output_path: Path = Path("cloud.ply")
    """The PLY file to write."""
    num_points: int = 1_000_000
    """At most so many points, drawn evenly from the training views."""
    voxel_size: float = 0.0
    """Merge points within cells of this edge, in the unit of the data; 0 keeps all."""
    min_accumulation: float = 0.9
    """Rays that absorb less than this share see no surface."""
    seed: int = 0
    """Of the draw of points."""

    def main(self) -> None:
        """Render the training views and write their surface points.

        Raises:
            InputError: the run cannot be used, or shows no surface.
        """
        from nerfseg_plugins.scene.points import PointCloud, surface_points, voxel_downsample
        from nerfseg_plugins.scene.run import load_run

        if self.output_path.suffix.lower() != ".ply":
            raise InputError(f"{self.output_path} must end in .ply")
        run = load_run(self.load_config, test_mode="val")
        cloud = surface_points(_surface_views(run), self.num_points, self.min_accumulation, seed=self.seed)
        if not len(cloud):
            raise InputError(
                f"{self.load_config}: no ray of the training views absorbs {self.min_accumulation}; "
                "train for longer or lower --min-accumulation"
            )
        cloud = PointCloud(run.to_data_frame(cloud.points), cloud.colors, cloud.labels)
        if self.voxel_size:
            cloud = voxel_downsample(cloud, self.voxel_size)
        write_ply(self.output_path, cloud)
        print(f"wrote {len(cloud)} points to {self.output_path}")


@dataclass
class Export:
    """Write what a run found: id masks or a labelled point cloud."""

    what: tyro.conf.OmitArgPrefixes[
        tyro.conf.OmitSubcommandPrefixes[
            Union[
                Annotated[ExportMasks, tyro.conf.subcommand("masks")],
                Annotated[ExportPointcloud, tyro.conf.subcommand("pointcloud")],
            ]
        ]
    ]
    """What to write."""

    def main(self) -> None:
        """Run the chosen export."""
        self.what.main()


def write_ply(path: Path, cloud: "PointCloud") -> None:
    """Write a point cloud as binary little-endian PLY, whole or not at all.

    The element `vertex` has float x, y, z; uchar red, green, blue; int label, -1 where the cloud has no labels.
    """
    import numpy as np
    from plyfile import PlyData, PlyElement

    kinds = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")] + [("label", "<i4")]
    rows = np.empty(len(cloud), dtype=kinds)
    rows["x"], rows["y"], rows["z"] = cloud.points.T
    rows["red"], rows["green"], rows["blue"] = cloud.colors.T
    rows["label"] = -1 if cloud.labels is None else cloud.labels
    with atomic_path(path) as temporary:
        PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(str(temporary))


def _masks_of_run(load_config: Path, split: str, folder: Path, previews: bool) -> int:
    from nerfseg_plugins.scene.colors import read_palette
    from nerfseg_plugins.scene.run import load_run

    run = load_run(load_config, test_mode="val")
    reason = why_no_ids(run)
    if reason:
        raise InputError(f"{load_config}: {reason}")
    model = run.pipeline.model
    splits: list[Split] = ["train", "val"] if split == "all" else [split]  # type: ignore[list-item]
    images = [Path(path) for part in splits for path in run.dataset(part).image_filenames]
    names = dict(zip(images, output_names(images, ".png"), strict=True))
    known = run.folder / "palette.json"
    colors, labels = read_palette(known) if known.is_file() else (None, {})

    def views() -> "Iterator[tuple[Path, np.ndarray]]":
        for part in splits:
            for view in rendered(run, part, f"rendering {part} views"):
                ids = model.predict_ids(view.outputs).cpu().numpy()  # type: ignore[operator]
                yield names[Path(view.image_path)], ids

    return _write_masks(views(), folder, colors, labels, previews)


def _masks_of_pictures(pictures: Path, palette_file: Path, folder: Path, previews: bool) -> int:
    import numpy as np
    from PIL import Image

    from nerfseg_plugins.scene.colors import colors_to_ids, read_palette

    colors, labels = read_palette(palette_file)
    files = sorted(path for path in pictures.rglob("*.png") if not path.name.startswith("."))
    if not files:
        hint = "it has JPEGs, whose colours are not exact; " if any(pictures.rglob("*.jp*g")) else ""
        raise InputError(f"{pictures} has no PNG; {hint}render instance_colormap with ns-render --image-format png")

    def views() -> "Iterator[tuple[Path, np.ndarray]]":
        for file in with_progress(files, len(files), "reading pictures"):
            try:
                with Image.open(file) as image:
                    pixels = np.asarray(image.convert("RGB"))
                ids = colors_to_ids(pixels, colors)
            except (OSError, SyntaxError, InputError) as error:
                raise InputError(f"{file} cannot be turned back into ids: {error}") from error
            yield file.relative_to(pictures), ids

    return _write_masks(views(), folder, colors, labels, previews)


def _write_masks(
    views: "Iterator[tuple[Path, np.ndarray]]",
    folder: Path,
    colors: "Optional[np.ndarray]",
    labels: Mapping[int, str],
    previews: bool,
) -> int:
    """Write (relative name, ids) pairs and the palette; without given colours, those of the default palette."""
    import numpy as np
    from PIL import Image

    from nerfseg_plugins.scene.colors import ids_to_colors, palette, write_palette
    from nerfseg_plugins.segments.masks import write_ids

    count, highest = 0, 0
    for name, ids in views:
        write_ids(folder / name, ids.astype(np.int32))
        count, highest = count + 1, max(highest, int(ids.max()))
        if previews:
            painted = ids_to_colors(ids, palette(highest + 1) if colors is None else colors)
            with atomic_path(folder / "previews" / name) as temporary:
                Image.fromarray((painted * 255 + 0.5).astype(np.uint8)).save(temporary)
    write_palette(folder / "palette.json", palette(highest + 1) if colors is None else colors, labels)
    return count


def _surface_views(run: "Run") -> "Iterator[SurfaceView]":
    """The training views, rendered; labelled when the run segments."""
    from nerfseg_plugins.scene.points import SurfaceView

    model = run.pipeline.model
    reason = why_no_ids(run)
    if reason:
        print(f"points get the label -1: {reason}")
    for view in rendered(run, "train", "rendering train views", ("rgb", "depth", "accumulation") if reason else None):
        rays = view.camera.generate_rays(camera_indices=0, keep_shape=True)
        yield SurfaceView(
            origins=rays.origins.cpu().numpy(),
            directions=rays.directions.cpu().numpy(),
            depth=view.outputs["depth"][..., 0].cpu().numpy(),
            accumulation=view.outputs["accumulation"][..., 0].cpu().numpy(),
            rgb=view.outputs["rgb"].cpu().numpy(),
            labels=None if reason else model.predict_ids(view.outputs).cpu().numpy(),  # type: ignore[operator]
        )
