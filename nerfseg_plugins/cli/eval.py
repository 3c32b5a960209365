"""`nerfseg eval`: every metric that the scene's ground truth allows, as JSON."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Optional

from nerfseg_plugins.cli.views import output_names, rendered, why_no_ids
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path, write_json

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from nerfseg_plugins.evaluation.report import Metrics, ViewRecord
    from nerfseg_plugins.scene.run import Run, View


@dataclass
class Eval:
    """Measure a run: image quality, and instances against the data's own masks."""

    load_config: Path
    """config.yml of the run."""
    output_path: Path = Path("metrics.json")
    """JSON file to write; metrics that the data or the method do not allow are null."""
    split: Literal["train", "val", "test"] = "val"
    """Views to measure on."""
    images: Optional[Path] = None
    """Folder for pictures to look at: photo, rendering, predicted and true instances side by side."""
    render_stride: int = 1
    """Render and measure only every n-th pixel of every n-th row, where views are slow to render."""
    llffhold: Optional[int] = None
    """Hold out every n-th view instead of those that the run held out, where the parser holds views out by a count."""
    granularities: tuple[float, ...] = ()
    """Hierarchies: where to cut, fine to coarse; unset: 0.03, 0.06 ... 1.5."""
    sampled_seed: Optional[int] = None
    """Hierarchies: seed with which nc and vc are also drawn as the original evaluator does, to compare with its figures
    alone; unset: they are not."""
    legacy_pq: bool = False
    """Whether to print PQ also as the original Instance-NeRF computes it, to compare with its figures alone."""

    def main(self) -> None:
        """Render, measure, print a table and write the JSON file.

        Raises:
            InputError: the run or its data cannot be used.
        """
        from nerfseg_plugins.cli.eval_hierarchy import why_no_hierarchy
        from nerfseg_plugins.scene.run import load_run

        if self.output_path.suffix.lower() != ".json":
            raise InputError(f"{self.output_path} must end in .json")
        if self.render_stride < 1:
            raise InputError(f"--render-stride is {self.render_stride}; give 1 or more")
        run = load_run(self.load_config, test_mode="test" if self.split == "test" else "val", change=self.hold_out)
        if self.render_stride > 1 and why_no_hierarchy(run, self.split) is None:
            raise InputError("hierarchies are measured on whole views; leave out --render-stride")
        metrics, reason, legacy_pq = evaluate_run(
            run, self.split, self.images, self.granularities, self.sampled_seed, self.render_stride
        )
        write_json(self.output_path, metrics)
        _print_table(metrics, f"{run.config.method_name}, step {run.step}, {self.split} views")
        if reason:
            print(f"no instance metrics: {reason}")
        lacking = why_no_hierarchy(run, self.split)
        if lacking and hasattr(run.pipeline.model, "label_maps"):
            print(f"no metrics of hierarchies: {lacking}")
        if self.legacy_pq and legacy_pq is not None:
            print(f"PQ of the original implementation, not comparable with the others: {legacy_pq:.4f}")
        print(f"wrote {self.output_path}" + (f" and pictures into {self.images}" if self.images else ""))

    def hold_out(self, config: Any) -> None:
        """Change which views the configuration holds out."""
        if self.llffhold is None:
            return
        parser = config.pipeline.datamanager.dataparser
        if not hasattr(parser, "eval_interval"):
            raise InputError(
                f"the data of {self.load_config} are read by {type(parser).__name__}, which holds out no n-th view; "
                "leave out --llffhold"
            )
        parser.eval_interval = self.llffhold
        if hasattr(parser, "eval_mode"):
            parser.eval_mode = "interval"


class Evaluation(NamedTuple):
    """What `evaluate_run` finds."""

    metrics: "Metrics"
    """By the keys of `evaluation.report.METRIC_NAMES`, and those of single levels where there is a hierarchy."""
    reason: Optional[str]
    """One sentence on why there are no instance metrics; None when there are."""
    legacy_pq: Optional[float]
    """PQ with the deviations of the original implementation."""


