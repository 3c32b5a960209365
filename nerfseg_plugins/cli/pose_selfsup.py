"""`nerfseg pose selfsup`: a scene that finds the poses of photos, and learns from them."""

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from nerfseg_plugins.cli.pose_estimate import print_table
from nerfseg_plugins.cli.pose_options import SearchChanges, open_run
from nerfseg_plugins.cli.views import with_progress
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import read_json, sha256_file, write_json

if TYPE_CHECKING:
    from nerfseg_plugins.inerf.output.report import Entry
    from nerfseg_plugins.inerf.query import Query
    from nerfseg_plugins.scene.run import Run


@dataclass
class PoseSelfsup:
    """Train on a fraction of a capture, find the poses of the other photos, train again on all that were found.

    What is done already is kept: an interrupted command continues when it is started again.
    """

    load_config: Path
    """config.yml of a run on the whole capture: its method, settings, data and held-out views are used, not its
    weights."""
    output_path: Path = Path("selfsup")
    """Folder to write into; the runs go into runs/."""
    label_fraction: float = 0.25
    """Share of the training views whose poses are given; which, the seed decides."""
    train_steps: Optional[int] = None
    """Steps of each training; unset: as many as the run had."""
    oracle: bool = False
    """Whether to train on all true poses as well, which is as good as it can get."""
    search: SearchChanges = field(default_factory=SearchChanges)
    """What to change in the preset best."""

    def main(self) -> None:
        """Train, estimate, train again, and print a table of PSNRs.

        Raises:
            InputError: the run or a setting cannot be used.
        """
        from nerfseg_plugins.inerf.output.outcome import figures
        from nerfseg_plugins.inerf.protocol import views_as_queries
        from nerfseg_plugins.inerf.selfsup import accepted, choose, write_views

        config = self.search.changed("best")
        if self.train_steps is not None and self.train_steps < 1:
            raise InputError(f"--train-steps is {self.train_steps}; give 1 or more")
        whole = open_run(self.load_config)
        images = [Path(path) for path in whole.dataset("train").image_filenames]
        labelled = choose(len(images), self.label_fraction, self.search.seed)
        self._check_folder([images[row] for row in labelled])
        psnr: dict[str, float] = {}

        views = self.output_path / "views"
        write_views(views / "labelled.json", [images[row] for row in labelled])
        run = self._train("labelled", psnr)
        queries = views_as_queries(whole, "train", [row for row in range(len(images)) if row not in labelled])
        entries = self._estimate(run, queries, config)
        print_table(entries, run.transform[1])
        found = figures(entries, run.transform[1])
        print(
            f"{found['converged']} of {len(queries)} photos without a pose were accepted; of these "
            f"{found['errors']['converged_precision'] or 0:.0%} are off by less than 5 degrees and 0.05 scene units"
        )
        if good := accepted(entries):
            write_views(views / "selfsup.json", [images[row] for row in labelled], good)
            self._train("selfsup", psnr)
        else:
            print("no pose was accepted, so there is nothing to train again on; give a larger --label-fraction")
        if self.oracle:
            write_views(views / "oracle.json", images)
            self._train("oracle", psnr)

        counts = {"training_views": len(images), "labelled": len(labelled), "accepted": found["converged"]}
        write_json(self.output_path / "metrics.json", {"psnr": psnr, **counts, "poses": found})
        self._print_psnr(psnr, counts)

    def _check_folder(self, labelled: list[Path]) -> None:
        """Keep what decides the trainings beside them, and refuse a folder of others.

        Raises:
            InputError: the folder holds trainings that were made otherwise.
        """
        from nerfseg_plugins.inerf.output.store import first_difference

        settings = {
            "load_config": os.path.abspath(self.load_config),
            "label_fraction": self.label_fraction,
            "train_steps": self.train_steps,
            "seed": self.search.seed,
            "labelled": [str(image) for image in labelled],
        }
        path = self.output_path / "selfsup.json"
        if path.is_file() and (differing := first_difference(read_json(path), settings)):
            raise InputError(
                f"{self.output_path} holds trainings of another {differing}; give --output-path another folder"
            )
        write_json(path, settings)

    def _train(self, name: str, psnr: dict[str, float]) -> "Run":
        """Train, or load what was trained before; its PSNR on the held-out views goes to `psnr`."""
        from nerfseg_plugins.cli.eval import evaluate_run
        from nerfseg_plugins.inerf.selfsup import part_config, train_apart
        from nerfseg_plugins.scene.config_file import read_config

        views = self.output_path / "views" / f"{name}.json"
        whole = read_config(self.load_config)  # a loaded run has put more than settings into its own
        config = part_config(whole, views, self.output_path / "runs", name, self.train_steps)
        run = open_run(train_apart(config))
        value = evaluate_run(run, "val").metrics["psnr"]
        assert value is not None
        psnr[name] = float(value)
        return run

    def _estimate(self, run: "Run", queries: "list[Query]", config: Any) -> "list[Entry]":
        """Estimates of photos whose poses are told to no one but the report."""
        from nerfseg_plugins.inerf.of_run import estimator_of_run
        from nerfseg_plugins.inerf.output.report import RunInfo
        from nerfseg_plugins.inerf.output.store import Results, attempt

        settings = {"checkpoint": sha256_file(run.checkpoint), **dataclasses.asdict(config)}
        results = Results(self.output_path / "found", settings, queries, RunInfo.of(run), overwrite=False)
        todo = [query for query in queries if results.get(query) is None]
        if todo:
            estimator = estimator_of_run(run, config)
            for query in with_progress(todo, len(todo), "estimating poses"):
                results.add(query, attempt(estimator, query))
        return results.entries()

    def _print_psnr(self, psnr: dict[str, float], counts: dict[str, int]) -> None:
        from rich.console import Console
        from rich.table import Table

        views = {
            "labelled": f"{counts['labelled']} with their poses",
            "selfsup": f"{counts['labelled']} with their poses, {counts['accepted']} with poses found",
            "oracle": f"{counts['training_views']} with their poses",
        }
        table = Table(title="PSNR on the held-out views")
        table.add_column("trained on")
        table.add_column("PSNR", justify="right")
        table.add_column("gain", justify="right")
        for name, value in psnr.items():
            table.add_row(views[name], f"{value:.2f}", f"{value - psnr['labelled']:+.2f}")
        Console().print(table)
        print(f"wrote metrics.json, found/poses.json and runs/ into {self.output_path}")
