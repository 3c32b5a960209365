"""A run of ISRF on the tiny room, from features that need no weights."""

import shutil
from pathlib import Path
from typing import Any, Protocol

import pytest

from nerfseg_plugins import compat

compat.apply()

FEATURE_DIM = 16
_OTHERS = ("regularization-weight", "head-sampler.patch-size")
"""Options of `instance-nerf` that this method lacks."""


class IsrfFlags(Protocol):
    """Flags for `geometry` of `total` steps on `data`, with model options."""

    def __call__(self, data: Path, geometry: int, total: int, **options: Any) -> list[str]: ...


@pytest.fixture(scope="session")
def isrf_flags(quick_flags) -> IsrfFlags:
    """Flags of a run of a few steps on as few parameters as possible."""

    def flags(data: Path, geometry: int, total: int, **options: Any) -> list[str]:
        found = quick_flags(data, geometry, total, feature_dim=FEATURE_DIM, **options)
        return [flag for flag in found if not any(name in flag for name in _OTHERS)]

    return flags


@pytest.fixture(scope="session")
def featured_room(tmp_path_factory: pytest.TempPathFactory, tiny_room: Path) -> Path:
    """The tiny room without masks to learn from, with classical features of its images."""
    from nerfseg_plugins.cli.features import Features

    folder = tmp_path_factory.mktemp("featured") / "room"
    shutil.copytree(tiny_room, folder)
    Features(folder, channels=FEATURE_DIM).main()
    return folder


@pytest.fixture(scope="session")
def isrf_run(tmp_path_factory: pytest.TempPathFactory, ns_train, featured_room: Path, tiny_flags: list[str]) -> Path:
    """config.yml of one run of both stages that many tests read and none changes."""
    flags = [flag for flag in tiny_flags if not any(name in flag for name in (*_OTHERS, "--data="))]
    flags += [f"--data={featured_room}", f"--pipeline.model.feature-dim={FEATURE_DIM}"]
    return ns_train("isrf-tiny", tmp_path_factory.mktemp("runs"), *flags)
