"""nerfstudio on today's torch, without a network and without a GPU."""

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import nn

from nerfseg_plugins import compat
from nerfseg_plugins.errors import InputError

compat.apply()


# Checkpoints ---------------------------------------------------------------------------------------------------------


def test_checkpoints_with_numpy_scalars_load(tmp_path: Path):
    state = {"a": np.float64(0.25), "b": np.float32(3), "c": np.int64(7)}
    torch.save(state, tmp_path / "a.ckpt")
    loaded = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert loaded == state and [type(value) for value in loaded.values()] == [np.float64, np.float32, np.int64]


def test_what_nerfstudios_schedulers_save_loads(tmp_path: Path):
    from nerfstudio.engine.optimizers import AdamOptimizerConfig, Optimizers
    from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig

    parameter = nn.Parameter(torch.ones(2))
    group = {"optimizer": AdamOptimizerConfig(), "scheduler": ExponentialDecaySchedulerConfig(lr_final=1e-4)}
    optimizers = Optimizers({"fields": group}, {"fields": [parameter]})
    parameter.grad = torch.ones(2)
    optimizers.optimizer_step_all()
    optimizers.scheduler_step_all(0)
    state = [optimizers.optimizers["fields"].state_dict(), optimizers.schedulers["fields"].state_dict()]
    assert isinstance(state[0]["param_groups"][0]["lr"], np.float64), "else this test shows nothing"
    torch.save(state, tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)[1]["last_epoch"] == 1


# LPIPS ---------------------------------------------------------------------------------------------------------------


def no_network(*args, **kwargs):
    raise URLError("Name or service not known")


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)


