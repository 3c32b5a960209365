"""A category of tiny objects on disk, and runs of pixelnerf on it whose weights are random."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.dataparsers.srn import SRNDataParserConfig  # noqa: E402
from nerfseg_plugins.image_based.datamanager import ImageBasedDataManagerConfig  # noqa: E402
from nerfseg_plugins.image_based.pipeline import ImageBasedPipelineConfig  # noqa: E402
from nerfseg_plugins.image_based.trainer import ImageBasedTrainerConfig  # noqa: E402
from nerfseg_plugins.image_based.turntable import look_at  # noqa: E402
from nerfseg_plugins.pixelnerf.encoder import EncoderConfig  # noqa: E402
from nerfseg_plugins.pixelnerf.field import FieldConfig  # noqa: E402
from nerfseg_plugins.pixelnerf.mlp import MlpConfig  # noqa: E402
from nerfseg_plugins.pixelnerf.model import PixelNerfModelConfig  # noqa: E402
from nerfseg_plugins.pixelnerf.sampling import SamplingConfig  # noqa: E402
from nerfseg_plugins.scene.config_file import write_config  # noqa: E402

SIDE, VIEWS = 16, 7
OPENCV = np.diag([1.0, -1.0, -1.0])


def cameras() -> np.ndarray:
    """(VIEWS, 3, 4) on a circle around the origin, OpenGL, z up."""
    angle = np.arange(VIEWS) * 2 * np.pi / VIEWS
    eyes = 2 * np.stack([0.9 * np.cos(angle), 0.9 * np.sin(angle), np.full(VIEWS, np.sqrt(1 - 0.81))], axis=1)
    return look_at(eyes, np.zeros(3), np.array([0.0, 0, 1]))


def write_object(folder: Path, seed: int) -> None:
    """An object in the SRN layout: a disc of one colour on white, wider from some sides."""
    color = np.random.default_rng(seed).integers(0, 200, 3)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    for name in ("rgb", "pose"):
        (folder / name).mkdir(parents=True)
    for index, c2w in enumerate(cameras()):
        inside = (x / (3 + index % 3)) ** 2 + (y / 4) ** 2 < 1
        Image.fromarray(np.where(inside[..., None], color, 255).astype(np.uint8)).save(folder / f"rgb/{index:06d}.png")
        matrix = np.eye(4)
        matrix[:3] = np.concatenate([c2w[:, :3] @ OPENCV, c2w[:, 3:]], axis=1)
        (folder / f"pose/{index:06d}.txt").write_text(" ".join(f"{value:.9f}" for value in matrix.ravel()))
    (folder / "intrinsics.txt").write_text(f"16. {SIDE / 2} {SIDE / 2} 0.\n0. 0. 0.\n1.\n{SIDE} {SIDE}\n")


def write_category(folder: Path) -> Path:
    """Two categories: discs_train and discs_test of two objects each, rings_test of one."""
    for number, name in enumerate(("discs_train/a", "discs_train/b", "discs_test/c", "discs_test/d", "rings_test/e")):
        write_object(folder / name, number)
    (folder / "rings_train").mkdir()
    write_object(folder / "rings_train" / "f", 9)
    return folder


def write_run(folder: Path, data: Path, seed: int = 0, **options: Any) -> Path:
    """config.yml of a run of the tiniest pixelnerf on data in the SRN layout, with random weights.

    Args:
        folder: the run's.
        data: the category.
        seed: of the weights.
        options: of the datamanager.
    """
    model = PixelNerfModelConfig(
        networks=FieldConfig(
            EncoderConfig(blocks=(1, 1), width=8, num_stages=1, first_pool=False, norm="group"),
            MlpConfig(16, 2, 1),
            MlpConfig(16, 2, 1),
            num_frequencies=2,
        ),
        samples=SamplingConfig(num_coarse=6, num_importance=2, num_depth=2),
    )
    manager = ImageBasedDataManagerConfig(dataparser=SRNDataParserConfig(data=data), data=data, **options)
    config = ImageBasedTrainerConfig(
        method_name="pixelnerf-tiny",
        output_dir=folder.parent,
        pipeline=ImageBasedPipelineConfig(datamanager=manager, model=model),
    )
    torch.manual_seed(seed)
    pipeline: Any = config.pipeline.setup(device="cpu", test_mode="inference")
    with torch.no_grad():  # something to see, and different colours
        for network in (pipeline.model.field.mlp_coarse, pipeline.model.field.mlp_fine):
            network.lin_out.bias[3] = 1.0
            network.lin_out.weight.mul_(4)
    (folder / "nerfstudio_models").mkdir(parents=True)
    state = {"step": 5, "pipeline": pipeline.state_dict()}
    torch.save(state, folder / "nerfstudio_models" / "step-000000005.ckpt")
    write_config(folder / "config.yml", config)
    return folder / "config.yml"
