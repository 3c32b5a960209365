"""`nerfseg pose estimate`: the cameras of photos."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nerfseg_plugins.cli.pictures import contact_sheet
from nerfseg_plugins.cli.pose_options import PhotoOptions, SearchOptions, not_trusted, open_run
from nerfseg_plugins.cli.views import with_progress
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import sha256_file, write_json

if TYPE_CHECKING:
    from nerfseg_plugins.inerf.config import PoseConfig
    from nerfseg_plugins.inerf.estimate import Estimator
    from nerfseg_plugins.inerf.output.report import Entry
    from nerfseg_plugins.inerf.query import Query
    from nerfseg_plugins.inerf.result import Estimate
    from nerfseg_plugins.scene.run import Run

FRAMES, HOLD = 24, 10
"""Frames of an overlay on the way to the estimate, and of the estimate itself at the end."""


@dataclass
class PoseEstimate:
    """Find the cameras of photos: poses.json, and for each photo a comparison and a moving overlay.

    What is done already is kept: an interrupted command continues when it is started again.
    """

    load_config: Path
    """config.yml of the run."""
    photos: PhotoOptions
    """Which photos."""
    search: SearchOptions = field(default_factory=SearchOptions)
    """How to search."""
    output_path: Path = Path("poses")
    """Folder to write into."""
    overlay: Literal["mp4", "gif", "none"] = "mp4"
    """Kind of the moving overlays."""
    picture_size: int = 200
    """Pixels of the longer side of comparisons and overlays."""
    overwrite: bool = False
    """Whether to begin anew where the folder holds poses that were found with other settings."""

    def main(self) -> None:
        """Estimate, write, and print a table.

        Raises:
            InputError: the run, the photos or the settings cannot be used.
        """
        from nerfseg_plugins.inerf.output.outcome import figures
        from nerfseg_plugins.inerf.output.report import RunInfo, convergence_plot
        from nerfseg_plugins.inerf.output.store import Results

        config = self.search.config()
        if self.picture_size < 16:
            raise InputError(f"--picture-size is {self.picture_size}; give 16 or more")
        run = open_run(self.load_config)
        queries = self.photos.read(run)
        check_starts(queries, config)
        settings = {"checkpoint": sha256_file(run.checkpoint), **dataclasses.asdict(config)}
        results = Results(self.output_path, settings, queries, RunInfo.of(run), self.overwrite)
        self._estimate(run, queries, config, results)

        entries = results.entries()
        if any(estimate.trajectory for _, estimate in entries):
            convergence_plot(self.output_path / "convergence.png", entries)
        write_json(self.output_path / "metrics.json", figures(entries, run.transform[1]))
        print_table(entries, run.transform[1])
        bad = [query.name for query, estimate in entries if not estimate.converged]
        print(
            f"{len(entries) - len(bad)} of {len(entries)} photos converged", not_trusted(bad), sep="\n" if bad else ""
        )
        print(f"wrote poses.json, metrics.json and pictures into {self.output_path}")

    def _estimate(self, run: "Run", queries: "list[Query]", config: "PoseConfig", results: Any) -> None:
        """Estimate what is not done yet, and draw what is not drawn yet."""
        from nerfseg_plugins.inerf.of_run import estimator_of_run
        from nerfseg_plugins.inerf.output.store import attempt

        todo = [query for query in queries if results.get(query) is None or not self._drawn(query, results.get(query))]
        if len(todo) < len(queries):
            print(f"{len(queries) - len(todo)} of {len(queries)} photos are done already")
        if not todo:
            return
        estimator = estimator_of_run(run, config)
        for query in with_progress(todo, len(todo), "estimating poses"):
            estimate = results.get(query)
            if estimate is None:
                estimate = attempt(estimator, query)
                results.add(query, estimate)
            self._draw(estimator, query, estimate)

    def _drawn(self, query: "Query", estimate: "Estimate") -> bool:
        return all(path.is_file() for path in self._pictures(query)) or not estimate.c2w.isfinite().all()

    def _pictures(self, query: "Query") -> list[Path]:
        suffixes = ["png", *([] if self.overlay == "none" else [self.overlay])]
        return [self.output_path / f"{query.name}.{suffix}" for suffix in suffixes]

    def _draw(self, estimator: "Estimator", query: "Query", estimate: "Estimate") -> None:
        """The comparison, and the moving overlay whose last frames show the scene itself."""
        from nerfseg_plugins.inerf.output.pictures import TITLES, comparison, exposed, reduced, rendering, way_there
        from nerfseg_plugins.scene.video import write_moving

        if not estimate.c2w.isfinite().all():
            return
        small = reduced(query, self.picture_size)
        final = exposed(rendering(estimator.scene, small, estimate.c2w), estimate.exposure)
        panels = comparison(small.image, final)
        contact_sheet(self._pictures(query)[0], TITLES, [panels])
        for path in self._pictures(query)[1:]:
            coarse = estimator.levels[-1] if estimator.levels else estimator.scene
            frames = way_there(coarse, small, estimate, FRAMES)
            write_moving(path, [*frames, *[panels[TITLES.index("overlay")]] * HOLD], fps=10)


def check_starts(queries: "Sequence[Query]", config: "PoseConfig") -> None:
    """Refuse photos without a pose to start from where nothing else is tried.

    Raises:
        InputError: one has none.
    """
    lacking = [query for query in queries if query.start is None]
    if config.init == "start" and lacking:
        raise InputError(
            f"{lacking[0].path} has no pose to start from; give --start FILE.json, or search without one: --preset best"
        )


def print_table(entries: "Sequence[Entry]", scale: float) -> None:
    """One row per photo: whether it converged, its residual, standard deviations, seconds, and why."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    measured = any(query.truth is not None for query, _ in entries)
    title = f"± one standard deviation, {'off by the truth, ' if measured else ''}data units and degrees"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("photo", "ok", "residual", "±", "±°", *(("off", "off°") if measured else ()), "s"):
        table.add_column(column, justify="left" if column in ("photo", "ok") else "right", no_wrap=True)
    table.add_column("why", min_width=16, overflow="fold")
    for query, estimate in entries:
        position, turn = deviations(estimate)
        cells = [f"{estimate.residual:.3f}", f"{position / scale:.2g}", f"{turn:.2g}"]
        cells += [*(errors(query, estimate, scale) if measured else []), f"{estimate.seconds:.1f}"]
        table.add_row(query.name, "yes" if estimate.converged else "NO", *cells, estimate.reason)
    Console().print(table)


def deviations(estimate: "Estimate") -> tuple[float, float]:
    """Standard deviations of position (scene units) and rotation (degrees), over all axes, by the covariance."""
    variances = estimate.covariance.diagonal()
    return float(variances[:3].sum().sqrt()), math.degrees(float(variances[3:].sum().sqrt()))


def errors(query: "Query", estimate: "Estimate", scale: float) -> list[str]:
    """How far off an estimate is, position (data units) and degrees; nothing where the truth is not known."""
    from nerfseg_plugins.evaluation.poses import rotation_error_degrees, translation_error

    if query.truth is None:
        return ["", ""]
    pair = estimate.c2w.numpy()[None], query.truth.cpu().numpy()[None]
    return [f"{translation_error(*pair)[0] / scale:.3g}", f"{rotation_error_degrees(*pair)[0]:.3g}"]
