"""Pose inversion as nerfstudio trains: a frozen scene, photos, and poses that are the only parameters."""

import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import torch
import tyro
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import Pipeline, VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from rich.markup import escape
from torch.cuda.amp.grad_scaler import GradScaler
from torch.nn import Parameter

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import sha256_file
from nerfseg_plugins.inerf.config import PoseConfig
from nerfseg_plugins.inerf.method.datamanager import QueryDataManager, QueryDataManagerConfig, QueryDataset
from nerfseg_plugins.inerf.method.inversion import Inversion
from nerfseg_plugins.inerf.method.panel import PosePanel
from nerfseg_plugins.inerf.of_run import background_of, estimator_of_run, training_cameras
from nerfseg_plugins.inerf.output.outcome import write_outcome
from nerfseg_plugins.inerf.query import QueryConfig, read_queries
from nerfseg_plugins.scene.config_file import read_config
from nerfseg_plugins.scene.run import Run, load_run


@dataclass
class InerfPipelineConfig(VanillaPipelineConfig):
    """Configuration of a pose run."""

    _target: type = field(default_factory=lambda: InerfPipeline)
    """target class to instantiate"""
    datamanager: QueryDataManagerConfig = field(default_factory=QueryDataManagerConfig)
    """the photos"""
    load_config: Optional[Path] = None
    """config.yml of the run whose scene the photos show: nerfacto, a method built on it, or what nerfseg open wrote."""
    query: QueryConfig = field(default_factory=QueryConfig)
    """How the photos are read."""
    pose: PoseConfig = field(default_factory=PoseConfig)
    """How poses are found; the rate and decay of the steps are the optimiser's (--optimizers.poses)."""
    slots: int = 8
    """Hypotheses of a photo that are optimised side by side at first."""
    overlay: Literal["mp4", "gif", "none"] = "mp4"
    """Kind of the moving overlay that is written for every photo at the end."""
    steps: tyro.conf.Suppress[int] = 300
    """Of the run; the trainer fills it in."""


