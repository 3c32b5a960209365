"""What nerfstudio 1.1.5 needs on today's torch and on machines without a network. The only place that patches anything.

Method configurations import this module and call `apply()`; nerfstudio loads every method configuration in each of its
commands, so `ns-train`, `ns-eval`, `ns-render` and `ns-viewer` all run patched.
"""

import functools
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor, nn

from nerfseg_plugins import train_ranks
from nerfseg_plugins.errors import install_excepthook


@functools.cache
def apply() -> None:
    """Apply every patch of this module once per process."""
    install_excepthook()
    quieten_nerfstudio()
    allow_numpy_scalars()
    use_lazy_lpips()
    use_vanilla_datamanager_on_cpu()
    gather_hash_corners_at_once()
    use_steady_pca_colors()
    provide_ffmpeg()
    train_in_several_processes()


def quieten_nerfstudio() -> None:
    """Leave out what today's torch says of nerfstudio's own lines: nobody here can mend them."""
    said = ("Using a non-tuple sequence", "`torch.cuda.amp", "`torch.jit.script` is", "This DataLoader will create")
    for message in said:
        warnings.filterwarnings("ignore", message=message)


def allow_numpy_scalars() -> None:
    """Let `torch.load(weights_only=True)`, the default since torch 2.6, read nerfstudio's checkpoints.

    nerfstudio's schedulers put NumPy float64 learning rates into the optimiser state. Three harmless types are allowed,
    and nothing else: checkpoints stay unable to run code.
    """
    if not hasattr(torch.serialization, "add_safe_globals"):  # torch < 2.4 loads them as they are
        return
    # The function's module moved in numpy 2; either name may stand in a file.
    scalar: Any = np.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals(
        [
            (scalar, "numpy.core.multiarray.scalar"),
            (scalar, "numpy._core.multiarray.scalar"),
            np.dtype,
            type(np.dtype(np.float64)),
            type(np.dtype(np.float32)),
            type(np.dtype(np.int64)),
        ]
    )


class LazyLPIPS(nn.Module):
    """LPIPS whose weights are fetched on first use, instead of when a model is built.

    Where they cannot be had the value is NaN, after one warning; reports leave a NaN metric out.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self._args = (args, kwargs)
        self._metric: list[nn.Module] = []  # in a list, so that the weights enter neither checkpoints nor optimisers
        self._available = True

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """LPIPS of two image batches (B, 3, H, W) in [0, 1], or NaN without weights."""
        if self._available and not self._metric:
            self._fetch()
        if not self._available:
            return torch.full((), torch.nan)
        metric = self._metric[0].to(prediction.device)
        return metric(prediction, target)

    def _fetch(self) -> None:
        args, kwargs = self._args
        try:
            self._metric.append(_lpips_class()(*args, **kwargs))
        except (OSError, ImportError) as error:  # urllib's URLError is an OSError
            self._available = False
            _warn_without_lpips(str(error))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Take no weights: those that unpatched runs saved with their model are the public ones anyway."""


@functools.cache
def _warn_without_lpips(reason: str) -> None:
    from nerfstudio.utils.rich_utils import CONSOLE

    CONSOLE.print(f"[yellow]LPIPS is left out: its weights could not be fetched ({reason}).[/yellow]")


@functools.cache
def _lpips_class() -> type[nn.Module]:
    """torchmetrics' own class, kept before `use_lazy_lpips` replaces its name."""
    from torchmetrics.image import lpip

    return lpip.LearnedPerceptualImagePatchSimilarity


def use_lazy_lpips() -> None:
    """Build models without the network; nerfacto otherwise downloads AlexNet in its constructor."""
    from nerfstudio.models.nerfacto import NerfactoModel
    from torchmetrics.image import lpip

    _lpips_class()
    lpip.LearnedPerceptualImagePatchSimilarity = LazyLPIPS  # type: ignore[misc]

    original = NerfactoModel.get_image_metrics_and_images

    @functools.wraps(original)
    def without_nan(self: NerfactoModel, outputs: dict, batch: dict) -> tuple[dict, dict]:
        metrics, images = original(self, outputs, batch)
        if np.isnan(metrics.get("lpips", 0.0)):
            del metrics["lpips"]
        return metrics, images

    NerfactoModel.get_image_metrics_and_images = without_nan  # type: ignore[method-assign]