def evaluate_run(
    run: "Run",
    split: str,
    images: Optional[Path] = None,
    granularities: tuple[float, ...] = (),
    sampled_seed: Optional[int] = None,
    stride: int = 1,
) -> Evaluation:
    """Measure a loaded run.

    Args:
        run: the run, loaded with the test mode of the split.
        split: `train`, or anything else for the held-out views.
        images: folder for comparison pictures.
        granularities: at which hierarchies are cut; a fixed series when empty.
        sampled_seed: with which `nc_sampled` and `vc_sampled` are drawn; they are left out without it.
        stride: only every n-th pixel of every n-th row is rendered and measured.

    Raises:
        InputError: a true mask cannot be read or does not fit its image.
    """
    from nerfseg_plugins.cli.eval_hierarchy import GRANULARITIES, HierarchyEvaluation
    from nerfseg_plugins.evaluation.panoptic import best_assignment
    from nerfseg_plugins.evaluation.report import Report

    part = "train" if split == "train" else "val"
    dataset = run.dataset(part)
    truth: list[Optional[Path]] = dataset.metadata.get("truth_filenames") or [None] * len(dataset)
    reason = why_no_ids(run)
    if reason is None and not any(truth):
        reason = f"the {split} views have no true masks; put them into masks/ of the data"
    report = Report(_lpips_of(run))
    hierarchy = HierarchyEvaluation(run, part, granularities or GRANULARITIES, sampled_seed)
    names = output_names([Path(path) for path in dataset.image_filenames], ".png") if images else []
    with tempfile.TemporaryDirectory(prefix="nerfseg-eval-") as scratch:
        for view in rendered(run, part, f"evaluating {split} views", stride=stride):
            record = _record(run, view, truth[view.index], why_no_ids(run) is None, stride)
            report.add(record)
            hierarchy.add(view)
            if images:
                # Which prediction is which true instance, hence its colour, is known when all views are counted.
                _save_record(Path(scratch) / f"{view.index}.npz", record, feature_pictures(run, view))
        if images:
            matched = {p: t for p, (t, _) in best_assignment(report.scene).items()}
            for index, name in enumerate(names):
                _write_picture(images / name, Path(scratch) / f"{index}.npz", matched)
    predicted, true = classes_of(run, dataset)
    # The hierarchy first: the report tells how many seconds have passed.
    found = hierarchy.metrics()
    metrics = report.metrics(predicted, true)
    metrics.update(found)
    return Evaluation(metrics, reason, report.legacy_pq(predicted, true))


def classes_of(run: "Run", dataset: Any) -> tuple[Optional[dict[int, int]], Optional[dict[int, int]]]:
    """Classes of predicted and of true instances, None where nobody knows them.

    The data tell the classes of their own masks. A model that learned from these masks has the same ids, unless it
    numbers instances itself; any other model may know the classes of its instances (`instance_classes`).
    """
    config: Any = run.config.pipeline
    own_truth = Path(getattr(config.datamanager.dataparser, "truth", "masks")) == Path("masks")
    true = dataset.metadata.get("instance_classes") if own_truth else None
    predicted = getattr(run.pipeline.model, "instance_classes", None)
    if predicted is None and getattr(config.model, "label_mode", "scene") == "scene":
        learned = _folders(run.dataset("train").metadata.get("mask_filenames"))
        if learned and learned == _folders(dataset.metadata.get("truth_filenames")):
            predicted = true
    return predicted, true


def _folders(paths: "Optional[list[Optional[Path]]]") -> set[Path]:
    return {Path(path).parent for path in paths or [] if path is not None}


def _record(run: "Run", view: "View", truth: Optional[Path], segments: bool, stride: int = 1) -> "ViewRecord":
    from nerfseg_plugins.evaluation.report import ViewRecord
    from nerfseg_plugins.segments.masks import check_mask, read_ids

    model: Any = run.pipeline.model
    photo = view.batch["image"].cpu().float()
    whole = (photo.shape[0], photo.shape[1])
    photo = photo[::stride, ::stride]
    if photo.shape[-1] == 4:
        photo = model.renderer_rgb.blend_background(photo)
    ids_true = None
    if truth is not None:
        ids_true = read_ids(truth)
        check_mask(ids_true, whole, truth)
        ids_true = ids_true[::stride, ::stride]
    ids_pred = model.predict_ids(view.outputs).cpu().numpy() if segments else None
    return ViewRecord(view.outputs["rgb"].cpu(), photo, ids_pred, ids_true)


