"""ISRF trained from end to end on the tiny room."""

from pathlib import Path

import torch


def states(config: Path) -> list[dict[str, torch.Tensor]]:
    models = config.parent / "nerfstudio_models"
    return [torch.load(path, weights_only=True)["pipeline"] for path in sorted(models.iterdir())]


def test_geometry_and_colour_stay_bit_identical_while_features_are_learned(isrf_run: Path):
    first, last = states(isrf_run)
    frozen = [key for key in first if key.startswith(("_model.field.", "_model.proposal", "_model.camera"))]
    assert len(frozen) > 10 and all(torch.equal(first[key], last[key]) for key in frozen)
    changed = [key for key in first if not torch.equal(first[key], last[key])]
    assert changed and all(key.startswith(("_model.head", "_model.trained_positions")) for key in changed)
