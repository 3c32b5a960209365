"""A run of the ultrametric field on a few tiny views of furniture, with masks of parts, objects and groups."""

from pathlib import Path
from typing import Any, Protocol

import pytest

from nerfseg_plugins import compat

compat.apply()

FEATURE_DIM = 8
_OTHERS = ("regularization-weight", "head-sampler.patch-size")
"""Options of `instance-nerf` that this method lacks."""


class UltrametricFlags(Protocol):
    """Flags for `geometry` of `total` steps on `data`, with model options."""

    def __call__(self, data: Path, geometry: int, total: int, **options: Any) -> list[str]: ...


@pytest.fixture(scope="session")
def ultrametric_flags(quick_flags) -> UltrametricFlags:
    """Flags of a run of a few steps on as few parameters as possible."""

    def flags(data: Path, geometry: int, total: int, **options: Any) -> list[str]:
        found = quick_flags(data, geometry, total, feature_dim=FEATURE_DIM, **options)
        return [flag for flag in found if not any(name in flag for name in _OTHERS)]

    return flags


@pytest.fixture(scope="session")
def furniture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Furniture without walls in the Blender-HS layout: 8 training and 2 held-out views of 48x48."""
    from nerfseg_plugins.rooms.generate import make_scene, write_scene

    folder = tmp_path_factory.mktemp("data") / "furniture"
    room, shots = make_scene(3, "sam-hierarchy", num_objects=4, num_train=8, num_val=2, width=48, height=48)
    write_scene(folder, room, shots, "sam-hierarchy")
    return folder


@pytest.fixture(scope="session")
def ultrametric_run(tmp_path_factory: pytest.TempPathFactory, ns_train, furniture: Path, tiny_flags: list[str]) -> Path:
    """config.yml of one run of both stages that many tests read and none changes."""
    flags = [flag for flag in tiny_flags if not any(name in flag for name in (*_OTHERS, "--data="))]
    flags += [f"--data={furniture}", f"--pipeline.model.feature-dim={FEATURE_DIM}"]
    return ns_train("ultrametric-tiny", tmp_path_factory.mktemp("runs"), *flags)
