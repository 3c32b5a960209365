"""The part of `nerfseg eval` that is about hierarchies: label maps of the model against the data's true levels.

A model takes part when it has `label_maps(camera, outputs, granularities)`, which gives (H, W) int32 labels of a view
per granularity, -1 for none; `why_no_ids()` may say why it cannot at present.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from nerfseg_plugins.evaluation.correspondence import ViewCamera
    from nerfseg_plugins.scene.run import Run, View

GRANULARITIES = tuple(round(0.03 * step, 2) for step in range(1, 51))
"""As many as in the original implementation, whose single linkage has joined everything at 0.5."""
NEIGHBOURS = 4
"""Views, the nearest by where they stand, among which the one that sees most of the same is compared."""
MIN_SHARE = 0.02
"""Of a view's pixels that another one must see too."""


def why_no_hierarchy(run: "Run", split: str) -> Optional[str]:
    """One sentence on why there is no hierarchy to measure on the views of a split; None when there is."""
    model: Any = run.pipeline.model
    if not hasattr(model, "label_maps"):
        return f"{run.config.method_name} makes no hierarchy; train a method that does, such as ultrametric"
    if not getattr(model, "head_trained", True):
        return f"the run has reached step {run.step} and its head is not trained yet; train on with --load-dir"
    reason = model.why_no_ids() if hasattr(model, "why_no_ids") else None
    if reason is None and not run.dataset("train" if split == "train" else "val").metadata.get("truth_levels"):
        reason = f"the {split} views have no true ids of groups, objects and parts"
    return reason


