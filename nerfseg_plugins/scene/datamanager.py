"""Datamanager of a two-stage run: uniform pixels for geometry, the technique's own sampler for its head."""

from dataclasses import dataclass, field
from typing import Optional

from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig

from nerfseg_plugins.scene.dataset import ImageDataset
from nerfseg_plugins.scene.stages import Stage


@dataclass
class HeadDataManagerConfig(VanillaDataManagerConfig):
    """Configuration of a two-stage run's data."""

    _target: type = field(default_factory=lambda: HeadDataManager)
    """target class to instantiate"""
    head_num_rays_per_batch: int = 4096
    """Rays per step of the head stage."""
    head_sampler: PixelSamplerConfig = field(default_factory=PixelSamplerConfig)
    """How pixels are drawn in the head stage."""


class HeadDataManager(VanillaDataManager):
    """All images cached in the training process; the pixel sampler follows the stage."""

    config: HeadDataManagerConfig
    dataset_type: type[ImageDataset] = ImageDataset  # type: ignore[assignment]  # nerfstudio reads it off a generic base
    """The technique's dataset."""
    stage: Stage = "geometry"
    """Set by the pipeline before every batch."""

    def setup_train(self) -> None:
        """Build both stages' samplers."""
        super().setup_train()
        assert self.train_pixel_sampler is not None
        self._samplers: dict[Stage, PixelSampler] = {
            "geometry": self.train_pixel_sampler,
            "head": self.config.head_sampler.setup(num_rays_per_batch=self.config.head_num_rays_per_batch),
        }

    def head_lacks(self) -> Optional[str]:
        """What the data lack for the head to be trained, with the mend; None when nothing. Asked before training.

        Here a technique loads what only its training needs, so that a run is also of use where that is gone.

        Raises:
            InputError: what is there cannot be used.
        """
        return None

    def next_train(self, step: int) -> tuple[RayBundle, dict]:
        """A batch of the present stage."""
        self.train_pixel_sampler = self._samplers[self.stage]
        return super().next_train(step)
