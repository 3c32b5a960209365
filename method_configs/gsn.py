"""`gnt` and `gsn`, GSN's two stages, and their `-tiny` variants for two CPU cores: unseen scenes from source views."""

from dataclasses import replace
from typing import Any

import torch

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.configs.base_config import MachineConfig, ViewerConfig  # noqa: E402
from nerfstudio.engine.optimizers import AdamOptimizerConfig  # noqa: E402
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig, MultiStepSchedulerConfig  # noqa: E402
from nerfstudio.plugins.types import MethodSpecification  # noqa: E402

from nerfseg_plugins.dataparsers.llff import LLFFDataParserConfig  # noqa: E402
from nerfseg_plugins.gsn.model import GntModelConfig  # noqa: E402
from nerfseg_plugins.gsn.semantic_model import GsnModelConfig  # noqa: E402
from nerfseg_plugins.image_based.choice import PoolRule  # noqa: E402
from nerfseg_plugins.image_based.datamanager import ImageBasedDataManagerConfig  # noqa: E402
from nerfseg_plugins.image_based.pipeline import ImageBasedPipelineConfig  # noqa: E402
from nerfseg_plugins.image_based.trainer import ImageBasedTrainerConfig  # noqa: E402

STEPS, HALVED = 300_000, 50_000
OVERLAP = (
    "data2_fernvlsb",
    "data2_hugetrike",
    "data2_trexsanta",
    "data3_orchid",
    "data5_leafscene",
    "data5_lotr",
    "data5_redflower",
)
"""Scenes of real_iconic_noface that are also in nerf_llff_data, on which GNT is evaluated."""
SEGMENTED = ("data2_chesstable", "data2_colorfountain", "data4_shoerack", "data4_stove")
"""Those that GSN is evaluated on. Its instructions leave them in the training set; here they are never trained on."""


def published_optimizers(**rates: float) -> dict[str, Any]:
    """Adam for every group of weights at its own rate, halved every 50 000 steps."""
    return {
        name: {
            "optimizer": AdamOptimizerConfig(lr=rate),
            "scheduler": MultiStepSchedulerConfig(
                max_steps=STEPS, gamma=0.5, milestones=tuple(range(HALVED, STEPS, HALVED))
            ),
        }
        for name, rate in rates.items()
    }


def short_optimizers(steps: int, **rates: float) -> dict[str, Any]:
    """Adam for every group of weights at its own rate, which falls to a twentieth."""
    return {
        name: {
            "optimizer": AdamOptimizerConfig(lr=rate),
            "scheduler": ExponentialDecaySchedulerConfig(lr_final=rate / 20, warmup_steps=100, max_steps=steps),
        }
        for name, rate in rates.items()
    }


# As in GSN's released configuration: 256 rays of one view a step, 10 source views, 192 points on a ray.
_data = ImageBasedDataManagerConfig(
    dataparser=LLFFDataParserConfig(),
    scenes_per_batch=1,
    rays_per_scene=256,
    eval_num_rays_per_batch=256,
    target="view",
    draw_sources="near",
    rays_by_views=True,
    exclude=OVERLAP + SEGMENTED,
)
_trainer = ImageBasedTrainerConfig(
    method_name="gnt",
    max_num_iterations=STEPS,
    # nerfstudio asks for a GPU even where there is none.
    machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
    steps_per_save=5000,
    steps_per_eval_batch=1000,
    steps_per_eval_image=5000,
    steps_per_eval_all_images=50_000,
    pipeline=ImageBasedPipelineConfig(datamanager=_data, model=GntModelConfig()),
    optimizers=published_optimizers(transformers=5e-4, encoder=1e-3),
    viewer=ViewerConfig(num_rays_per_chunk=5120),
    vis="viewer",
)
_stage2 = replace(
    _trainer,
    method_name="gsn",
    pipeline=ImageBasedPipelineConfig(datamanager=replace(_data, features="auto"), model=GsnModelConfig()),
    optimizers=published_optimizers(transformers=5e-5, encoder=1e-4, semantics=1e-3),
)

TINY_STEPS, TINY_STEPS2 = 2800, 600
# Trained on a dozen rooms for minutes: colours are passed on instead of learned, and what would be learned of how large
# rooms are is kept out.
_tiny_sizes: dict[str, Any] = {
    "width": 32,
    "depth": 2,
    "num_samples": 32,
    "num_source_views": 8,
    "dropout": 0.0,
    "color": "blend",
    "query": "moments",
    "positions": "ray",
    "near_factors": (0.7, 3.0),
    "far_factors": (0.7, 1.5),
    "encoder_dim": 16,
    "encoder_widths": (16, 32, 64),
    "encoder_blocks": (1, 1, 1),
    "encoder_stem_stride": 1,
    "eval_num_rays_per_chunk": 512,  # what is computed at once fits into the caches
}
_tiny_data = replace(
    _data,
    dataparser=LLFFDataParserConfig(),
    rays_per_scene=384,
    pool=PoolRule(num_views=8, spread=1, factor_odds=(0.4, 0.4, 0.2), target_odds=0.0),
    jitter=0.1,
)
_tiny = replace(
    _trainer,
    method_name="gnt-tiny",
    max_num_iterations=TINY_STEPS,
    steps_per_save=500,
    steps_per_eval_image=1000,
    steps_per_eval_all_images=TINY_STEPS,
    pipeline=ImageBasedPipelineConfig(datamanager=_tiny_data, model=GntModelConfig(**_tiny_sizes)),
    optimizers=short_optimizers(TINY_STEPS, transformers=2.5e-3, encoder=2.5e-3),
    viewer=ViewerConfig(num_rays_per_chunk=1024),
)
_tiny2 = replace(
    _tiny,
    method_name="gsn-tiny",
    max_num_iterations=TINY_STEPS2,
    pipeline=ImageBasedPipelineConfig(
        datamanager=replace(_tiny_data, features="auto"), model=GsnModelConfig(**_tiny_sizes, head_width=32)
    ),
    optimizers=short_optimizers(TINY_STEPS2, transformers=2e-4, encoder=2e-4, semantics=1e-3),
)

gnt = MethodSpecification(config=_trainer, description="GNT, stage I of GSN: views of unseen scenes from source views.")
gnt_tiny = MethodSpecification(config=_tiny, description="GNT small enough for two CPU cores and half an hour.")
gsn = MethodSpecification(
    config=_stage2, description="GSN, stage II: 2D features of unseen scenes from those of source views."
)
gsn_tiny = MethodSpecification(config=_tiny2, description="GSN small enough for two CPU cores and a few minutes.")
