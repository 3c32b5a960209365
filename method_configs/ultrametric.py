"""`ultrametric`, and `ultrametric-tiny` for two CPU cores: a hierarchy of segments from masks of parts and wholes."""

from dataclasses import replace

import torch

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.configs.base_config import MachineConfig, ViewerConfig  # noqa: E402
from nerfstudio.plugins.types import MethodSpecification  # noqa: E402

from nerfseg_plugins.dataparsers.sam_hierarchy import SamHierarchyDataParserConfig  # noqa: E402
from nerfseg_plugins.scene.pipeline import HeadPipelineConfig  # noqa: E402
from nerfseg_plugins.scene.sizes import scene_options, tiny_scene_options  # noqa: E402
from nerfseg_plugins.scene.stages import stage_optimizers  # noqa: E402
from nerfseg_plugins.scene.trainer import HeadTrainerConfig  # noqa: E402
from nerfseg_plugins.ultrametric.datamanager import UltrametricDataManagerConfig  # noqa: E402
from nerfseg_plugins.ultrametric.model import UltrametricModelConfig  # noqa: E402

# The original trains geometry and features together, 20 000 steps in the paper; here geometry comes first and the
# features need half of these.
_data = UltrametricDataManagerConfig(
    dataparser=SamHierarchyDataParserConfig(),
    train_num_rays_per_batch=4096,
    eval_num_rays_per_batch=4096,
    head_num_rays_per_batch=4096,
)
_model = UltrametricModelConfig(
    geometry_steps=20_000,
    eval_num_rays_per_chunk=1 << 15,
    head_hidden_dim=128,
    **scene_options(),
)
_trainer = HeadTrainerConfig(
    method_name="ultrametric",
    max_num_iterations=30_000,
    # nerfstudio asks for a GPU even where there is none.
    machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
    steps_per_save=2000,
    mixed_precision=True,
    # Taking frozen samples of 4096 rays costs more than learning from them.
    pipeline=HeadPipelineConfig(datamanager=_data, model=_model, head_reuse=8),
    optimizers=stage_optimizers(head_final=1 / 30),
    viewer=ViewerConfig(num_rays_per_chunk=1 << 15),
    vis="viewer",
)

_tiny_data = replace(
    _data,
    dataparser=SamHierarchyDataParserConfig(),
    train_num_rays_per_batch=1024,
    eval_num_rays_per_batch=1024,
)
_tiny_model = replace(_model, **{**tiny_scene_options(), "head_hidden_dim": 64})
_tiny = replace(
    _trainer,
    method_name="ultrametric-tiny",
    max_num_iterations=7000,
    steps_per_save=1000,
    mixed_precision=False,
    pipeline=HeadPipelineConfig(datamanager=_tiny_data, model=_tiny_model, head_reuse=8),
    optimizers=stage_optimizers(geometry_lr=2e-2, head_final=1 / 30),
    viewer=ViewerConfig(num_rays_per_chunk=8192),
)

ultrametric = MethodSpecification(
    config=_trainer,
    description="Ultrametric feature field: a hierarchy of segments from 2D masks, cut at any granularity.",
)
ultrametric_tiny = MethodSpecification(
    config=_tiny, description="Ultrametric feature field small enough for two CPU cores and a few minutes."
)
