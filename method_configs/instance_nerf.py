"""`instance-nerf`, and `instance-nerf-tiny` for two CPU cores."""

from dataclasses import replace

import torch

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.configs.base_config import MachineConfig, ViewerConfig  # noqa: E402
from nerfstudio.plugins.types import MethodSpecification  # noqa: E402

from nerfseg_plugins.dataparsers.front3d import Front3DDataParserConfig  # noqa: E402
from nerfseg_plugins.instance_nerf.datamanager import InstanceDataManagerConfig  # noqa: E402
from nerfseg_plugins.instance_nerf.model import InstanceModelConfig  # noqa: E402
from nerfseg_plugins.scene.pipeline import HeadPipelineConfig  # noqa: E402
from nerfseg_plugins.scene.sizes import scene_options, tiny_scene_options  # noqa: E402
from nerfseg_plugins.scene.stages import stage_optimizers  # noqa: E402
from nerfseg_plugins.scene.trainer import HeadTrainerConfig  # noqa: E402

# 30 000 + 30 000 steps as in the paper; fits a GPU of 12 GB.
_data = InstanceDataManagerConfig(
    dataparser=Front3DDataParserConfig(),
    train_num_rays_per_batch=4096,
    eval_num_rays_per_batch=4096,
    head_num_rays_per_batch=4096,
)
_model = InstanceModelConfig(
    geometry_steps=30_000,
    eval_num_rays_per_chunk=1 << 15,
    **scene_options(),
)
_trainer = HeadTrainerConfig(
    method_name="instance-nerf",
    max_num_iterations=60_000,
    # nerfstudio asks for a GPU even where there is none.
    machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
    steps_per_save=2000,
    mixed_precision=True,
    pipeline=HeadPipelineConfig(datamanager=_data, model=_model),
    optimizers=stage_optimizers(),
    viewer=ViewerConfig(num_rays_per_chunk=1 << 15),
    vis="viewer",
)

_tiny_data = replace(
    _data,
    dataparser=Front3DDataParserConfig(),
    train_num_rays_per_batch=1024,
    eval_num_rays_per_batch=1024,
    head_num_rays_per_batch=1024,
)
_tiny_model = replace(_model, **tiny_scene_options())
_tiny = replace(
    _trainer,
    method_name="instance-nerf-tiny",
    max_num_iterations=6000,
    steps_per_save=1000,
    mixed_precision=False,
    pipeline=HeadPipelineConfig(datamanager=_tiny_data, model=_tiny_model),
    optimizers=stage_optimizers(geometry_lr=2e-2),
    viewer=ViewerConfig(num_rays_per_chunk=8192),
)

instance_nerf = MethodSpecification(
    config=_trainer, description="Instance-NeRF: 3D instances from 2D masks, on a frozen radiance field."
)
instance_nerf_tiny = MethodSpecification(
    config=_tiny, description="Instance-NeRF small enough for two CPU cores and a few minutes."
)
