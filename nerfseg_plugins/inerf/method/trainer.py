"""Trainer of poses: its steps move cameras, and its checkpoints hold nothing else."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.engine.schedulers import LRScheduler, Scheduler, SchedulerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.inerf.method.pipeline import InerfPipeline, InerfPipelineConfig
from nerfseg_plugins.scene.checkpoint import find_checkpoint, read_checkpoint
from nerfseg_plugins.scene.resumable import ResumableTrainer


@dataclass
class PoseDecaySchedulerConfig(SchedulerConfig):
    """iNeRF's schedule: exponential decay."""

    _target: type = field(default_factory=lambda: PoseDecayScheduler)
    """target class to instantiate"""
    decay: float = 0.8
    """Factor on the learning rate every 100 steps."""


class PoseDecayScheduler(Scheduler):
    """Builds the torch scheduler of a `PoseDecaySchedulerConfig`."""

    config: PoseDecaySchedulerConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        """Exponential decay."""
        return ExponentialLR(optimizer, gamma=self.config.decay**0.01)


@dataclass
class InerfTrainerConfig(TrainerConfig):
    """Configuration of a pose run; `max_num_iterations` counts all steps, also after a resume."""

    _target: type = field(default_factory=lambda: InerfTrainer)
    """target class to instantiate"""


class InerfTrainer(ResumableTrainer):
    """nerfstudio's trainer, for poses in a frozen scene."""

    config: InerfTrainerConfig

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Load the scene and the photos, and find where to start.

        Raises:
            InputError: the scene's run, the photos or a checkpoint cannot be used.
        """
        config = self.config.pipeline
        assert isinstance(config, InerfPipelineConfig)
        config.steps = self.config.max_num_iterations
        # The run is loaded again from anywhere.
        config.load_config = None if config.load_config is None else config.load_config.absolute()
        config.datamanager.data = None if config.datamanager.data is None else Path(config.datamanager.data).absolute()
        self.config.save_config()
        super().setup(test_mode)

    @property
    def _poses(self) -> InerfPipeline:
        pipeline = self.pipeline
        assert isinstance(pipeline, InerfPipeline)
        return pipeline

    def _load_checkpoint(self) -> None:
        """Continue from a checkpoint, or begin."""
        config = self.config
        path = config.load_checkpoint
        if path is None and config.load_dir is not None:
            path = find_checkpoint(config.load_dir, config.load_step)
        if path is None:
            self._poses.begin()
            return
        state = read_checkpoint(path)
        try:
            self.pipeline.load_pipeline(state["pipeline"], state["step"])
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        self.optimizers.load_optimizers(state["optimizers"])
        if config.load_scheduler:
            self.optimizers.load_schedulers(state["schedulers"])
        self._start_step = state["step"] + 1
        CONSOLE.print(f"Resumed from {path}")

    def finished_already(self) -> None:
        """Write and show what a finished run has found; it may have been stopped in between."""
        self.step, self.training_state = self._start_step - 1, "completed"
        self._init_viewer_state()
        for callback in self.callbacks:
            callback.run_callback_at_location(self.step, TrainingCallbackLocation.AFTER_TRAIN)
        if not self.config.viewer.quit_on_train_completion:
            self._train_complete_viewer()
