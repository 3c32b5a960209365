"""What pose inversion takes from a loaded run."""

from collections.abc import Iterator
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfseg_plugins.inerf.config import PoseConfig
from nerfseg_plugins.inerf.estimate import Estimator, Level
from nerfseg_plugins.inerf.matching import References, rendered_views, spread_views
from nerfseg_plugins.inerf.object_grid import can_copy, copy_object
from nerfseg_plugins.inerf.pyramid import bake, can_bake
from nerfseg_plugins.inerf.scene import FrozenScene
from nerfseg_plugins.scene.run import Run


def estimator_of_run(run: Run, config: PoseConfig) -> Estimator:
    """An estimator for the scene of a run; bakes its coarse copies.

    Raises:
        InputError: the run's model renders whole images only.
    """
    outputs = ("rgb",) if config.features is None else ("rgb", config.features)
    scene = FrozenScene(run.pipeline.model, outputs, config.samples_per_ray)
    cameras = training_cameras(run)
    eyes = cameras.camera_to_worlds[..., 3]
    coarse = config.coarse and config.photometric.channels != "none"  # the copies have colours, but no features
    levels: list[Level] = []
    if coarse and can_bake(scene):
        levels += bake(scene, config.pyramid, eyes)
    elif config.solver == "mean" and coarse and can_copy(scene):
        levels.append(copy_object(scene, config.grid))
    return Estimator(scene, config, levels, cameras.camera_to_worlds, lambda: _references(run, scene, cameras, config))


def training_cameras(run: Run) -> Cameras:
    """The cameras (N) that the run was trained with, scene frame."""
    return run.dataset("train").cameras.to(run.pipeline.device)


def background_of(run: Run) -> tuple[float, float, float]:
    """RGB in [0, 1] that the run puts behind photos with transparency."""
    model: Any = run.pipeline.model
    background = model.renderer_rgb.background_color
    if isinstance(background, Tensor):
        return tuple(background.tolist())  # type: ignore[return-value]
    if background in ("random", "black"):  # in evaluation, nothing is added behind what was trained on random colours
        return (0.0, 0.0, 0.0)
    alpha = getattr(run.config.pipeline.datamanager.dataparser, "alpha_color", None)  # type: ignore[attr-defined]
    return (0.0, 0.0, 0.0) if alpha == "black" else (1.0, 1.0, 1.0)


def _references(run: Run, scene: FrozenScene, cameras: Cameras, config: PoseConfig) -> References:
    """The run's own views to match with: of many, those that lie furthest apart."""
    matching = config.matching
    rendered = matching.references == "rendered"
    count = matching.max_rendered if rendered else matching.max_references
    chosen = spread_views(cameras.camera_to_worlds, count)
    if rendered:
        views = rendered_views(scene, cameras[torch.tensor(chosen, device=cameras.device)], matching.max_side)
    else:
        views = _photos(run, cameras, chosen)
    return References.build(scene, views, matching)


def _photos(run: Run, cameras: Cameras, chosen: list[int]) -> Iterator[tuple[Tensor, Cameras]]:
    """Training photos (H, W, 3) with their cameras."""
    dataset = run.dataset("train")
    background = torch.tensor(background_of(run))
    for index in chosen:
        image = dataset[index]["image"].float()
        if image.shape[-1] == 4:
            image = image[..., :3] * image[..., 3:] + background * (1 - image[..., 3:])
        yield image.to(run.pipeline.device), cameras[index : index + 1]
