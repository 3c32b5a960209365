"""The two stages of a run, geometry then head, as learning-rate schedules see them."""

from dataclasses import dataclass, field
from typing import Any, Literal

from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import LRScheduler, Scheduler, SchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Stage = Literal["geometry", "head"]


@dataclass
class StageDecaySchedulerConfig(SchedulerConfig):
    """Exponential decay over one stage of a two-stage run; the trainer fills in where the stage begins and ends."""

    _target: type = field(default_factory=lambda: StageDecayScheduler)
    """target class to instantiate"""
    stage: Stage = "geometry"
    """The stage whose steps the decay spans."""
    final_ratio: float = 0.1
    """Learning rate at the end of the stage, as a fraction of the initial one."""
    warmup_steps: int = 0
    """Steps of linear warm-up at the start of the stage."""


class StageDecay:
    """Step -> factor on the initial learning rate: linear warm-up, then `final_ratio ** (fraction of the stage done)`.

    Outside its stage the factor stays at the nearer end's value. Holds plain numbers only, since schedulers are saved
    in checkpoints.
    """

    def __init__(self, stage: Stage, final_ratio: float, warmup_steps: int) -> None:
        self.stage: Stage = stage
        self.final_ratio = final_ratio
        self.warmup_steps = warmup_steps
        self.start = 0
        self.end = 1

    def set_bounds(self, geometry_steps: int, total_steps: int) -> None:
        """Place the stage: geometry is [0, geometry_steps), the head is [geometry_steps, total_steps)."""
        self.start, self.end = (0, geometry_steps) if self.stage == "geometry" else (geometry_steps, total_steps)

    def __call__(self, step: int) -> float:
        done = step - self.start
        fraction = min(max(done / max(self.end - self.start, 1), 0.0), 1.0)
        warmup = min((max(done, 0) + 1) / (self.warmup_steps + 1), 1.0)
        return warmup * self.final_ratio**fraction


class StageDecayScheduler(Scheduler):
    """Builds the torch scheduler of a `StageDecaySchedulerConfig`."""

    config: StageDecaySchedulerConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        """A LambdaLR over `StageDecay`."""
        config = self.config
        return LambdaLR(optimizer, lr_lambda=StageDecay(config.stage, config.final_ratio, config.warmup_steps))


@dataclass
class FusedAdamOptimizerConfig(AdamOptimizerConfig):
    """Adam in one kernel, on CPU and GPU."""

    fused: bool = True
    """Update all parameters of a group in one kernel; torch 2.4 or later on a CPU."""


def stage_optimizers(
    geometry_lr: float = 1e-2, head_lr: float = 1e-2, geometry_final: float = 0.01, head_final: float = 0.1
) -> dict[str, Any]:
    """Optimisers of a two-stage run: Adam for every group, each decaying over its own stage.

    Args:
        geometry_lr, head_lr: initial learning rates.
        geometry_final, head_final: learning rates at the ends of the stages, as fractions of the initial ones.
    """

    def group(lr: float, stage: Stage, final_ratio: float) -> dict[str, Any]:
        return {
            "optimizer": FusedAdamOptimizerConfig(lr=lr, eps=1e-15),
            "scheduler": StageDecaySchedulerConfig(stage=stage, final_ratio=final_ratio),
        }

    return {
        "proposal_networks": group(geometry_lr, "geometry", geometry_final),
        "fields": group(geometry_lr, "geometry", geometry_final),
        "camera_opt": group(1e-3, "geometry", 0.1),
        "head": group(head_lr, "head", head_final),
    }
