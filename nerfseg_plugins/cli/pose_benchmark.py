"""`nerfseg pose benchmark`: how often and how fast the poses of held-out views are found."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nerfseg_plugins.cli.pose_options import Preset, SearchChanges, open_run
from nerfseg_plugins.cli.views import with_progress
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import write_json

if TYPE_CHECKING:
    from nerfseg_plugins.inerf.protocol import Trial
    from nerfseg_plugins.inerf.query import Query

ROWS = (
    ("trials", "count", "{:d}"),
    ("rotation right", "rotation_rate", "{:.0%}"),
    ("position right", "translation_rate", "{:.0%}"),
    ("both right", "joint_rate", "{:.0%}"),
    ("median degrees off", "rotation_median", "{:.3g}"),
    ("median position off (scene)", "translation_median", "{:.3g}"),
    ("median position off (data)", "translation_median_data", "{:.3g}"),
    ("largest degrees off", "rotation_max", "{:.3g}"),
    ("largest position off (scene)", "translation_max", "{:.3g}"),
    ("converged", "converged_rate", "{:.0%}"),
    ("right where converged", "converged_precision", "{:.0%}"),
    ("converged where right", "converged_recall", "{:.0%}"),
    ("median seconds", "seconds_median", "{:.2f}"),
)
"""Of the table: title, key of the report, format."""


@dataclass
class PoseBenchmark:
    """Estimate held-out views of a run from starts around their true poses, and print one table of all presets."""

    load_config: Path
    """config.yml of the run."""
    output_path: Path = Path("benchmark.json")
    """JSON file to write: settings, figures and all trials."""
    protocol: Literal["synthetic", "forward", "small", "category", "truth", "global"] = "synthetic"
    """Starts. synthetic: up to 40 degrees about the world's origin, then up to 0.2 scene units along each axis;
    forward: 40 degrees and 0.1; small: 10 degrees and 0.05; category: 30 degrees and 0; truth: the true pose; global:
    none is given."""
    presets: tuple[Preset, ...] = ("best", "lm", "adam", "classic")
    """What to compare; with global: best alone, the others need a start."""
    views: int = 5
    """Views, spread evenly over the split."""
    starts: int = 5
    """Starts of each view."""
    split: Literal["val", "test"] = "val"
    """Which held-out views."""
    exposure: float = 1.0
    """Factor on the colours of the photos."""
    green_cast: float = 0.0
    """Green is multiplied by 1 + this, red and blue by 1 - this."""
    occluder: float = 0.0
    """Share of each photo that a textured rectangle covers."""
    max_rotation: float = 5.0
    """A rotation that is off by less, in degrees, is right."""
    max_translation: float = 0.05
    """A position that is off by less is right."""
    unit: Literal["scene", "data"] = "scene"
    """The unit of max_translation: of the scene, which is normalised, or of the data."""
    search: SearchChanges = field(default_factory=SearchChanges)
    """What to change in all presets; the seed is also that of the starts."""

    def main(self) -> None:
        """Run all trials, print the table and write the JSON file.

        Raises:
            InputError: the run or a setting cannot be used.
        """
        from nerfseg_plugins.inerf.protocol import Disturbance, disturbed, draw_starts, held_out_queries, report

        self._check()
        disturbance = Disturbance(self.exposure, self.green_cast, self.occluder)
        found: dict[str, Any] = {}
        records: dict[str, Any] = {}
        for preset in dict.fromkeys(self.presets):
            run = open_run(self.load_config, self.split)  # anew: a preset changes how the model samples
            seed = self.search.seed
            clean = held_out_queries(run, self.views)
            queries = [disturbed(query, disturbance, seed + place) for place, query in enumerate(clean)]
            starts = draw_starts(queries, self.protocol, self.starts, seed)
            done = list(self._trials(run, preset, queries, starts))
            scale = run.transform[1]
            found[preset] = report(done, scale, self.max_rotation, self.max_translation, self.unit)
            records[preset] = [trial.record() for trial in done]
            settings = {**dataclasses.asdict(self), "load_config": str(self.load_config), "step": run.step}
            settings["output_path"] = str(self.output_path)
            write_json(self.output_path, {"settings": settings, "presets": found, "trials": records})
        self._print_table(found)
        print(f"wrote {self.output_path}")

    def _check(self) -> None:
        """Refuse what makes no sense before the run is loaded.

        Raises:
            InputError: a setting makes none.
        """
        if self.output_path.suffix.lower() != ".json":
            raise InputError(f"{self.output_path} must end in .json")
        for name in ("views", "starts"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} is {getattr(self, name)}; give 1 or more")
        if not self.presets:
            raise InputError("--presets names none; give one or more of best, lm, adam, category, classic")
        limits = {"exposure": (0, 100), "green_cast": (-1, 1), "occluder": (-1e-9, 1)}
        for name, (low, high) in limits.items():
            if not low < getattr(self, name) < high:
                option = f"--{name.replace('_', '-')}"
                raise InputError(f"{option} is {getattr(self, name)}; give a number between {round(low)} and {high}")
        for preset in self.presets:
            if self.protocol == "global" and self.search.changed(preset).init in ("start", "around"):
                raise InputError(
                    f"preset {preset} needs a start, and the protocol global gives none; use --presets best"
                )

    def _trials(
        self, run: Any, preset: Preset, queries: "Sequence[Query]", starts: "Sequence[Sequence[Any]]"
    ) -> "Iterator[Trial]":
        from nerfseg_plugins.inerf.of_run import estimator_of_run
        from nerfseg_plugins.inerf.protocol import trials

        estimator = estimator_of_run(run, self.search.changed(preset))
        return with_progress(trials(estimator, queries, starts), len(queries) * self.starts, f"preset {preset}")

    def _print_table(self, found: dict[str, Any]) -> None:
        from rich.console import Console
        from rich.table import Table

        limits = f"right: < {self.max_rotation:g} degrees, < {self.max_translation:g} {self.unit} units"
        table = Table(title=f"{self.protocol}; {limits}")
        for column in ("", *found):
            table.add_column(column, justify="right" if column else "left")
        for title, key, text in ROWS:
            values = [metrics[key] for metrics in found.values()]
            table.add_row(title, *("-" if value is None else text.format(value) for value in values))
        Console().print(table)
