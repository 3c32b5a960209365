"""Trainer of image-based methods."""

from dataclasses import dataclass, field
from typing import Literal

from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.rich_utils import CONSOLE

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
            InputError: the data, a checkpoint or the other run cannot be used.
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
        super().setup(test_mode)

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
