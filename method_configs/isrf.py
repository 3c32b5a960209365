"""`isrf`, and `isrf-tiny` for two CPU cores: 2D features in 3D, for selecting things by a few strokes."""

from dataclasses import replace

import torch

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.configs.base_config import MachineConfig, ViewerConfig  # noqa: E402
from nerfstudio.plugins.types import MethodSpecification  # noqa: E402

from nerfseg_plugins.dataparsers.front3d import Front3DDataParserConfig  # noqa: E402
from nerfseg_plugins.isrf.datamanager import IsrfDataManagerConfig  # noqa: E402
from nerfseg_plugins.isrf.model import IsrfModelConfig  # noqa: E402
from nerfseg_plugins.scene.pipeline import HeadPipelineConfig  # noqa: E402
from nerfseg_plugins.scene.sizes import scene_options, tiny_scene_options  # noqa: E402
from nerfseg_plugins.scene.stages import stage_optimizers  # noqa: E402
from nerfseg_plugins.scene.trainer import HeadTrainerConfig  # noqa: E402

# 20 000 steps of geometry as in the paper, and twice its 5000 of features, which here begin from nothing; fits a GPU of
# 12 GB.
_data = IsrfDataManagerConfig(
    dataparser=Front3DDataParserConfig(masks=None),
    train_num_rays_per_batch=4096,
    eval_num_rays_per_batch=4096,
    head_num_rays_per_batch=4096,
)
_model = IsrfModelConfig(geometry_steps=20_000, eval_num_rays_per_chunk=1 << 15, **scene_options())
_trainer = HeadTrainerConfig(
    method_name="isrf",
    max_num_iterations=30_000,
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
    dataparser=Front3DDataParserConfig(masks=None),
    train_num_rays_per_batch=1024,
    eval_num_rays_per_batch=1024,
    head_num_rays_per_batch=1024,
)
# Features have more to say than ids.
_tiny_model = replace(_model, **{**tiny_scene_options(), "head_hidden_dim": 64})
_tiny = replace(
    _trainer,
    method_name="isrf-tiny",
    max_num_iterations=6000,
    steps_per_save=1000,
    mixed_precision=False,
    pipeline=HeadPipelineConfig(datamanager=_tiny_data, model=_tiny_model),
    optimizers=stage_optimizers(geometry_lr=2e-2),
    viewer=ViewerConfig(num_rays_per_chunk=8192),
)

isrf = MethodSpecification(
    config=_trainer, description="ISRF: 2D features on a frozen radiance field, to select and edit things by strokes."
)
isrf_tiny = MethodSpecification(config=_tiny, description="ISRF small enough for two CPU cores and a few minutes.")
