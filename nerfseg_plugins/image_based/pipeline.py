"""Pipeline of image-based methods: gives the model a scene to show, and in training source views with every batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import torch
from nerfstudio.pipelines.base_pipeline import Pipeline, VanillaPipeline, VanillaPipelineConfig
from torch.cuda.amp.grad_scaler import GradScaler

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based import processes
from nerfseg_plugins.image_based.datamanager import ImageBasedDataManager, ImageBasedDataManagerConfig
from nerfseg_plugins.image_based.model import ImageBasedModel, ImageBasedModelConfig
from nerfseg_plugins.scene.checkpoint import differences, find_checkpoint, model_state, read_checkpoint
from nerfseg_plugins.scene.config_file import read_config

IGNORED = ("lpips.", "device_indicator_param")
"""State keys of what is no part of the method."""
PUBLISHED = (".pth", ".pt")
"""Suffixes of checkpoints that are no runs."""


@dataclass
class ImageBasedPipelineConfig(VanillaPipelineConfig):
    """Configuration of an image-based method."""

    _target: type = field(default_factory=lambda: ImageBasedPipeline)
    """target class to instantiate"""
    datamanager: ImageBasedDataManagerConfig = field(default_factory=ImageBasedDataManagerConfig)
    """the scenes"""
    model: ImageBasedModelConfig = field(default_factory=ImageBasedModelConfig)
    """the networks"""
    pretrained: Optional[Path] = None
    """The config.yml of another run, of which the networks that both have in common are taken over, or a checkpoint
    (.pth, .pt) that the method's authors published."""


class ImageBasedPipeline(VanillaPipeline):
    """The networks, the scene that they show, and the scenes that they learn from.

    Raises:
        InputError: the data cannot be used, or the shown scene has too few source views.
    """

    config: ImageBasedPipelineConfig

    def __init__(
        self,
        config: ImageBasedPipelineConfig,
        device: str,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: Optional[GradScaler] = None,
    ) -> None:
        Pipeline.__init__(self)  # VanillaPipeline's takes it for granted that several processes mean several GPUs
        self.config, self.test_mode, self.world_size = config, test_mode, world_size
        datamanager = config.datamanager.setup(
            device=device, test_mode=test_mode, world_size=world_size, local_rank=local_rank
        )
        assert isinstance(datamanager, ImageBasedDataManager)
        self.datamanager = datamanager.to(device)
        model = config.model.setup(
            scene_box=datamanager.train_dataset.scene_box,
            num_train_data=len(datamanager.train_dataset),
            metadata=datamanager.train_dataset.metadata,
            device=device,
            grad_scaler=grad_scaler,
        )
        assert isinstance(model, ImageBasedModel)
        model.to(device)
        model.open_scene(datamanager.shown)
        self._model: Any = processes.wrap(model, local_rank) if world_size > 1 else model
        for title, panel in getattr(model, "panels", dict)().items():  # the viewer shows each in a folder of this title
            self.add_module(title, panel)

    @property
    def image_based_model(self) -> ImageBasedModel:
        """The model, unwrapped."""
        model = self.model
        assert isinstance(model, ImageBasedModel)
        return model

    @property
    def scenes(self) -> ImageBasedDataManager:
        """The data."""
        manager = self.datamanager
        assert isinstance(manager, ImageBasedDataManager)
        return manager

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Outputs, losses and metrics of a step, which draws the same in a resumed run as in an uninterrupted one."""
        manager = self.scenes
        rays, batch = manager.next_train(step)
        # What the model draws itself depends on the step alone, too, and differs between processes.
        torch.manual_seed(int(manager.rng_of(step).integers(1 << 62)))
        outputs = self._model(rays, batch["views"])  # wrapped, where processes share their gradients
        metrics = self.image_based_model.get_metrics_dict(outputs, batch)
        return outputs, self.image_based_model.get_loss_dict(outputs, batch, metrics), metrics

    def load_pipeline(self, loaded_state: Mapping[str, Any], step: int) -> None:
        """Load a checkpoint's weights, strictly.

        Raises:
            InputError: the checkpoint is of another model.
        """
        state = model_state({"pipeline": dict(loaded_state)})
        self.image_based_model.check_state(state)
        found = differences(self.model, state, ignore=IGNORED)
        if found:
            raise InputError(
                f"the checkpoint does not fit this run's model: {found[0]} ({len(found)} differences); it was trained "
                "with other options or on features of another width: use those, or train again"
            )
        super().load_pipeline(dict(loaded_state), step)
        self.image_based_model.after_loading()

    def adopt(self, run: Path) -> None:
        """Take over those networks of another run that the model says it shares with it; each whole, or an error.

        Args:
            run: its config.yml, or a published checkpoint.

        Raises:
            InputError: no run, no checkpoint, or nothing in it fits.
        """
        if run.suffix in PUBLISHED:
            self.image_based_model.load_published(run)
            return
        path = find_checkpoint(Path(run).parent / read_config(run).relative_model_dir)
        model = self.image_based_model
        state = model.adopts(model_state(read_checkpoint(path)))
        if not state:
            raise InputError(f"{path} holds no networks that this method could take over; pass a run of another method")
        model.check_state(state)
        parts = {key.split(".")[0] for key in state}
        others = tuple(f"{key}." for key, _ in model.named_children() if key not in parts)
        if found := differences(model, state, ignore=(*IGNORED, *others)):
            raise InputError(
                f"{path} does not fit this model: {found[0]} ({len(found)} differences); set the options of that run, "
                "or train without pretrained"
            )
        model.load_state_dict({**model.state_dict(), **state})
