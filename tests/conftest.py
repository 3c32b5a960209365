"""What many tests share: a tiny furnished room, and runs on it that nerfstudio's own `ns-train` trains."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError

import pytest
import torch

torch.set_num_threads(1)  # tiny networks run no faster on more cores, and tests share their machine

WIDTH, HEIGHT = 48, 36
GEOMETRY_STEPS, HEAD_STEPS = 120, 110


def small_fields(**options: Any) -> list[str]:
    """`instance-nerf-tiny` made smaller still, as flags; `options` are model options that differ."""
    model = {
        "geometry_steps": GEOMETRY_STEPS,
        "num_levels": 4,
        "max_res": 64,
        "log2_hashmap_size": 12,
        "num_proposal_samples_per_ray": 12,
        "num_nerf_samples_per_ray": 8,
        "average_init_density": 1.0,
        "regularization_weight": 0.1,
        "head_num_levels": 4,
        "head_max_res": 64,
        "head_log2_hashmap_size": 12,
        **options,
    }
    flags = [f"--pipeline.model.{name.replace('_', '-')}={value}" for name, value in model.items()]
    for option, value in (
        ("train-num-rays-per-batch", 256),
        ("eval-num-rays-per-batch", 64),
        ("head-num-rays-per-batch", 256),
        ("head-sampler.patch-size", 4),
    ):
        flags.append(f"--pipeline.datamanager.{option}={value}")
    return [*flags, "--optimizers.head.optimizer.lr=0.03", "--optimizers.fields.optimizer.lr=0.03"]


class NsTrain(Protocol):
    """Runs `ns-train METHOD FLAGS` in this process and returns the run's config.yml."""

    def __call__(self, method: str, output: Path, *flags: str, name: str = "run") -> Path: ...


class NsConfig(Protocol):
    """Parses `ns-train METHOD FLAGS` into a configuration."""

    def __call__(self, method: str, output: Path, *flags: str, name: str = "run") -> Any: ...


class QuickFlags(Protocol):
    """Flags for `geometry` of `total` steps on `data`, with model options."""

    def __call__(self, data: Path, geometry: int, total: int, **options: Any) -> list[str]: ...


@dataclass(frozen=True)
class TinyRun:
    """A finished run of both stages on the tiny room."""

    config: Path
    data: Path

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.config.parent

    @property
    def models(self) -> Path:
        """The folder of its checkpoints: one of the last geometry steps, one of the last head step."""
        return self.folder / "nerfstudio_models"


@pytest.fixture(scope="session", autouse=True)
def _no_downloads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Weights cannot be fetched, with or without a network: what is tested must do without."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise URLError("tests fetch nothing")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch-home")))
        patch.setattr(torch.hub, "download_url_to_file", refuse)
        yield


@pytest.fixture(autouse=True)
def _no_writers() -> Iterator[None]:
    """nerfstudio keeps its loggers in module variables: a run must not write into the log of an earlier one."""
    yield
    writer = sys.modules.get("nerfstudio.utils.writer")
    if writer is not None:
        writer.EVENT_WRITERS.clear()
        writer.EVENT_STORAGE.clear()
        writer.GLOBAL_BUFFER.clear()


@pytest.fixture(scope="session")
def tiny_room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A room with 4 objects in the front3d layout: 10 training and 3 held-out views of 48x36, with noisy masks."""
    from nerfseg_plugins.rooms.generate import make_scene, write_scene

    folder = tmp_path_factory.mktemp("data") / "room"
    room, shots = make_scene(3, "front3d", num_objects=4, num_train=10, num_val=3, width=WIDTH, height=HEIGHT)
    write_scene(folder, room, shots, noisy=True)
    return folder


@pytest.fixture(scope="session")
def ns_config() -> NsConfig:
    """`ns-train`'s own parser, with the flags that all runs of tests share."""

    def parse(method: str, output: Path, *flags: str, name: str = "run") -> Any:
        import tyro
        from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

        always = ["--vis=tensorboard", "--machine.device-type=cpu", "--viewer.quit-on-train-completion=True"]
        places = [f"--output-dir={output}", "--experiment-name=room", f"--timestamp={name}"]
        return tyro.cli(AnnotatedBaseConfigUnion, args=[method, *always, *places, *flags])

    return parse


@pytest.fixture(scope="session")
def ns_train(ns_config: NsConfig) -> NsTrain:
    """`ns-train` within this process, which spares the ten seconds of nerfstudio's imports."""

    def run(method: str, output: Path, *flags: str, name: str = "run") -> Path:
        from nerfstudio.scripts.train import main

        main(ns_config(method, output, *flags, name=name))
        return output / "room" / method / name / "config.yml"

    return run


@pytest.fixture(scope="session")
def quick_flags() -> QuickFlags:
    """Flags of a run of a few steps on as few parameters as possible: for what does not depend on quality."""

    def flags(data: Path, geometry: int, total: int, **options: Any) -> list[str]:
        sizes = {"num_levels": 2, "max_res": 16, "log2_hashmap_size": 8, "hidden_dim": 8, "hidden_dim_color": 8}
        head = {"head_num_levels": 2, "head_max_res": 16, "head_log2_hashmap_size": 8, "head_hidden_dim": 8}
        return [
            *small_fields(**{"geometry_steps": geometry, **sizes, **head, **options}),
            "--pipeline.datamanager.train-num-rays-per-batch=32",
            "--pipeline.datamanager.head-num-rays-per-batch=32",
            f"--data={data}",
            f"--max-num-iterations={total}",
        ]

    return flags


@pytest.fixture(scope="session")
def tiny_flags(tiny_room: Path) -> list[str]:
    """Flags of a tiny run on the tiny room: 120 + 110 steps, a checkpoint at step 119 and at the end."""
    total = GEOMETRY_STEPS + HEAD_STEPS
    return [
        *small_fields(),
        f"--data={tiny_room}",
        f"--max-num-iterations={total}",
        f"--steps-per-save={GEOMETRY_STEPS - 1}",
        "--save-only-latest-checkpoint=False",
        "--steps-per-eval-batch=110",
        "--steps-per-eval-image=130",
    ]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, ns_train: NsTrain, tiny_room: Path, tiny_flags: list[str]):
    """One run of both stages that many tests read and none changes."""
    config = ns_train("instance-nerf-tiny", tmp_path_factory.mktemp("runs"), *tiny_flags)
    return TinyRun(config, tiny_room)
