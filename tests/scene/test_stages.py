"""Learning rates of the two stages, by hand."""

import copy

import pytest
import torch
from torch import nn

from nerfseg_plugins.scene.stages import StageDecay, StageDecaySchedulerConfig, stage_optimizers


@pytest.mark.parametrize(
    ("step", "geometry", "head"),
    [
        (0, 1.0, 1.0),
        (50, 0.01**0.5, 1.0),
        (100, 0.01, 1.0),
        (150, 0.01, 0.16**0.25),
        (200, 0.01, 0.4),
        (300, 0.01, 0.16),
        (10_000, 0.01, 0.16),
    ],
)
def test_decay_over_a_stage(step: int, geometry: float, head: float):
    decays = [StageDecay("geometry", 0.01, 0), StageDecay("head", 0.16, 0)]
    for decay, expected in zip(decays, (geometry, head), strict=True):
        decay.set_bounds(geometry_steps=100, total_steps=300)
        assert decay(step) == pytest.approx(expected)


def test_warm_up_is_linear_from_the_first_step_of_the_stage():
    decay = StageDecay("head", 1.0, warmup_steps=4)
    decay.set_bounds(10, 30)
    assert [decay(step) for step in (0, 10, 11, 12, 13, 14, 20)] == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("stage", ["geometry", "head"])
def test_a_stage_without_steps(stage):
    decay = StageDecay(stage, 0.1, 0)
    decay.set_bounds(0, 0)
    assert decay(0) == 1.0 and decay(5) == pytest.approx(0.1)


def test_schedulers_are_saved_as_plain_numbers_and_continue():
    parameter = nn.Parameter(torch.ones(1))

    def build():
        optimizer = torch.optim.Adam([parameter], lr=0.02)
        scheduler = StageDecaySchedulerConfig(stage="head", final_ratio=0.1).setup().get_scheduler(optimizer, 0.02)
        scheduler.lr_lambdas[0].set_bounds(0, 10)
        return optimizer, scheduler

    optimizer, scheduler = build()
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    assert set(saved[1]["lr_lambdas"][0]) == {"stage", "final_ratio", "warmup_steps", "start", "end"}
    optimizer, scheduler = build()
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.02 * 0.1**0.6])


def test_every_group_of_a_head_model_has_an_optimiser():
    groups = stage_optimizers(geometry_lr=0.02, head_lr=0.03, geometry_final=0.5, head_final=0.25)
    assert set(groups) == {"proposal_networks", "fields", "camera_opt", "head"}
    assert {name: group["scheduler"].stage for name, group in groups.items() if name != "head"} == {
        "proposal_networks": "geometry",
        "fields": "geometry",
        "camera_opt": "geometry",
    }
    assert groups["fields"]["optimizer"].lr == groups["proposal_networks"]["optimizer"].lr == 0.02
    assert groups["fields"]["scheduler"].final_ratio == 0.5
    assert (groups["head"]["optimizer"].lr, groups["head"]["scheduler"].final_ratio) == (0.03, 0.25)
    assert groups["head"]["scheduler"].stage == "head"
