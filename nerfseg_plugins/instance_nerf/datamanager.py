"""Datamanager of Instance-NeRF."""

from dataclasses import dataclass, field

from nerfstudio.data.pixel_samplers import PixelSamplerConfig

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
    """Serves `InstanceDataset`."""

    dataset_type = InstanceDataset
