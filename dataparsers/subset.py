"""A part of another parser's training views, with poses of their own; for training on views that were labelled late.

The scene frame, the held-out views, near and far, masks and all else stay those of the other parser, so that runs on
different parts are measured by the same cameras.
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import read_json

from .frame_values import read_pose


@dataclass
class SubsetDataParserConfig(DataParserConfig):
    """A part of another parser's training views."""

    _target: type = field(default_factory=lambda: Subset)
    """Target class to instantiate."""
    whole: DataParserConfig = field(default_factory=DataParserConfig)
    """The parser of all views."""
    views: Path = Path()
    """JSON file {"frames": [{"file_path": the image, an absolute path, "scene_transform_matrix": its pose, 4x4, in the
    scene frame}]}; a frame without a pose keeps the one that it has."""


class Subset(DataParser):
    """Parser of `SubsetDataParserConfig`."""

    config: SubsetDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: SubsetDataParserConfig) -> None:
        super().__init__(config)
        self._whole: DataParser = config.whole.setup()

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        outputs = self._whole.get_dataparser_outputs(split=split, **kwargs)
        return outputs if split != "train" else chosen(outputs, self.config.views)


def chosen(outputs: DataparserOutputs, path: Path) -> DataparserOutputs:
    """The views that a file lists, in the order of the parser.

    Args:
        outputs: all training views.
        path: see `SubsetDataParserConfig.views`.

    Raises:
        InputError: the file is missing, lists a view that the parser has not, or a pose is no rigid motion.
    """
    frames = {frame["file_path"]: frame for frame in read_json(path)["frames"]}
    names = [os.path.abspath(image) for image in outputs.image_filenames]
    if unknown := frames.keys() - set(names):
        raise InputError(f"{path} lists {sorted(unknown)[0]}, which is none of the training views; write it again")
    rows = [row for row, name in enumerate(names) if name in frames]
    if not rows:
        raise InputError(f"{path} lists no views; there is nothing to train on")
    cameras = outputs.cameras[torch.tensor(rows)]
    poses = cameras.camera_to_worlds.clone()
    for place, row in enumerate(rows):
        matrix = frames[names[row]].get("scene_transform_matrix")
        if matrix is not None:
            poses[place] = torch.from_numpy(read_pose(matrix, f"{names[row]} in {path}")[:3])
    cameras.camera_to_worlds = poses

    def part(values: Any) -> Any:
        """Rows of what has one entry per view."""
        return (
            [values[row] for row in rows] if isinstance(values, (list, tuple)) and len(values) == len(names) else values
        )

    return replace(
        outputs,
        image_filenames=part(outputs.image_filenames),
        mask_filenames=part(outputs.mask_filenames),
        cameras=cameras,
        metadata={key: part(value) for key, value in outputs.metadata.items()},
    )
