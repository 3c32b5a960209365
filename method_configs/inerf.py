"""`inerf`, and `inerf-tiny` for two CPU cores: the cameras of photos, found in the scene of another run."""

from dataclasses import replace

import torch

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.configs.base_config import MachineConfig, ViewerConfig  # noqa: E402
from nerfstudio.engine.optimizers import AdamOptimizerConfig  # noqa: E402
from nerfstudio.plugins.types import MethodSpecification  # noqa: E402

from nerfseg_plugins.inerf.config import PoseConfig  # noqa: E402
from nerfseg_plugins.inerf.method.datamanager import QueryDataManagerConfig  # noqa: E402
from nerfseg_plugins.inerf.method.pipeline import InerfPipelineConfig  # noqa: E402
from nerfseg_plugins.inerf.method.trainer import InerfTrainerConfig, PoseDecaySchedulerConfig  # noqa: E402

# Rate and decay as in the paper.
_trainer = InerfTrainerConfig(
    method_name="inerf",
    max_num_iterations=300,
    # nerfstudio asks for a GPU even where there is none.
    machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
    steps_per_save=50,
    steps_per_eval_batch=10**9,
    steps_per_eval_image=10**9,
    steps_per_eval_all_images=10**9,
    mixed_precision=False,
    pipeline=InerfPipelineConfig(datamanager=QueryDataManagerConfig(), pose=PoseConfig(rays=2048)),
    optimizers={"poses": {"optimizer": AdamOptimizerConfig(lr=1e-2), "scheduler": PoseDecaySchedulerConfig(decay=0.8)}},
    # The photos' cameras are drawn by the method itself.
    viewer=ViewerConfig(num_rays_per_chunk=1 << 15, max_num_display_images=0),
    vis="viewer",
)

_tiny = replace(
    _trainer,
    method_name="inerf-tiny",
    pipeline=InerfPipelineConfig(datamanager=QueryDataManagerConfig(), pose=PoseConfig(rays=512), slots=6),
    optimizers={"poses": {"optimizer": AdamOptimizerConfig(lr=1e-2), "scheduler": PoseDecaySchedulerConfig(decay=0.8)}},
    viewer=ViewerConfig(num_rays_per_chunk=8192, max_num_display_images=0),
)

inerf = MethodSpecification(config=_trainer, description="iNeRF: the cameras of photos, in the scene of another run.")
inerf_tiny = MethodSpecification(config=_tiny, description="iNeRF with fewer rays, for two CPU cores.")