class InerfPipeline(VanillaPipeline):
    """Poses of photos in a frozen scene.

    Raises:
        InputError: there is no scene, it cannot be inverted, or a photo cannot be used.
    """

    config: InerfPipelineConfig

    def __init__(
        self,
        config: InerfPipelineConfig,
        device: str,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: Optional[GradScaler] = None,
    ) -> None:
        Pipeline.__init__(self)  # VanillaPipeline's would build a model from a configuration
        if world_size > 1:
            raise InputError("poses are found on one device; pass --machine.num-devices 1")
        self.config, self.test_mode, self.world_size = config, test_mode, world_size
        self.run = _scene_of(config)
        self._model = self.run.pipeline.model
        self._model.config.eval_num_rays_per_chunk = config.model.eval_num_rays_per_chunk
        queries = _photos_of(config, self.run)
        estimator = estimator_of_run(self.run, config.pose)
        scene = sha256_file(self.run.checkpoint)
        self.inversion = Inversion(estimator, queries, config.slots, config.steps, scene)
        config.datamanager.hand_over(QueryDataset(queries, self.run.transform, self._model.scene_box))
        config.datamanager.train_num_rays_per_batch = config.pose.rays * len(queries)
        self.datamanager = config.datamanager.setup(device=device, test_mode=test_mode)
        self._panel = PosePanel(self.inversion, config.steps + config.pose.lm.iterations)
        # From here nerfstudio's viewer shows each in a folder with its own title.
        panels = getattr(self._model, "panels", dict)()
        for title, panel in {"Cameras": self._panel, **panels}.items():
            self.add_module(title, panel)
        self.eval()

    def train(self, mode: bool = True) -> "InerfPipeline":
        """Training changes poses; the scene stays as it is evaluated."""
        super().train(mode)
        self._model.eval()
        return self

    def _as_trained(self) -> AbstractContextManager[Any]:
        """What the viewer hides is there nevertheless."""
        return getattr(self._model, "as_trained", nullcontext)()

    # Training --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Find where to start.

        Raises:
            InputError: there is nowhere to start from.
        """
        CONSOLE.print("Looking for poses to start from ...")
        with self._as_trained():
            self.inversion.begin()
        for query, alive in zip(self.inversion.queries, self.inversion.alive, strict=True):
            CONSOLE.print(escape(f"{query.name}: {int(alive.sum())} to start from"), highlight=False)
        self._follow(force=True)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The poses, and nothing of the scene."""
        return {"poses": [self.inversion.poses.values]}

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """One step of all photos; no outputs, the loss, and what there is to watch.

        Raises:
            InputError: the loss of a photo is not a number.
        """
        with self._as_trained():
            loss = self.inversion(step)
        best = torch.stack([costs.min() for costs in self.inversion.history.costs[-1]])
        metrics = {"cost": best.mean(), "hypotheses": self.inversion.alive.sum().float()}
        return {}, {"photometric": loss}, metrics

    @torch.no_grad()
    def get_eval_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """The last costs of the best poses: there are no other photos to evaluate on."""
        history = self.inversion.history
        best = torch.stack([costs.min() for costs in history.costs[-1]]) if len(history) else torch.zeros(1)
        return {}, {"photometric": best.sum()}, {"cost": best.mean()}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The viewer follows every step; at the end poses are polished, judged and written."""
        trainer: Any = training_callback_attributes.trainer

        def end(step: int) -> None:
            self.finish(trainer.base_dir, trainer.train_lock)
            trainer.save_checkpoint(step)

        return [
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], lambda step: self._follow()),
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN], end),
        ]

    def finish(self, folder: Path, lock: AbstractContextManager[Any]) -> None:
        """Polish and judge every pose, and write poses.json, pictures and metrics.json.

        Args:
            folder: the run's.
            lock: held while the scene is rendered, photo by photo.
        """
        inversion = self.inversion
        if len(inversion.estimates) != len(inversion.queries):
            found = []
            for photo in range(len(inversion.queries)):
                with lock, self._as_trained():
                    found.append(inversion.finish(photo))
            inversion.finished(found)
        self._follow(force=True)
        entries = list(zip(inversion.queries, inversion.estimates, strict=True))
        with self._as_trained():
            write_outcome(folder, entries, self.run, inversion.estimator, self.config.overlay)

    def _follow(self, force: bool = False) -> None:
        manager = self.datamanager
        assert isinstance(manager, QueryDataManager)
        manager.place(self.inversion.best())
        self._panel.follow(force)

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The poses; the scene is in its own run."""
        state = super().state_dict(*args, **kwargs)
        return {key: value for key, value in state.items() if key.startswith("inversion.")}

    def load_pipeline(self, loaded_state: Mapping[str, Any], step: int) -> None:
        """Take over poses.

        Raises:
            InputError: they are of other photos, of another scene, or of other options.
        """
        prefix = "inversion."
        state = {key.removeprefix(prefix): value for key, value in loaded_state.items() if key.startswith(prefix)}
        refusal = self.inversion.refusal(state.get("_extra_state"))
        if refusal is not None:
            raise InputError(
                f"{refusal}; load it with the --data and --pipeline.load-config that it was made with, or begin anew "
                "without --load-dir"
            )
        try:
            self.inversion.load_state_dict(state)
        except RuntimeError as error:  # how torch reports other shapes
            raise InputError("it was made with other --pipeline.slots or parameters; use those") from error
        self._follow(force=True)


def _scene_of(config: InerfPipelineConfig) -> Run:
    """The run whose scene is inverted."""
    path = config.load_config
    if path is None:
        raise InputError("no scene was given; pass --pipeline.load-config RUN/config.yml")
    found = read_config(path)
    if isinstance(found.pipeline, InerfPipelineConfig):
        raise InputError(f"{path} is a run of poses; pass the run of its scene, {found.pipeline.load_config}")
    if isinstance(found.pipeline.datamanager, FullImageDatamanagerConfig):
        raise InputError(
            f"{path} is a run of {found.method_name}, which renders whole images, not rays; pass a run of nerfacto or "
            "of a method built on it"
        )
    return load_run(path, "inference")


def _photos_of(config: InerfPipelineConfig, run: Run) -> list[Any]:
    """The queries, in front of the background that the run gives its own photos."""
    data = config.datamanager.data
    if data is None:
        raise InputError("no photo was given; pass --data with an image, a folder of images or a transforms.json")
    query = dataclasses.replace(config.query, background=background_of(run))
    return read_queries(data, run.transform, query, training_cameras(run), run.pipeline.device)