def use_vanilla_datamanager_on_cpu() -> None:
    """Load data in the training process on a CPU run; the parallel datamanager's processes starve a small machine."""
    from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager
    from nerfstudio.data.datamanagers.parallel_datamanager import ParallelDataManagerConfig

    original = ParallelDataManagerConfig.setup

    @functools.wraps(original)
    def setup(self: ParallelDataManagerConfig, **kwargs: Any) -> Any:
        if str(kwargs.get("device", "cpu")).startswith("cpu"):
            return VanillaDataManager(self, **kwargs)
        return original(self, **kwargs)

    ParallelDataManagerConfig.setup = setup  # type: ignore[method-assign]


def hash_encode(grid: Any, positions: Tensor) -> Tensor:
    """Multiresolution hash encoding (Instant-NGP, arXiv 2201.05989, section 3) with one gather for the eight corners.

    nerfstudio's torch path looks the corners up one by one, and in the backward pass every look-up fills a gradient of
    the whole table: eight times the memory traffic. Values agree to rounding.

    Args:
        grid: nerfstudio's HashEncoding; its table, scalings and offsets are used.
        positions: (..., 3) in [0, 1].

    Returns:
        (..., levels * features).
    """
    scaled = positions[..., None, :] * grid.scalings.view(-1, 1).to(positions.device)  # (..., L, 3)
    floor = torch.floor(scaled)
    offset = scaled - floor
    primes = torch.tensor([1, 2654435761, 805459861], device=positions.device)
    low = floor.long() * primes
    keys = torch.stack([low, low + primes], dim=-1)  # (..., L, 3, 2): both ends along each axis
    share = torch.stack([1 - offset, offset], dim=-1)
    index = keys[..., 0, :, None, None] ^ keys[..., 1, None, :, None] ^ keys[..., 2, None, None, :]
    weight = share[..., 0, :, None, None] * share[..., 1, None, :, None] * share[..., 2, None, None, :]
    # The table size is a power of two, so the mask is the modulus, of negative numbers too.
    index = (index & (grid.hash_table_size - 1)) + grid.hash_offset.to(positions.device).view(-1, 1, 1, 1)
    corners = grid.hash_table[index.flatten(-3)]  # (..., L, 8, F)
    return (corners * weight.flatten(-3)[..., None]).sum(dim=-2).flatten(-2)


def gather_hash_corners_at_once() -> None:
    """Replace the torch path of nerfstudio's HashEncoding by `hash_encode`; tinycudann's path stays."""
    from nerfstudio.field_components.encodings import HashEncoding

    original = HashEncoding.pytorch_fwd

    @functools.wraps(original)
    def pytorch_fwd(self: HashEncoding, in_tensor: Tensor) -> Tensor:
        return hash_encode(self, in_tensor)

    HashEncoding.pytorch_fwd = pytorch_fwd  # type: ignore[method-assign]


