"""`nerfseg objects`: how well the other views of many objects are rendered from a few."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional

import tyro

from nerfseg_plugins.cli.scenes import SceneOptions
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import sha256_file

if TYPE_CHECKING:
    from torch import Tensor

    from nerfseg_plugins.cli.image_based import OpenedModel
    from nerfseg_plugins.cli.scenes import ShownScene
    from nerfseg_plugins.evaluation.objects import ObjectFigures, ObjectResults
    from nerfseg_plugins.image_based.scene import Scene
    from nerfseg_plugins.image_based.sources import SceneRef

MOST_ROWS = 40
"""Objects above which the table leaves them out."""


@dataclass
class Objects:
    """Measure a run of an image-based method on many objects, each seen through a few of its views.

    Writes OUTPUT/metrics.json with PSNR, SSIM and LPIPS of all, by category and by object, and of each object
    OUTPUT/NAME/ with the rendered views, a sheet that compares some with the photos, and metrics.json. What is done
    already is kept: an interrupted command continues when it is started again.
    """

    load_config: Path
    """config.yml of a run of pixelnerf, gnt or gsn."""
    scenes: Annotated[SceneOptions, tyro.conf.arg(name="")] = field(default_factory=SceneOptions)
    """Which objects."""
    view_list: Optional[Path] = None
    """Text file with source views of each object, instead of --views: "CATEGORY OBJECT NUMBER ..." a line."""
    target_views: tuple[int, ...] = ()
    """Numbers of the views to render; none: all that are no sources."""
    exclude_views: tuple[int, ...] = ()
    """Numbers of views that are not rendered, such as DTU's badly lit ones: 3 4 5 6 7 16 17 18 19 20 21 36 37 38 39."""
    include_sources: bool = False
    """Whether the source views are rendered and measured as well."""
    max_targets: Optional[int] = None
    """Views of an object at most, spread evenly: for a quick look."""
    output_path: Path = Path("objects")
    """Folder to write into."""
    scale: float = 1.0
    """Factor on the size of the pictures; photos are made smaller too."""
    pictures: bool = True
    """Whether rendered views are written, as PNG."""
    depth: Literal["none", "npz", "png"] = "none"
    """Depth of the rendered views: npz holds float32 distances along the rays in scene units, png 16 bits of near to
    far."""
    sheet_views: int = 6
    """Views on the comparison sheet of an object; 0 writes none."""
    lpips: Literal["vgg", "alex"] = "vgg"
    """Network of LPIPS: vgg as in pixelNeRF's tables; left out where its weights cannot be had."""
    chunk: Optional[int] = None
    """Rays times source views rendered at once; by default as many as the run is configured for."""
    overwrite: bool = False
    """Whether to begin anew where the folder holds results, of these settings or of others."""

    def main(self) -> None:
        """Render, measure, write and print a table.

        Raises:
            InputError: the run, the data or a setting cannot be used.
        """
        from nerfseg_plugins.cli.image_based import load_model
        from nerfseg_plugins.cli.scenes import read_scene
        from nerfseg_plugins.evaluation.objects import ObjectResults

        self._check()
        config = self.scenes.read(self.load_config)
        references = self.scenes.find(config)
        views = self._source_views(config, references)
        opened = load_model(self.load_config, read_scene(references[0], config, views[0]).sources)
        opened = opened._replace(config=config)
        results = ObjectResults(self.output_path, self._settings(opened), self.overwrite)
        found = list(evaluate_objects(opened, references, views, results, self))
        summary = results.write_summary(found)
        print_table(summary, f"{opened.config.method_name}, step {opened.step}")
        print(f"wrote metrics.json and {'pictures' if self.pictures else 'figures'} into {self.output_path}")

    def _check(self) -> None:
        """Refuse settings that make no sense.

        Raises:
            InputError: names the flag.
        """
        for name, least in (("chunk", 1), ("sheet_views", 0), ("max_targets", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name.replace('_', '-')} is {value}; give {least} or more")
        if not 0 < self.scale <= 1:
            raise InputError(f"--scale is {self.scale}; give a number above 0, 1 at most")
        if self.view_list is not None and self.scenes.views:
            raise InputError("give either --views for all objects or --view-list for each, not both")

    def _source_views(self, config: Any, references: "Sequence[SceneRef]") -> list[tuple[int, ...]]:
        """Numbers of the source views of each object."""
        from nerfseg_plugins.cli.scenes import read_view_list, views_of

        if self.view_list is None:
            return [self.scenes.source_views(config)] * len(references)
        catalog = self.scenes.catalog(config)
        known = [
            source.reference(local)
            for source in catalog.sources
            for split in ("train", "val", "test")
            for local in source.names(split)
        ]
        listed = read_view_list(self.view_list, known)
        return [views_of(reference, listed, self.view_list) for reference in references]

    def _settings(self, opened: "OpenedModel") -> dict[str, Any]:
        """Whatever decides the figures, apart from the source views, which stand with each object."""
        manager = opened.config.pipeline.datamanager
        return {
            "checkpoint": sha256_file(opened.checkpoint),
            "step": opened.step,
            "dataparser": {key: str(value) for key, value in vars(manager.dataparser).items()},
            "bounds": [manager.near, manager.far],
            "views": list(self.scenes.source_views(opened.config)),
            "view_list": None if self.view_list is None else sha256_file(self.view_list),
            "target_views": list(self.target_views),
            "exclude_views": list(self.exclude_views),
            "include_sources": self.include_sources,
            "max_targets": self.max_targets,
            "scale": self.scale,
            "lpips": self.lpips,
            "pictures": self.pictures,
            "depth": self.depth,
            "sheet_views": self.sheet_views,
        }


def evaluate_objects(
    opened: "OpenedModel",
    references: "Sequence[SceneRef]",
    views: Sequence[tuple[int, ...]],
    results: "ObjectResults",
    options: Objects,
) -> "Iterator[ObjectFigures]":
    """Evaluate objects one by one; those that are done are passed on as they are.

    Args:
        opened: the network.
        references: the objects.
        views: numbers of the source views of each.
        results: what is done already, and where the rest goes.
        options: what to render and to write.

    Raises:
        InputError: an object cannot be read, or has no such view.
    """
    from nerfseg_plugins.cli.scenes import read_scene
    from nerfseg_plugins.cli.views import with_progress

    done = sum(results.get(reference.name) is not None for reference in references)
    if done:
        print(f"{done} of {len(references)} objects are done already")
    network = lpips_network(options.lpips, opened.model.device)
    pairs = zip(references, views, strict=True)
    for reference, own in with_progress(pairs, len(references), "evaluating objects"):
        figures = results.get(reference.name)
        if figures is None:
            shown = read_scene(reference, opened.config, own)
            figures = _evaluate(opened, shown, results.folder_of(reference.name), options, network)
            results.add(figures)
        yield figures


def _evaluate(
    opened: "OpenedModel", shown: "ShownScene", folder: Path, options: Objects, network: Any
) -> "ObjectFigures":
    """Render, measure and draw one object."""
    from nerfseg_plugins.cli.objects_output import ObjectPictures
    from nerfseg_plugins.evaluation.image import lpips, psnr, ssim
    from nerfseg_plugins.evaluation.objects import Figures, ObjectFigures

    start = time.perf_counter()
    opened.model.open_scene(shown.sources)
    targets = choose_targets(shown, options)
    pictures = ObjectPictures(folder, shown, [target.number for target in targets], options)
    found: dict[int, Figures] = {}
    for target, outputs in _rendered(opened.model, targets, options):
        picture = outputs["rgb"].clamp(0, 1)
        photo = target.photo(picture.shape[0], picture.shape[1])
        pictures.add(target.number, photo, picture, outputs["depth"][..., 0])
        found[target.number] = {
            "psnr": psnr(picture, photo),
            "ssim": ssim(picture, photo),
            "lpips": lpips(picture, photo, network),
        }
    pictures.write_sheet()
    return ObjectFigures(shown.name, tuple(shown.source_numbers), found, time.perf_counter() - start)


class Target(NamedTuple):
    """A view to render."""

    number: int
    """Among all views of the object."""
    scene: "Scene"
    place: int
    """Within `scene`."""

    def photo(self, height: int, width: int) -> "Tensor":
        """What was photographed, (height, width, 3) in [0, 1] on the CPU."""
        from nerfseg_plugins.image_based.images import resized, to_float

        return to_float([resized(self.scene.image(self.place), (height, width))])[0].permute(1, 2, 0)


def choose_targets(shown: "ShownScene", options: Objects) -> list[Target]:
    """The views of an object to render, in the order of their numbers.

    Raises:
        InputError: a wanted view is not there, or none is left.
    """
    import numpy as np

    there = [Target(number, shown.targets, place) for place, number in enumerate(shown.target_numbers)]
    if options.include_sources:
        taken = set(shown.target_numbers)  # an object without other views renders its sources anyway
        numbers = enumerate(shown.source_numbers)
        there += [Target(number, shown.sources, place) for place, number in numbers if number not in taken]
    total = len({*shown.source_numbers, *shown.target_numbers})
    if beyond := [number for number in options.target_views if not 0 <= number < total]:
        raise InputError(f"{shown.name} has no view {beyond[0]}; its {total} views count from 0 (--target-views)")
    wanted = set(options.target_views or range(total)) - set(options.exclude_views)
    chosen = sorted((target for target in there if target.number in wanted), key=lambda target: target.number)
    if not chosen:
        raise InputError(f"no view of {shown.name} is left to render; exclude fewer, or name fewer source views")
    if options.max_targets is not None and options.max_targets < len(chosen):
        rows = np.linspace(0, len(chosen) - 1, options.max_targets).round().astype(int)
        chosen = [chosen[row] for row in rows]
    return chosen


def _rendered(model: Any, targets: Sequence[Target], options: Objects) -> "Iterator[tuple[Target, dict[str, Tensor]]]":
    """Targets with what the open scene looks like from there; neighbours of one size are rendered together."""
    import torch

    from nerfseg_plugins.image_based.rendering import render_cameras

    for _, group in groupby(targets, key=lambda target: (id(target.scene), target.scene.size(target.place))):
        same = list(group)
        cameras = same[0].scene.cameras[torch.tensor([target.place for target in same])]
        if options.scale != 1:
            cameras.rescale_output_resolution(options.scale)
        yield from zip(same, render_cameras(model, cameras, ("rgb", "depth"), options.chunk), strict=True)


def lpips_network(name: str, device: Any) -> Any:
    """Two pictures (1, 3, H, W) in [0, 1] -> LPIPS, NaN where the weights of the network cannot be had."""
    from nerfseg_plugins.compat import LazyLPIPS

    network = LazyLPIPS(net_type=name, normalize=True)
    return lambda true, pred: network(true.to(device), pred.to(device))


def print_table(summary: dict[str, Any], title: str) -> None:
    """Objects where there are few, categories, and all together."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for column in ("", "psnr", "ssim", "lpips", "objects", "views"):
        table.add_column(column, justify="right" if column else "left")

    def add(name: str, row: dict[str, Any], count: str) -> None:
        numbers = ["-" if row[key] is None else f"{row[key]:.4f}" for key in ("psnr", "ssim", "lpips")]
        table.add_row(name, *numbers, count, str(row["num_views"]))

    if len(summary["objects"]) <= MOST_ROWS:
        for name, row in summary["objects"].items():
            add(name, row, "")
        table.add_section()
    for name, row in summary["categories"].items():
        add(name, row, str(row["num_objects"]))
    add("all", summary, str(summary["num_objects"]))
    Console().print(table)