def _lpips_of(run: "Run") -> "Optional[Callable[[Tensor, Tensor], Tensor]]":
    """The model's own LPIPS, called where its weights are; None when it has none."""
    model: Any = run.pipeline.model
    network = getattr(model, "lpips", None)
    if network is None:
        return None
    return lambda true, pred: network(true.to(model.device), pred.to(model.device))


def feature_pictures(run: "Run", view: "View") -> "dict[str, np.ndarray]":
    """Rendered features of a view in colours, and in the same colours the 2D features of its photo where it has some.

    Returns:
        uint8 (H, W, 3) by name; none where the run renders no features of unseen scenes.
    """
    import torch

    model: Any = run.pipeline.model
    scene = getattr(run.pipeline.datamanager, "held_out", None)
    if scene is None or "feature_colormap" not in view.outputs:
        return {}
    pictures = {"features_rendered": _bytes(view.outputs["feature_colormap"].numpy())}
    if scene.features is not None:
        height, width = view.outputs["rgb"].shape[:2]
        found = torch.from_numpy(scene.features.map(view.index)).float().permute(2, 0, 1)[None]
        found = torch.nn.functional.interpolate(found, (height, width), mode="nearest")[0].permute(1, 2, 0)
        colors = model.feature_colors(found.to(model.device), found.any(dim=-1, keepdim=True).to(model.device))
        pictures["features_photo"] = _bytes(colors.cpu().numpy())
    return pictures


def _save_record(path: Path, record: "ViewRecord", further: "dict[str, np.ndarray]") -> None:
    import numpy as np

    arrays = {"photo": _bytes(record.rgb_true.numpy()), "rendering": _bytes(record.rgb_pred.numpy())}
    for name, ids in (("ids_pred", record.ids_pred), ("ids_true", record.ids_true)):
        if ids is not None:
            arrays[name] = ids.astype(np.int32)
    np.savez_compressed(path, **arrays, **further)  # type: ignore[arg-type]


def _write_picture(path: Path, record: Path, matched: dict[int, int]) -> None:
    """Photo, rendering, features of both, predicted ids in the colours of their true instances, true ids; what is
    missing is left out."""
    import numpy as np
    from PIL import Image

    from nerfseg_plugins.scene.colors import ids_to_colors, palette

    with np.load(record, allow_pickle=False) as stored:
        panels = [stored["photo"], stored["rendering"]]
        panels += [stored[name] for name in ("features_photo", "features_rendered") if name in stored]
        maps = []
        if "ids_pred" in stored:
            maps.append(rename_ids(stored["ids_pred"], matched))
        if "ids_true" in stored:
            maps.append(stored["ids_true"])
    panels += [_bytes(ids_to_colors(ids, palette(int(ids.max()) + 1))) for ids in maps]
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(panels, axis=1)).save(temporary)


def rename_ids(ids: "np.ndarray", matched: dict[int, int]) -> "np.ndarray":
    """Give predicted instances the ids of their true ones, and the unmatched ones ids that no match has.

    Args:
        ids: (H, W) int32, -1 and 0 stay.
        matched: predicted id -> true id, one-to-one.

    Returns:
        (H, W) int32; an unmatched id p becomes p plus the largest true id.
    """
    import numpy as np

    found, place = np.unique(ids, return_inverse=True)
    beyond = max(matched.values(), default=0)
    renamed = [i if i <= 0 else matched.get(i, i + beyond) for i in found.tolist()]
    return np.array(renamed, np.int32)[place.reshape(ids.shape)]


def _bytes(image: "np.ndarray") -> "np.ndarray":
    """Float picture in [0, 1] -> uint8."""
    return (image.clip(0, 1) * 255 + 0.5).astype("uint8")


def _print_table(metrics: "Metrics", title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for column in ("metric", "value"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, value in metrics.items():
        if value is not None:
            table.add_row(name, str(value) if isinstance(value, int) else f"{value:.4f}")
    Console().print(table)