def pca_colors(image: Tensor, pca_mat: Optional[Tensor] = None, ignore_zeros: bool = True) -> Tensor:
    """Colours of a picture with many channels: its principal directions as red, green and blue.

    Args:
        image: (..., C) features.
        pca_mat: (C, 3 or more) directions to use instead.
        ignore_zeros: whether vectors of zeros are no features; they stay black.

    Returns:
        (..., 3) in [0, 1]; a hundredth at either end is cut off, and what does not vary is 0.5.
    """
    flat = torch.nan_to_num(image.detach().reshape(-1, image.shape[-1]).float())
    described = (flat != 0).any(dim=-1) if ignore_zeros else torch.ones_like(flat[:, 0], dtype=torch.bool)
    colors = torch.zeros(len(flat), 3, device=flat.device)
    features = flat[described]
    if len(features):
        directions = _principal_directions(features) if pca_mat is None else pca_mat
        shown = features @ directions[:, :3]
        ends = torch.tensor([0.01, 0.99], device=flat.device)
        # Of many pixels some are enough, and quantile() takes no more than 16 million.
        low, high = shown[:: 1 + len(shown) // 1_000_000].quantile(ends, dim=0)
        varies = high - low > 1e-6 * shown.abs().amax()
        colors[described] = torch.where(varies, (shown - low) / torch.where(varies, high - low, 1.0), 0.5).clamp(0, 1)
    return colors.view(*image.shape[:-1], 3)


def _principal_directions(features: Tensor) -> Tensor:
    """(C, C) orthonormal columns, those of the largest variance of features (N, C) first."""
    centred = features - features.mean(dim=0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    directions = vectors.flip(-1)
    # The sign of a direction is arbitrary; without a rule colours would flip from picture to picture.
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    return directions * torch.where(largest < 0, -1.0, 1.0)


def use_steady_pca_colors() -> None:
    """Replace the colours in which the viewer and `ns-render` show outputs of many channels.

    nerfstudio's fail where a picture hardly varies, as where one looks at nothing, and change from frame to frame.
    """
    from nerfstudio.utils import colormaps

    colormaps.apply_pca_colormap = pca_colors  # type: ignore[assignment]


def provide_ffmpeg() -> None:
    """Put imageio-ffmpeg's binary on PATH where the system has no ffmpeg: `ns-render` and mediapy look only there."""
    if shutil.which("ffmpeg"):
        return
    import imageio_ffmpeg

    folder = Path.home() / ".cache" / "nerfseg-plugins" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "ffmpeg"
    if not link.exists():
        link.unlink(missing_ok=True)  # a link left by an environment that is gone
        link.symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}{os.pathsep}{folder}"


def train_in_several_processes() -> None:
    """Let `ns-train METHOD --machine.num-devices N` train on CPUs as on GPUs, and end in a sentence instead of a hang.

    nerfstudio's worker insists on CUDA, and its pipelines name a GPU to torch wherever they are. What a GPU needs stays
    as it is. `nerfstudio.scripts.train` is still being imported when this runs, so what it calls is replaced in torch.
    """
    spawn = torch.multiprocessing.spawn

    @functools.wraps(spawn)
    def start(fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, *rest: Any, **options: Any) -> Any:
        if fn.__name__ == "_distributed_worker" and fn.__module__ in ("nerfstudio.scripts.train", "__main__"):
            return train_ranks.start_ranks(train_rank, nprocs, *args)
        return spawn(fn, args, nprocs, *rest, **options)

    torch.multiprocessing.spawn = start
    if torch.distributed.is_available():
        name_no_gpu_on_cpus()


def name_no_gpu_on_cpus() -> None:
    """Let pipelines wrap a model that is on the CPU and wait for others without NCCL; torch refuses their arguments."""
    from torch.nn.parallel import DistributedDataParallel

    wrap, barrier = DistributedDataParallel.__init__, torch.distributed.barrier

    @functools.wraps(wrap)
    def wrap_anywhere(self: Any, module: nn.Module, device_ids: Any = None, *rest: Any, **options: Any) -> None:
        on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
        wrap(self, module, None if on_cpu else device_ids, *rest, **options)

    @functools.wraps(barrier)
    def barrier_anywhere(group: Any = None, *rest: Any, **options: Any) -> Any:
        if torch.distributed.get_backend(group) != torch.distributed.Backend.NCCL:
            options.pop("device_ids", None)
        return barrier(group, *rest, **options)

    DistributedDataParallel.__init__ = wrap_anywhere  # type: ignore[method-assign]
    torch.distributed.barrier = barrier_anywhere


def train_rank(*args: Any) -> None:
    """One of several training processes, which begins with a nerfstudio that nobody has patched."""
    apply()
    train_ranks.train_rank(*args)
