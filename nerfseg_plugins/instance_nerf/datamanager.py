"""Datamanager of Instance-NeRF."""

from dataclasses import dataclass, field

from nerfstudio.data.pixel_samplers import PixelSamplerConfig

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.instance_nerf.dataset import InstanceDataset
from nerfseg_plugins.instance_nerf.sampler import PatchSamplerConfig
from nerfseg_plugins.scene.datamanager import HeadDataManager, HeadDataManagerConfig


@dataclass
class InstanceDataManagerConfig(HeadDataManagerConfig):
    """Images and instance masks; patches in the head stage."""

    _target: type = field(default_factory=lambda: InstanceDataManager)
    """target class to instantiate"""
    head_sampler: PixelSamplerConfig = field(default_factory=PatchSamplerConfig)
    """How pixels are drawn in the head stage."""


class InstanceDataManager(HeadDataManager):
    """Serves `InstanceDataset`.

    Raises:
        InputError: the training masks hold nothing to learn from, or the images are smaller than a patch.
    """

    dataset_type = InstanceDataset

    def create_train_dataset(self) -> InstanceDataset:
        """Images and masks to learn from."""
        dataset = super().create_train_dataset()
        assert isinstance(dataset, InstanceDataset)
        dataset.check_labelled()
        return dataset

    def setup_train(self) -> None:
        """Build the samplers; what the head's cannot draw is refused now and not after the first stage."""
        sampler = self.config.head_sampler
        cameras = self.train_dataset.cameras
        width, height = int(cameras.width.min()), int(cameras.height.min())
        if isinstance(sampler, PatchSamplerConfig) and not 1 <= sampler.patch_size <= min(width, height):
            raise InputError(
                f"{self.train_dataset.image_filenames[0]} has {width}x{height} pixels, so patches of "
                f"{sampler.patch_size} pixels cannot be drawn; pass "
                f"--pipeline.datamanager.head-sampler.patch-size {min(width, height, 8)}"
            )
        super().setup_train()
