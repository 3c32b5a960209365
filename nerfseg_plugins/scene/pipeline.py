"""Pipeline of a two-stage run: knows where its geometry comes from, and refuses weights that do not fit."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.checkpoint import differences, model_state
from nerfseg_plugins.scene.datamanager import HeadDataManager
from nerfseg_plugins.scene.head_model import FrozenSamples, HeadModel


@dataclass
class HeadPipelineConfig(VanillaPipelineConfig):
    """Configuration of a two-stage run."""

    _target: type = field(default_factory=lambda: HeadPipeline)
    """target class to instantiate"""
    pretrained: Optional[Path] = None
    """The config.yml of a run of nerfacto or a method built on it: its geometry is taken over and the first stage
    skipped."""
    head_reuse: int = 4
    """Times that the head, on average, learns from a batch before it is let go: the geometry is frozen, so its samples
    of a ray stay what they are, and taking them is most of the work."""


POOL = 32
"""Batches of frozen samples that the head draws from."""


class HeadPipeline(VanillaPipeline):
    """Feeds each stage its own batches; everything else is nerfstudio's."""

    config: HeadPipelineConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # nerfstudio's viewer makes folders of attribute names; from here a panel gets one folder with its own title.
        self._pool: deque[tuple[FrozenSamples, dict[str, Any]]] = deque(maxlen=POOL)
        for title, panel in self.head_model.panels().items():
            self.add_module(title, panel)

    @property
    def head_model(self) -> HeadModel:
        """The model, unwrapped."""
        model = self.model
        assert isinstance(model, HeadModel)
        return model

    @property
    def head_datamanager(self) -> HeadDataManager:
        """The data of both stages."""
        manager = self.datamanager
        assert isinstance(manager, HeadDataManager)
        return manager

    @property
    def transform(self) -> dict[str, Any]:
        """{"transform": A (3, 4), "scale": s} of the data: x_scene = s * (A @ [x_data, 1])."""
        manager: Any = self.datamanager
        outputs = manager.train_dataparser_outputs
        return {"transform": outputs.dataparser_transform, "scale": outputs.dataparser_scale}

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """One training batch of the stage that `step` belongs to: outputs, losses, metrics."""
        model = self.head_model
        self.head_datamanager.stage = model.stage
        if model.stage == "geometry":
            return super().get_train_loss_dict(step)
        samples, batch = self._frozen_batch(step)
        outputs = self._model(samples)
        return outputs, model.get_loss_dict(outputs, batch), model.get_metrics_dict(outputs, batch)

    def _frozen_batch(self, step: int) -> tuple[FrozenSamples, dict[str, Any]]:
        """A fresh batch every `head_reuse` steps, in between one of the last `POOL`."""
        if self._pool and step % self.config.head_reuse:
            return self._pool[int(torch.randint(len(self._pool), ()))]
        bundle, batch = self.datamanager.next_train(step)
        assert isinstance(bundle, RayBundle)
        self._pool.append((self.head_model.frozen_samples(bundle), batch))
        return self._pool[-1]

    def get_eval_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Losses of a batch of held-out rays, whatever the viewer hides."""
        with self.head_model.as_trained():
            return super().get_eval_loss_dict(step)

    def get_eval_image_metrics_and_images(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Metrics and pictures of one held-out view, whatever the viewer hides."""
        with self.head_model.as_trained():
            return super().get_eval_image_metrics_and_images(step)

    def get_average_image_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Mean metrics of all held-out views, whatever the viewer hides."""
        with self.head_model.as_trained():
            return super().get_average_image_metrics(*args, **kwargs)

    def load_pipeline(self, loaded_state: Mapping[str, Any], step: int) -> None:
        """Load a checkpoint's weights, strictly; nerfstudio's would drop what does not fit without a word.

        Raises:
            InputError: the checkpoint is of another model or another number of instances, or the configuration names
                something that was made for other weights.
        """
        state = model_state({"pipeline": loaded_state})
        found = differences(self.head_model, state, ignore=("lpips.", "device_indicator_param"))
        if found:
            raise InputError(
                f"the checkpoint does not fit this run's model: {found[0]} ({len(found)} differences); it was "
                "trained with other options or on data with another number of instances: use those, or train again"
            )
        super().load_pipeline(dict(loaded_state), step)
        self.head_model.after_loading()