def test_lpips_is_left_out_after_one_warning(images, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity as Metric

    calls = []
    monkeypatch.setattr(compat, "_lpips_class", lambda: lambda **options: calls.append(options) or no_network())
    compat._warn_without_lpips.cache_clear()
    first, second = Metric(normalize=True), Metric(normalize=True)
    assert calls == [], "nothing is fetched when a model is built"
    values = [first(*images), first(*images), second(*images)]
    assert all(torch.isnan(value) and value.shape == () for value in values)
    assert calls == [{"normalize": True}] * 2, "each tries once"
    said = capsys.readouterr().out
    assert said.count("LPIPS is left out") == 1 and "Name or service not known" in said


def test_the_real_lpips_without_its_weights(images, capsys: pytest.CaptureFixture):
    compat._warn_without_lpips.cache_clear()
    assert torch.isnan(compat.LazyLPIPS(normalize=True)(*images))  # conftest's torch.hub refuses to download
    assert "LPIPS is left out" in capsys.readouterr().out


def test_other_errors_of_lpips_are_not_hidden(images, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="net_type"):
        compat.LazyLPIPS(net_type="nonsense")(*images)


def test_lpips_with_weights_is_built_once_and_enters_no_checkpoint(images, monkeypatch: pytest.MonkeyPatch):
    built = []

    class Distance(nn.Linear):
        def __init__(self) -> None:
            super().__init__(1, 1)
            built.append(self)

        def forward(self, prediction, target):
            return (prediction - target).abs().mean()

    monkeypatch.setattr(compat, "_lpips_class", lambda: Distance)
    holder = nn.Module()
    holder.lpips = compat.LazyLPIPS()
    expected = (images[0] - images[1]).abs().mean()
    assert holder.lpips(*images) == expected == holder.lpips(*images)
    assert len(built) == 1 and holder.state_dict() == {} and list(holder.parameters()) == []
    # Runs of unpatched nerfstudio saved the weights: they load, and are dropped.
    holder.load_state_dict({"lpips.net.lin0.weight": torch.ones(2)}, strict=True)


# Data on a CPU -------------------------------------------------------------------------------------------------------


def test_a_cpu_run_spawns_no_processes(tiny_room: Path):
    from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager
    from nerfstudio.data.datamanagers.parallel_datamanager import ParallelDataManagerConfig

    from nerfseg_plugins.dataparsers.front3d import Front3DDataParserConfig

    for device in ("cpu", torch.device("cpu")):
        config = ParallelDataManagerConfig(
            dataparser=Front3DDataParserConfig(data=tiny_room), train_num_rays_per_batch=32
        )
        manager = config.setup(device=device, test_mode="val", world_size=1, local_rank=0)
        assert type(manager) is VanillaDataManager
        bundle, batch = manager.next_train(0)
        assert len(bundle) == 32 and batch["image"].shape == (32, 3)
    assert multiprocessing.active_children() == []
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    assert not children.is_file() or children.read_text().strip() == ""


# Colours of features -------------------------------------------------------------------------------------------------


def test_the_main_directions_become_red_green_and_blue():
    """Against sklearn, up to the signs of its directions."""
    from nerfstudio.utils.colormaps import apply_colormap
    from sklearn.decomposition import PCA

    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(20, 30, 5, generator=generator) * torch.tensor([1.0, 9.0, 3.0, 5.0, 0.5])
    colors = apply_colormap(picture)
    assert colors.shape == (20, 30, 3) and colors.min() == 0 and colors.max() == 1
    projected = torch.from_numpy(PCA(3).fit_transform(picture.view(-1, 5).numpy()))
    for channel in range(3):
        both = torch.stack([colors.view(-1, 3)[:, channel], projected[:, channel].float()])
        assert abs(float(torch.corrcoef(both)[0, 1])) > 0.99
    assert torch.equal(apply_colormap(picture), colors), "again the same"


@pytest.mark.parametrize("rest", [0.0, 1.0])
@pytest.mark.parametrize("varying", [0, 1, 2, 5])
def test_a_picture_that_hardly_varies_can_be_shown(rest: float, varying: int):
    from nerfstudio.utils.colormaps import apply_colormap

    picture = torch.full((64, 16), rest)
    picture[:varying] = torch.rand(varying, 16, generator=torch.Generator().manual_seed(1))
    colors = apply_colormap(picture.view(8, 8, 16))
    assert colors.shape == (8, 8, 3) and torch.isfinite(colors).all() and 0 <= colors.min() <= colors.max() <= 1
    if rest == 0:
        assert colors.view(-1, 3)[varying:].max() == 0, "what is not described stays black"
    elif varying == 0:
        assert torch.equal(colors, torch.full_like(colors, 0.5))


# Several processes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch):
    """A group of this one process, without CUDA."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # torch puts the rank before what is printed, for good
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_a_pipeline_on_the_cpu_is_wrapped_and_waits(group):
    """What VanillaPipeline does with its model in every one of several processes."""
    from nerfstudio.pipelines import base_pipeline

    model = nn.Linear(2, 1)
    wrapped = base_pipeline.DDP(model, device_ids=[0], find_unused_parameters=True)
    base_pipeline.dist.barrier(device_ids=[0])
    assert base_pipeline.module_wrapper(wrapped) is model and wrapped.device_ids is None
    wrapped(torch.ones(3, 2)).sum().backward()
    assert torch.equal(model.weight.grad, torch.full((1, 2), 3.0))


def test_a_pipeline_elsewhere_keeps_its_device(group):
    """The meta device stands for the GPU that is not here."""
    wrapped = nn.parallel.DistributedDataParallel(nn.Linear(2, 1, device="meta"), device_ids=[0], init_sync=False)
    assert wrapped.device_ids == [0]


@pytest.mark.parametrize(
    ("count", "device", "said"),
    [
        (
            3,
            "cuda",
            "--machine.num-devices is 3, but CUDA devices here are 2; pass at most that many, or --mach",
        ),
        (2, "mps", "mps trains in one process; pass --machine.num-devices 1, or --machine.device-type cpu"),
    ],
)
def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch, count: int, device: str, said: str):
    from nerfstudio.engine.trainer import TrainerConfig
    from nerfstudio.scripts.train import launch, train_loop

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=re.escape(said)):
        launch(train_loop, count, config=TrainerConfig(method_name="nothing"), device_type=device)  # type: ignore[arg-type]
    assert multiprocessing.active_children() == []


def test_other_processes_are_started_as_ever(tmp_path: Path):
    torch.multiprocessing.spawn(os.mkdir, args=(), nprocs=0)
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="TypeError"):
        torch.multiprocessing.spawn(os.mkdir, args=(None, str(tmp_path)), nprocs=1)


# ffmpeg --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stale", [False, True])
def test_an_ffmpeg_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stale: bool):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("HOME", str(tmp_path))
    if stale:  # left by an environment that is gone
        link = tmp_path / ".cache" / "nerfseg-plugins" / "bin" / "ffmpeg"
        link.parent.mkdir(parents=True)
        link.symlink_to(tmp_path / "gone")
    compat.provide_ffmpeg()
    found = shutil.which("ffmpeg")
    assert found is not None
    assert subprocess.run([found, "-version"], capture_output=True, check=True).stdout.startswith(b"ffmpeg version")


def test_the_systems_ffmpeg_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    compat.provide_ffmpeg()
    assert os.environ["PATH"] == str(tmp_path) and not (tmp_path / "home").exists()


# Errors --------------------------------------------------------------------------------------------------------------


def test_bad_input_ends_a_command_with_one_sentence(capsys: pytest.CaptureFixture):
    """`apply` has put the hook in place: every ns-* command has it."""
    sys.excepthook(InputError, InputError("a.png is broken; restore it"), None)
    assert capsys.readouterr().err == "error: a.png is broken; restore it\n"


def test_our_own_mistakes_keep_their_traceback(capsys: pytest.CaptureFixture):
    try:
        raise ValueError("a bug")
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    said = capsys.readouterr().err
    assert "a bug" in said and not said.startswith("error:")
