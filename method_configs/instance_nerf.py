"""`instance-nerf`, and `instance-nerf-tiny` for two CPU cores."""

from copy import deepcopy

import torch

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig  # noqa: E402
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig  # noqa: E402
from nerfstudio.plugins.types import MethodSpecification  # noqa: E402

from nerfseg_plugins.dataparsers.front3d import Front3DDataParserConfig  # noqa: E402
from nerfseg_plugins.instance_nerf.datamanager import InstanceDataManagerConfig  # noqa: E402
from nerfseg_plugins.instance_nerf.model import InstanceModelConfig  # noqa: E402
from nerfseg_plugins.scene.pipeline import HeadPipelineConfig  # noqa: E402
from nerfseg_plugins.scene.stages import stage_optimizers  # noqa: E402
from nerfseg_plugins.scene.trainer import HeadTrainerConfig  # noqa: E402

# 30 000 + 30 000 steps as in the paper; fits a GPU of 12 GB.
_base = HeadTrainerConfig(
    method_name="instance-nerf",
    max_num_iterations=60_000,
    steps_per_save=2000,
    steps_per_eval_batch=500,
    mixed_precision=True,
    # nerfstudio asks for a GPU even where there is none.
    machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
    pipeline=HeadPipelineConfig(
        datamanager=InstanceDataManagerConfig(
            dataparser=Front3DDataParserConfig(),
            train_num_rays_per_batch=4096,
            eval_num_rays_per_batch=4096,
            head_num_rays_per_batch=4096,
        ),
        model=InstanceModelConfig(
            geometry_steps=30_000,
            eval_num_rays_per_chunk=1 << 15,
            # Rooms: a random background or a dense start ends in fog before the cameras, and density 0.01 with black never
            # grows; the last sample's colour as background finds the walls.
            background_color="last_sample",
            average_init_density=0.01,
            use_appearance_embedding=False,
            # Poses of rendered rooms are exact. For a capture of your own: --pipeline.model.camera-optimizer.mode SO3xR3
            camera_optimizer=CameraOptimizerConfig(mode="off"),
        ),
    ),
    optimizers=stage_optimizers(),
    viewer=ViewerConfig(num_rays_per_chunk=1 << 15),
    vis="viewer",
)

_tiny = deepcopy(_base)
_tiny.method_name = "instance-nerf-tiny"
_tiny.max_num_iterations = 8000
_tiny.steps_per_save = 1000
_tiny.mixed_precision = False
_tiny.pipeline.datamanager.train_num_rays_per_batch = 1024
_tiny.pipeline.datamanager.eval_num_rays_per_batch = 1024
_tiny.pipeline.datamanager.head_num_rays_per_batch = 1024
_tiny_model = _tiny.pipeline.model
_tiny_model.geometry_steps = 6000
_tiny_model.implementation = "torch"
_tiny_model.num_levels = 8
_tiny_model.max_res = 512
_tiny_model.log2_hashmap_size = 17
_tiny_model.hidden_dim = 32
_tiny_model.hidden_dim_color = 32
_tiny_model.num_proposal_iterations = 1
_tiny_model.num_proposal_samples_per_ray = (48,)
_tiny_model.num_nerf_samples_per_ray = 16
_tiny_model.proposal_net_args_list = [
    {"hidden_dim": 16, "log2_hashmap_size": 13, "num_levels": 5, "max_res": 64, "use_linear": False}
]
_tiny_model.proposal_weights_anneal_max_num_iters = 300
_tiny_model.eval_num_rays_per_chunk = 8192
_tiny_model.head_num_levels = 8
_tiny_model.head_max_res = 256
_tiny_model.head_log2_hashmap_size = 15
_tiny_model.head_hidden_dim = 32
_tiny_model.head_samples_per_ray = 4

instance_nerf = MethodSpecification(
    config=_base, description="Instance-NeRF: 3D instances from 2D masks, on a frozen radiance field."
)
instance_nerf_tiny = MethodSpecification(
    config=_tiny, description="Instance-NeRF small enough for two CPU cores and a few minutes."
)