class HierarchyEvaluation:
    """Gathers the views of a run whose model and data both know hierarchies; does nothing for others.

    Args:
        run: the loaded run.
        split: whose views are coming.
        granularities: to cut at, fine to coarse.
        sampled_seed: with which the released evaluator's estimates are drawn; None leaves them out.
        label_maps: finds the label maps of a view in another way than the model's own method, by the same arguments.
    """

    def __init__(
        self,
        run: "Run",
        split: str,
        granularities: Sequence[float] = GRANULARITIES,
        sampled_seed: Optional[int] = None,
        label_maps: "Optional[Callable[..., Iterable[np.ndarray]]]" = None,
    ) -> None:
        from nerfseg_plugins.evaluation.hierarchy_report import HierarchyReport

        self._run = run
        self._model: Any = run.pipeline.model
        self._dataset = run.dataset("train" if split == "train" else "val")
        self._split = split
        self._granularities = sorted(granularities)
        self._truth: dict[str, Any] = self._dataset.metadata.get("truth_levels") or {}
        self._report = HierarchyReport(seed=sampled_seed)
        self._sampled = sampled_seed is not None
        self._views: dict[int, tuple[dict[str, np.ndarray], list[np.ndarray], Any]] = {}
        self._label_maps = label_maps or getattr(self._model, "label_maps", None)
        self.reason = None if label_maps is not None else why_no_hierarchy(run, split)
        """One sentence on why there are no such metrics; None when there are."""

    def add(self, view: "View") -> None:
        """Measure one view, and keep its label maps for the comparison of views.

        Raises:
            InputError: a file of true ids is damaged or does not fit its image.
        """
        if self.reason is not None:
            return
        size = view.outputs["rgb"].shape[:2]
        levels = self._levels(view.index, (int(size[0]), int(size[1])))
        if not levels:
            return
        maps = self._maps(view.camera, view.outputs)
        self._report.add(levels, maps)
        self._views[view.index] = (levels, maps, view.camera)

    def metrics(self) -> dict[str, Optional[float]]:
        """What `HierarchyReport` says, the views compared with one another; empty where `reason` says why.

        Views are compared with their rotated ones where the data have these, else with those that stand nearest.

        Raises:
            InputError: a depth map is damaged or does not fit its image.
        """
        if self.reason is not None:
            return {}
        if not self._compare_rotated():
            self._compare_neighbours()
        sampled = {f"{key}_sampled": value for key, value in self._report.sampled().items()} if self._sampled else {}
        return {**self._report.metrics(), **sampled}

    def _levels(self, index: int, size: tuple[int, int]) -> "dict[str, np.ndarray]":
        from nerfseg_plugins.dataparsers.truth_levels import read_level

        found = {}
        for name, level in self._truth.items():
            ids = read_level(level, index)
            if ids is not None:
                found[name] = self._fit(ids, size, level.files[index])
        return found

    def _maps(self, camera: Any, outputs: dict[str, Any]) -> "list[np.ndarray]":
        import numpy as np

        assert self._label_maps is not None, "reason says that there are none"
        maps = [np.asarray(labels) for labels in self._label_maps(camera, outputs, self._granularities)]
        # They are kept until all views are there.
        return [labels.astype(np.int16) if labels.max() < 1 << 15 else labels for labels in maps]

    def _fit(self, array: "np.ndarray", size: tuple[int, int], path: Path) -> "np.ndarray":
        """The array at the size at which views are rendered, which may be smaller than the images."""
        import numpy as np

        scale = getattr(self._run.config.pipeline.datamanager, "camera_res_scale_factor", 1.0)
        if array.shape == size:
            return array
        if max(abs(have * scale - want) for have, want in zip(array.shape, size, strict=True)) >= 1:
            raise InputError(
                f"{path} is {array.shape[1]}x{array.shape[0]} pixels but its view is {size[1]}x{size[0]}; "
                "make it at the size of the images"
            )
        rows, columns = (
            ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, array.shape, strict=True)
        )
        return array[rows][:, columns]

    def _depth(self, index: int) -> "Optional[np.ndarray]":
        """(H, W) z-depth of a view in scene units, 0 where nothing is; None where the data lack it."""
        from nerfseg_plugins.dataparsers.depth_files import read_depth

        files = self._dataset.metadata.get("z_depth_filenames") or []
        path = files[index] if files else None
        if path is None:
            return None
        _, maps, _ = self._views[index]
        size = (maps[0].shape[0], maps[0].shape[1])
        return self._fit(read_depth(path), size, path) * float(self._dataset.metadata["z_depth_scale"])

    # Pairs of views --------------------------------------------------------------------------------------------------

    def _compare_neighbours(self) -> None:
        import numpy as np

        from nerfseg_plugins.evaluation.correspondence import correspond

        depths = {index: depth for index in self._views if (depth := self._depth(index)) is not None}
        cameras = {index: view_camera(self._views[index][2]) for index in depths}
        cameras = {index: camera for index, camera in cameras.items() if camera is not None}
        for index, camera in cameras.items():
            others = [other for other in cameras if other != index]
            others.sort(key=lambda other: float(np.linalg.norm(cameras[other].c2w[:, 3] - camera.c2w[:, 3])))
            found = [
                (other, correspond(depths[index], camera, depths[other], cameras[other]))
                for other in others[:NEIGHBOURS]
            ]
            other, pairs = max(found, key=lambda item: len(item[1].pixels_a), default=(index, None))
            if pairs is not None and len(pairs.pixels_a) >= MIN_SHARE * np.count_nonzero(depths[index]):
                levels, maps, _ = self._views[index]
                self._report.add_pair(levels, maps, self._views[other][1], pairs)

    def _compare_rotated(self) -> bool:
        """Compare with the rotated views that Blender-HS has of the held-out ones; whether there are any."""
        visible = self._dataset.metadata.get("visible_filenames")
        if self._split == "train" or not visible:
            return False
        settings: Any = self._run.config.pipeline.datamanager
        parser = settings.dataparser.setup()
        if not getattr(parser, "has_rotated_views", lambda: False)():
            return False
        rotated = parser.get_dataparser_outputs("rotate")
        files = rotated.metadata.get("visible_filenames") or []
        compared = False
        for index in self._views:
            if index < len(files) and visible[index] is not None and files[index] is not None:
                compared |= self._compare_with(index, rotated.cameras[index : index + 1], visible[index], files[index])
        return compared

    def _compare_with(self, index: int, camera: Any, visible: Path, visible_there: Path) -> bool:
        import torch

        from nerfseg_plugins.dataparsers.depth_files import read_visible
        from nerfseg_plugins.evaluation.correspondence import Correspondence, transfer

        depth = self._depth(index)
        levels, maps, here = self._views[index]
        camera.rescale_output_resolution(int(here.width) / int(camera.width))
        ours, theirs = view_camera(here), view_camera(camera)
        if depth is None or ours is None or theirs is None:
            return False
        size = (int(camera.height), int(camera.width))
        pairs, _ = transfer(depth, ours, theirs, size)
        seen = read_visible(visible, (depth.shape[0], depth.shape[1])).reshape(-1)[pairs.pixels_a]
        pairs = Correspondence(pairs.pixels_a[seen], pairs.pixels_b[seen])
        asked = read_visible(visible_there, size).reshape(-1)[pairs.pixels_b]
        with torch.no_grad():
            outputs = self._model.get_outputs_for_camera(camera.to(self._run.pipeline.device))
        outputs = {name: value.cpu() for name, value in outputs.items()}
        self._report.add_pair(levels, maps, self._maps(camera.to("cpu"), outputs), pairs, asked)
        return True


def view_camera(camera: Any) -> "Optional[ViewCamera]":
    """One nerfstudio camera (batch of 1) as the evaluation has it; None for lenses that are no perspective."""
    from nerfstudio.cameras.cameras import CameraType

    from nerfseg_plugins.evaluation.correspondence import ViewCamera

    if int(camera.camera_type) != CameraType.PERSPECTIVE.value:
        return None
    bent = camera.distortion_params
    return ViewCamera(
        camera.camera_to_worlds.reshape(3, 4).double().numpy(),
        float(camera.fx),
        float(camera.fy),
        float(camera.cx),
        float(camera.cy),
        None if bent is None or not bool(bent.any()) else tuple(bent.reshape(-1).tolist()),
    )
