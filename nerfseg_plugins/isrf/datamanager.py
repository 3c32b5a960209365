"""Datamanager of ISRF: images, and the 2D features of the rays' pixels while the head is trained."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from nerfstudio.cameras.rays import RayBundle

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.find import find_features
from nerfseg_plugins.features.store import FeatureMaps
from nerfseg_plugins.manifest import read_manifest
from nerfseg_plugins.scene.datamanager import HeadDataManager, HeadDataManagerConfig


@dataclass
class IsrfDataManagerConfig(HeadDataManagerConfig):
    """Images and their 2D features; masks play no part."""

    _target: type = field(default_factory=lambda: IsrfDataManager)
    """target class to instantiate"""
    features: str = "auto"
    """2D features to learn from: auto for the only ones in DATA/features, else the name of some there, or a folder."""


class IsrfDataManager(HeadDataManager):
    """Adds `features` (R, C) float32, unit vectors, to the batches of the head stage.

    Features are read when training is about to begin; a run that is only looked at needs none.
    """

    config: IsrfDataManagerConfig

    def __init__(self, config: IsrfDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        parser: Any = config.dataparser
        if hasattr(parser, "masks"):
            parser.masks = None  # nothing is learned from masks, so what may be wrong with them is no matter here
        self.maps: Optional[FeatureMaps] = None
        super().__init__(config, *args, **kwargs)

    def head_lacks(self) -> Optional[str]:
        """Read the features of the training images.

        Returns:
            One sentence when there are none, or when it is unclear which are meant.

        Raises:
            InputError: they are damaged, or of other images.
        """
        data = Path(self.config.data or self.config.dataparser.data)
        try:
            folder = find_features(data, self.config.features)
        except InputError as error:
            return f"{error} (or name others with --pipeline.datamanager.features)"
        images = [Path(path) for path in self.train_dataset.image_filenames]
        self.maps = FeatureMaps.load(folder, images, self._command(data, folder))
        # The model is built from these metadata, and refuses another number of channels than it has.
        self.train_dataset.metadata["feature_channels"] = self.maps.channels
        return None

    def next_train(self, step: int) -> tuple[RayBundle, dict]:
        """A batch of the present stage."""
        bundle, batch = super().next_train(step)
        if self.stage == "head":
            assert self.maps is not None, "head_lacks() is asked before training"
            batch["features"] = self.maps.sample(batch["indices"].cpu())
        return bundle, batch

    def _command(self, data: Path, folder: Path) -> str:
        """The command that makes the features anew."""
        words = ["nerfseg", "features", "--data", str(data), "--source", read_manifest(folder).source]
        factor = getattr(self.config.dataparser, "downscale_factor", None)
        words += ["--downscale-factor", str(factor)] if factor else []
        words += ["--output-path", str(folder)] if folder.name != words[5] else []
        return shlex.join([*words, "--overwrite"])
