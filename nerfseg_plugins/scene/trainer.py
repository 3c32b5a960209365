"""Trainer of a two-stage run.

It takes geometry from another run, resumes to the same total, and never leaves half a checkpoint.
"""

from dataclasses import dataclass, field
from typing import Literal

from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.rich_utils import CONSOLE

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.head_model import HeadModelConfig
from nerfseg_plugins.scene.pipeline import HeadPipeline, HeadPipelineConfig
from nerfseg_plugins.scene.pretrained import adopt_settings, load_geometry
from nerfseg_plugins.scene.resumable import ResumableTrainer, compute_repeatably
from nerfseg_plugins.scene.stages import StageDecay


@dataclass
class HeadTrainerConfig(TrainerConfig):
    """Configuration of a two-stage run; `max_num_iterations` counts both stages, also after a resume."""

    _target: type = field(default_factory=lambda: HeadTrainer)
    """target class to instantiate"""


class HeadTrainer(ResumableTrainer):
    """nerfstudio's trainer for runs of a `HeadModel`."""

    config: HeadTrainerConfig
    instead_of_resuming = "to take over only its geometry, pass --pipeline.pretrained RUN/config.yml"

    @property
    def _pipeline_config(self) -> HeadPipelineConfig:
        config = self.config.pipeline
        assert isinstance(config, HeadPipelineConfig)
        return config

    @property
    def _model_config(self) -> HeadModelConfig:
        config = self._pipeline_config.model
        assert isinstance(config, HeadModelConfig)
        return config

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Build the run; with `pretrained`, in that run's image.

        Raises:
            InputError: the run, a checkpoint or the other run cannot be used.
        """
        compute_repeatably(self.device)
        pretrained = self._pipeline_config.pretrained
        if pretrained is not None:  # also where this run resumes: its own first start adopted them
            adopt_settings(self._model_config, pretrained)
            self.config.save_config()  # with what was adopted: the run must load again without the other one
        super().setup(test_mode)

    def setup_optimizers(self) -> Optimizers:
        """The optimisers, once it is known that both stages can be trained."""
        geometry_steps = self._model_config.geometry_steps
        pipeline = self.pipeline
        assert isinstance(pipeline, HeadPipeline)
        if self.config.max_num_iterations > geometry_steps and (
            lacking := pipeline.head_datamanager.head_lacks() or pipeline.head_model.head_lacks()
        ):
            raise InputError(
                f"the head cannot be trained on {self._pipeline_config.datamanager.data}: {lacking}; geometry alone "
                f"trains with --max-num-iterations {geometry_steps}"
            )
        return super().setup_optimizers()

    def _load_checkpoint(self) -> None:
        """Start from a checkpoint, from another run's geometry, or from nothing."""
        if self._resumes:
            self._resume()
        elif self._pipeline_config.pretrained is not None:
            pipeline = self.pipeline
            assert isinstance(pipeline, HeadPipeline)
            load_geometry(pipeline.head_model, self._pipeline_config.pretrained, pipeline.transform)
            self._start_step = self._model_config.geometry_steps
            CONSOLE.print(f"Geometry taken from {self._pipeline_config.pretrained}; the head starts at once.")
        self._place_schedules()

    def _place_schedules(self) -> None:
        """Tell every schedule its stage's bounds, and set the rates of the first step."""
        for name, scheduler in self.optimizers.schedulers.items():
            optimizer = self.optimizers.optimizers[name]
            scheduler.last_epoch = self._start_step
            for group, rate, decay in zip(
                optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
            ):
                if isinstance(decay, StageDecay):
                    decay.set_bounds(self._model_config.geometry_steps, self.config.max_num_iterations)
                    group["lr"] = rate * decay(self._start_step)

    def write_side_files(self) -> None:
        """What the model writes beside its checkpoints."""
        pipeline = self.pipeline
        assert isinstance(pipeline, HeadPipeline)
        pipeline.head_model.write_side_files(self.base_dir)
