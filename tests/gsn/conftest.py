"""Two tiny rooms with 2D features, and a run of each stage on them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nerfseg_plugins.cli.features import Features
from nerfseg_plugins.rooms.generate import make_scene, write_scene

SIZES = {
    "width": 16,
    "num-samples": 6,
    "num-source-views": 3,
    "encoder-dim": 8,
    "encoder-widths": "8 8 8",
}
CHANNELS = 16


def flags(data: Path, steps: int, **options: Any) -> list[str]:
    """Of a run on as few numbers as possible."""
    found = ["--data", str(data), "--max-num-iterations", str(steps), "--steps-per-save", "100"]
    found += ["--pipeline.datamanager.rays-per-scene", "32", "--pipeline.datamanager.pool.num-views", "3"]
    found += ["--steps-per-eval-image", "100", "--steps-per-eval-all-images", "100"]
    for name, value in {**SIZES, **options}.items():
        found += [f"--pipeline.model.{name.replace('_', '-')}", *str(value).split()]
    return found


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two rooms seen from one side, with 2D features made of their labels."""
    folder = tmp_path_factory.mktemp("rooms")
    for seed in (3, 4):
        room, shots = make_scene(seed, "llff", num_objects=3, num_train=6, num_val=2, width=48, height=36)
        write_scene(folder / f"room_{seed}", room, shots, "llff")
        Features(data=folder / f"room_{seed}", source="labels", channels=CHANNELS).main()
    return folder


@dataclass(frozen=True)
class Stages:
    """Configurations of a run of each stage."""

    gnt: Path
    gsn: Path


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory, ns_train: Any, rooms: Path) -> Stages:
    """Three steps of each, the second on a frozen first."""
    output = tmp_path_factory.mktemp("runs")
    gnt = ns_train("gnt-tiny", output, *flags(rooms, 3))
    options = flags(rooms, 3, feature_dim=CHANNELS, freeze_backbone=True, head_width=8)
    gsn = ns_train("gsn-tiny", output, *options, "--pipeline.pretrained", str(gnt))
    return Stages(gnt, gsn)
