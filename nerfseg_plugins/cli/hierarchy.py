"""`nerfseg hierarchy`: the segments of an ultrametric field at any granularity, as points, tree and masks."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import tyro

from nerfseg_plugins.cli.views import Split, with_progress
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import write_json
from nerfseg_plugins.ultrametric.hierarchy_config import HierarchyConfig

if TYPE_CHECKING:
    from nerfseg_plugins.cli.hierarchy_output import Levels
    from nerfseg_plugins.scene.run import Run

GRANULARITIES = (0.3, 0.6, 0.8, 1.0, 1.2)
"""Where neither granularities nor numbers of segments are asked for."""


@dataclass
class Hierarchy:
    """Write the hierarchy of segments of an ultrametric run: points, tree, and masks that agree between all views.

    RUN/hierarchy.npz is the dendrogram of the scene, RUN/hierarchy.yml shows it in ns-viewer and ns-render. Into
    RUN/hierarchy/ go points.ply, tree.json, masks/GRANULARITY/SPLIT/ (16-bit PNG: 0 nothing, 1 the largest segment),
    and pictures. A run that was stopped goes on where it was.
    """

    load_config: Path
    """config.yml of an ultrametric run."""
    granularities: tuple[float, ...] = ()
    """Distances of features, 0 (finest) to 2 (coarsest), up to which neighbours are of one segment; 0.3 0.6 0.8
    1.0 1.2 where no number of segments is asked for either."""
    num_segments: tuple[int, ...] = ()
    """Numbers of segments; granularities at which there are about so many are added."""
    min_size: int = 30
    """Segments of fewer points are dissolved; their pixels take the nearest segment that is kept."""
    making: Annotated[HierarchyConfig, tyro.conf.arg(name="")] = field(default_factory=HierarchyConfig)
    """How the dendrogram is made."""
    masks: Literal["all", "train", "val", "none"] = "all"
    """Which views get masks."""
    run_seg_inference: bool = False
    """Also segment each held-out view by what it shows alone, into parsing/."""
    render_train: bool = False
    """Also write what the training views show, features, depth and points, into features/."""
    render_train_subsample: int = 1
    """Take every so many-th training view for that."""
    output_path: Optional[Path] = None
    """Folder to write into instead of RUN/hierarchy."""

    def main(self) -> None:
        """Make or read the dendrogram, cut it and write all that was asked for.

        Raises:
            InputError: the run or the numbers cannot be used.
        """
        from nerfseg_plugins.cli.hierarchy_output import prepare, write_features, write_masks, write_parsing
        from nerfseg_plugins.ultrametric.hierarchy_file import write_run_with_hierarchy
        from nerfseg_plugins.ultrametric.kept import HIERARCHY
        from nerfseg_plugins.ultrametric.tree_export import describe_tree, write_points

        self._check()
        run = open_ultrametric_run(self.load_config)
        levels = self._levels(run)
        middle = len(levels.granularities) // 2
        config = write_run_with_hierarchy(
            self.load_config, run.folder / HIERARCHY, levels.granularities[middle], self.min_size
        )
        folder = self.output_path or run.folder / "hierarchy"
        prepare(folder, levels)
        about = (levels.dendrogram, levels.granularities, levels.cuts)
        write_points(folder / "points.ply", *about, middle, run.to_data_frame)
        write_json(folder / "tree.json", describe_tree(*about, self.min_size, run.to_data_frame))
        splits: list[Split] = {"all": ["train", "val"], "none": []}.get(self.masks, [self.masks])  # type: ignore
        written = write_masks(run, folder, splits, levels)
        if self.run_seg_inference:
            write_parsing(run, folder, levels)
        if self.render_train:
            write_features(run, folder, self.render_train_subsample)
        print(levels.summary())
        print(
            f"wrote {run.folder / HIERARCHY}, {config}, and {written} views' masks, points.ply, tree.json in {folder}"
        )
        print(f"next: ns-viewer --load-config {shlex.quote(str(config))}")

    def _check(self) -> None:
        """Refuse what can be refused before anything is loaded."""
        from nerfseg_plugins.ultrametric.dendrogram import check_granularity

        for granularity in self.granularities:
            check_granularity(granularity)
        for count in self.num_segments:
            if count < 1:
                raise InputError(f"--num-segments has {count}; ask for 1 or more")
        if self.min_size < 1:
            raise InputError(f"--min-size is {self.min_size}; it must be 1 or more")
        if self.render_train_subsample < 1:
            raise InputError(f"--render-train-subsample is {self.render_train_subsample}; it must be 1 or more")
        self.making.check()

    def _levels(self, run: "Run") -> "Levels":
        """The dendrogram and its cuts, finest first."""
        from nerfseg_plugins.cli.hierarchy_output import Levels
        from nerfseg_plugins.scene.fingerprint import fingerprint
        from nerfseg_plugins.ultrametric.kept import kept_hierarchy

        model: Any = run.pipeline.model
        cameras = run.dataset("train").cameras

        def bar(views: Any, total: int) -> Any:
            return with_progress(views, total, "surfaces of train views")

        dendrogram = kept_hierarchy(model, cameras, self.making, run.folder, print, bar)
        wanted = self.granularities or (() if self.num_segments else GRANULARITIES)
        found = [dendrogram.granularity_for(count, self.min_size) for count in self.num_segments]
        # Names of folders are made of them.
        granularities = sorted({float(f"{value:.6g}") for value in (*wanted, *found)})
        cuts = [dendrogram.cut(granularity, self.min_size) for granularity in granularities]
        return Levels(dendrogram, granularities, cuts, self.min_size, f"{fingerprint(model)} {self.making}")


def open_ultrametric_run(load_config: Path) -> "Run":
    """Load a run whose features are trained.

    Raises:
        InputError: it cannot be loaded, is of another method, or its head has not been trained.
    """
    from nerfseg_plugins.scene.run import load_run

    run = load_run(load_config, test_mode="val")
    model: Any = run.pipeline.model
    if not hasattr(model.config, "hierarchy"):
        raise InputError(
            f"{load_config} is a run of {run.config.method_name!r}, which has no hierarchy; train ultrametric"
        )
    if not model.head_trained:
        raise InputError(
            f"{load_config}: the run has reached step {run.step} and its features are not trained yet; train on with "
            "--load-dir"
        )
    return run
