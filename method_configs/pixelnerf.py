"""`pixelnerf`, and `pixelnerf-tiny` for two CPU cores: objects never seen before, from one or a few photos."""

from dataclasses import replace

import torch

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.configs.base_config import MachineConfig, ViewerConfig  # noqa: E402
from nerfstudio.engine.optimizers import AdamOptimizerConfig  # noqa: E402
from nerfstudio.engine.schedulers import CosineDecaySchedulerConfig  # noqa: E402
from nerfstudio.plugins.types import MethodSpecification  # noqa: E402

from nerfseg_plugins.dataparsers.srn import SRNDataParserConfig  # noqa: E402
from nerfseg_plugins.image_based.datamanager import ImageBasedDataManagerConfig  # noqa: E402
from nerfseg_plugins.image_based.pipeline import ImageBasedPipelineConfig  # noqa: E402
from nerfseg_plugins.image_based.trainer import ImageBasedTrainerConfig  # noqa: E402
from nerfseg_plugins.pixelnerf.encoder import EncoderConfig  # noqa: E402
from nerfseg_plugins.pixelnerf.field import FieldConfig  # noqa: E402
from nerfseg_plugins.pixelnerf.mlp import MlpConfig  # noqa: E402
from nerfseg_plugins.pixelnerf.model import PixelNerfModelConfig  # noqa: E402
from nerfseg_plugins.pixelnerf.sampling import SamplingConfig  # noqa: E402

# As published: 128 rays of each of 4 objects a step, through their boxes at first. For SRN's categories the published
# models had one or two source views by chance (--pipeline.datamanager.view-counts 1 2), for DTU's scans three
# (--pipeline.datamanager.view-counts 3 --pipeline.datamanager.jitter 0.1).
_data = ImageBasedDataManagerConfig(
    dataparser=SRNDataParserConfig(),
    scenes_per_batch=4,
    rays_per_scene=128,
    eval_num_rays_per_batch=512,
    target="scene",
    view_counts=(1,),
    box_sampling_steps=100_000,
)
_trainer = ImageBasedTrainerConfig(
    method_name="pixelnerf",
    max_num_iterations=400_000,
    # nerfstudio asks for a GPU even where there is none.
    machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
    steps_per_save=5000,
    steps_per_eval_batch=1000,
    steps_per_eval_image=5000,
    steps_per_eval_all_images=50_000,
    pipeline=ImageBasedPipelineConfig(datamanager=_data, model=PixelNerfModelConfig()),
    optimizers={name: {"optimizer": AdamOptimizerConfig(lr=1e-4), "scheduler": None} for name in ("fields", "hidden")},
    viewer=ViewerConfig(num_rays_per_chunk=2048),
    vis="viewer",
)

TINY_STEPS = 7000
# A network as deep as the published ones, narrower; few samples, all of the fine network's where the coarse one sees
# something. Many objects a step, for what it takes longest to learn is what images say; and where the objects stand and
# that they are alike left and right, which all are. A few dozen objects are soon known by heart, so they are mirrored,
# stretched and recoloured, and weights decay.
_tiny_networks = FieldConfig(
    encoder=EncoderConfig(blocks=(2, 2, 2), width=16, num_stages=3, first_pool=False, norm="group"),
    coarse=MlpConfig(width=32, num_blocks=3, pool_before=2, out_scale=0.1),
    fine=MlpConfig(width=64, num_blocks=5, pool_before=3, out_scale=0.1),
    canonical=True,
    symmetric=True,
    density="softplus",
    bfloat16="auto",
)
_tiny_samples = SamplingConfig(num_coarse=24, num_importance=12, num_depth=0, merge_coarse=False, weight_floor=0.01)
_tiny_data = replace(
    _data,
    dataparser=SRNDataParserConfig(),
    scenes_per_batch=16,
    rays_per_scene=48,
    view_counts=(1, 1, 1, 2),
    box_sampling_steps=TINY_STEPS // 2,
    swap_channels=True,
    gamma=0.5,
    mirror=True,
    stretch=0.25,
    shear=0.15,
)
_tiny_adam = AdamOptimizerConfig(_target=torch.optim.AdamW, lr=4e-3, max_norm=0.1, weight_decay=0.1)
# Muon (https://kellerjordan.github.io/posts/muon) learns as much in fewer steps; torch has it since 2.9, before it
# all weights are AdamW's.
_tiny_matrices = (
    AdamOptimizerConfig(_target=torch.optim.Muon, lr=1e-2, max_norm=0.1, weight_decay=0.04)
    if hasattr(torch.optim, "Muon")
    else _tiny_adam
)
_tiny = replace(
    _trainer,
    method_name="pixelnerf-tiny",
    max_num_iterations=TINY_STEPS,
    steps_per_save=1000,
    steps_per_eval_image=2000,
    steps_per_eval_all_images=TINY_STEPS,
    pipeline=ImageBasedPipelineConfig(
        datamanager=_tiny_data,
        model=PixelNerfModelConfig(
            networks=_tiny_networks,
            samples=_tiny_samples,
            eval_num_rays_per_chunk=512,  # what is computed at once fits into the caches
        ),
    ),
    optimizers={
        name: {
            "optimizer": optimizer,
            "scheduler": CosineDecaySchedulerConfig(warm_up_end=300, learning_rate_alpha=0.02, max_steps=TINY_STEPS),
        }
        for name, optimizer in (("fields", _tiny_adam), ("hidden", _tiny_matrices))
    },
)

pixelnerf = MethodSpecification(
    config=_trainer, description="pixelNeRF: views of objects never seen before, from one or a few photos."
)
pixelnerf_tiny = MethodSpecification(
    config=_tiny, description="pixelNeRF small enough for two CPU cores and half an hour."
)
