"""A plain nerfacto run, as another program's user has it."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def quick_nerfacto(tmp_path_factory: pytest.TempPathFactory, ns_train, tiny_room: Path) -> Path:
    """config.yml of a few steps of nerfstudio's own nerfacto on the tiny room, with settings unlike our defaults."""
    model = {
        "num-levels": 3,
        "max-res": 24,
        "log2-hashmap-size": 9,
        "hidden-dim": 12,
        "hidden-dim-color": 10,
        "num-proposal-samples-per-ray": "9 7",
        "num-nerf-samples-per-ray": 6,
        "near-plane": 0.07,
        "background-color": "black",
        "camera-optimizer.mode": "SO3xR3",
        "implementation": "torch",
    }
    flags = [word for name, value in model.items() for word in (f"--pipeline.model.{name}", *str(value).split())]
    rays = ["--pipeline.datamanager.train-num-rays-per-batch=32", "--max-num-iterations=6"]
    output = tmp_path_factory.mktemp("nerfacto")
    return ns_train("nerfacto", output, *flags, *rays, "front3d-data", f"--data={tiny_room}")
