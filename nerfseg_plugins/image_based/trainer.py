"""Trainer of image-based methods."""

from dataclasses import dataclass, field
from typing import Any, Literal

from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.misc import step_check
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nerfseg_plugins.image_based import processes
from nerfseg_plugins.image_based.pipeline import ImageBasedPipeline, ImageBasedPipelineConfig
from nerfseg_plugins.scene.resumable import ResumableTrainer, compute_repeatably


@dataclass
class ImageBasedTrainerConfig(TrainerConfig):
    """Configuration of a run of an image-based method; `max_num_iterations` counts all steps, also after a resume."""

    _target: type = field(default_factory=lambda: ImageBasedTrainer)
    """target class to instantiate"""


class ImageBasedTrainer(ResumableTrainer):
    """nerfstudio's trainer for networks that belong to no scene."""

    config: ImageBasedTrainerConfig
    instead_of_resuming = "to take over only its networks, pass --pipeline.pretrained RUN/config.yml"

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Build the run.

        Raises:
            InputError: the data, a checkpoint or the other run cannot be used, or another process begins otherwise.
        """
        compute_repeatably(self.device)
        config = self.config.pipeline
        assert isinstance(config, ImageBasedPipelineConfig)
        data = config.datamanager
        if data.seed is None:
            data.seed = self.config.machine.seed
        # The run is loaded again from anywhere.
        data.data = (data.dataparser.data if data.data is None else data.data).absolute()
        config.pretrained = None if config.pretrained is None else config.pretrained.absolute()
        if self.local_rank == 0:
            self.config.save_config()
        processes.agree(processes.settings(self.config))
        super().setup(test_mode)
        processes.agree({"the step to begin at": str(self._start_step)})

    @property
    def _networks(self) -> ImageBasedPipeline:
        pipeline = self.pipeline
        assert isinstance(pipeline, ImageBasedPipeline)
        return pipeline

    def setup_optimizers(self) -> Optimizers:
        """The optimisers, once it is known that there are scenes to train on."""
        self._networks.scenes.open_pool()
        return super().setup_optimizers()

    def _load_checkpoint(self) -> None:
        """Start from a checkpoint, from networks of another run, or from nothing."""
        pretrained = self._networks.config.pretrained
        if self._resumes:
            self._resume()
        elif pretrained is not None:
            self._networks.adopt(pretrained)
            CONSOLE.print(f"Networks taken from {pretrained}.")

    def train_iteration(self, step: int) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
        """One step; what is logged of it are means over all processes."""
        loss, losses, metrics = super().train_iteration(step)
        if not step_check(step, self.config.logging.steps_per_log, run_at_zero=True):
            return loss, losses, metrics
        return processes.average({"": loss})[""], processes.average(losses), processes.average(metrics)
