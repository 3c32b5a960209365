"""A trained run, loaded for use: the way every command reaches a scene."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipeline
from torch import Tensor

from nerfseg_plugins import compat
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene import frames
from nerfseg_plugins.scene.checkpoint import find_checkpoint, read_checkpoint
from nerfseg_plugins.scene.config_file import read_config

Split = Literal["train", "val"]


@dataclass
class Run:
    """A loaded run."""

    config: TrainerConfig
    pipeline: VanillaPipeline
    step: int
    """Step of the loaded checkpoint."""
    folder: Path
    """The run's folder, where its config.yml lies."""
    checkpoint: Path

    def dataset(self, split: Split) -> Any:
        """nerfstudio's dataset of the views trained on, or of those held out."""
        manager: Any = self.pipeline.datamanager
        return manager.train_dataset if split == "train" else manager.eval_dataset

    @property
    def transform(self) -> tuple[np.ndarray, float]:
        """(3, 4) matrix A and scale s with x_scene = s * (A @ [x_data, 1]); see `frames.frame_transform`."""
        manager: Any = self.pipeline.datamanager
        return frames.frame_transform(manager.config.dataparser, manager.train_dataparser_outputs)

    def to_scene_frame(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) from the data's frame to the scene's (normalised) frame."""
        return frames.points_to_scene(points, *self.transform)

    def to_data_frame(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) from the scene's frame to the data's (metres, where the data are metric)."""
        return frames.points_to_data(points, *self.transform)

    def pose_to_scene_frame(self, c2w: np.ndarray) -> np.ndarray:
        """Camera-to-world (..., 3, 4) or (..., 4, 4) from the data's frame to the scene's; rotations stay rotations."""
        return frames.pose_to_scene(c2w, *self.transform)

    def pose_to_data_frame(self, c2w: np.ndarray) -> np.ndarray:
        """Camera-to-world (..., 3, 4) or (..., 4, 4) from the scene's frame to the data's; rotations stay rotations."""
        return frames.pose_to_data(c2w, *self.transform)


@dataclass
class View:
    """One rendered view."""

    index: int
    image_path: Path
    camera: Cameras
    """One camera, scene frame."""
    batch: dict[str, Any]
    """What the dataset holds of this view: "image" (H, W, 3) in [0, 1], masks, ..."""
    outputs: dict[str, Tensor]
    """Model outputs (H, W, C) on the CPU."""


def load_run(
    config_path: Path,
    test_mode: Literal["test", "val", "inference"] = "val",
    step: Optional[int] = None,
    change: Optional[Callable[[TrainerConfig], None]] = None,
) -> Run:
    """Load a run of any ray-based method from its `config.yml`, with its newest checkpoint.

    The checkpoint is looked for beside the configuration, so a run loads from any working directory and after a move.

    Args:
        config_path: RUN/config.yml.
        test_mode: which views `eval_dataset` holds; "inference" loads no images.
        step: a certain checkpoint instead of the newest.
        change: what to do to the configuration before the run is built from it.

    Raises:
        InputError: missing or damaged configuration, data or checkpoint, or weights that do not fit.
    """
    compat.apply()
    config_path = Path(config_path)
    config = read_config(config_path)
    if change is not None:
        change(config)
    checkpoint = find_checkpoint(config_path.parent / config.relative_model_dir, step)
    state = read_checkpoint(checkpoint)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = config.pipeline.setup(device=device, test_mode=test_mode)
    try:
        pipeline.load_pipeline(state["pipeline"], state["step"])
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from error
    except RuntimeError as error:  # how nerfstudio's own methods report weights of other shapes
        raise InputError(
            f"{checkpoint} does not fit the model of {config_path}; use the data that it was trained on"
        ) from error
    pipeline.eval()
    return Run(config, pipeline, int(state["step"]), config_path.parent, checkpoint)


def render_views(
    run: Run,
    split: Split,
    names: Optional[Sequence[str]] = None,
    indices: Optional[Sequence[int]] = None,
    downscale: float = 1.0,
    stride: int = 1,
) -> Iterator[View]:
    """Render the views of a split, one at a time.

    Args:
        run: a loaded run.
        split: "train" for the views trained on, "val" for those held out.
        names: the outputs to keep; None keeps all.
        indices: the views to render, by their place in the dataset; None renders all.
        downscale: factor on the resolution of what is rendered (not of the batch), 0.5 renders half the width.
        stride: renders only every n-th pixel of every n-th row, exactly as they would be in the whole picture.

    Yields:
        Views in the dataset's order.

    Raises:
        InputError: the model has no output of a wanted name.
    """
    dataset = run.dataset(split)
    cameras = dataset.cameras
    for index in range(len(dataset)) if indices is None else indices:
        camera = cameras[index : index + 1].to(run.pipeline.device)
        if downscale != 1.0:
            camera.rescale_output_resolution(downscale)
        if stride != 1:
            camera = every_nth(camera, stride)
        with torch.no_grad():
            outputs = run.pipeline.model.get_outputs_for_camera(camera)
        if missing := [name for name in names or () if name not in outputs]:
            raise InputError(
                f"the run in {run.folder} renders no {missing[0]!r} (it has {', '.join(sorted(outputs))}); if that "
                "is what its head adds, train the head first"
            )
        kept = {name: outputs[name].cpu() for name in names or outputs}
        yield View(index, Path(dataset.image_filenames[index]), camera.to("cpu"), dataset[index], kept)


def every_nth(camera: Cameras, stride: int) -> Cameras:
    """The camera (1,) whose picture is every n-th pixel of every n-th row, beginning with the first, of this one's."""
    found = camera[...]
    # Pixel j of the new row is pixel n j of the old one; centres are at + 0.5 in both.
    found.cx, found.cy = ((center - 0.5) / stride + 0.5 for center in (camera.cx, camera.cy))
    found.fx, found.fy = camera.fx / stride, camera.fy / stride
    found.width, found.height = (-(-side // stride) for side in (camera.width, camera.height))
    return found
