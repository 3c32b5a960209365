"""What the commands on runs of image-based methods share: the network without the data that it was trained on."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfseg_plugins.image_based.datamanager import ImageBasedDataManagerConfig
    from nerfseg_plugins.image_based.model import ImageBasedModel
    from nerfseg_plugins.image_based.scene import Scene


IGNORED = ("lpips.", "device_indicator_param")
"""State keys of what is no part of the method."""


class OpenedModel(NamedTuple):
    """A trained network that shows no scene yet."""

    config: Any
    """nerfstudio's TrainerConfig of the run."""
    model: "ImageBasedModel"
    """In evaluation mode, on the GPU where there is one."""
    step: int
    """Of the checkpoint."""
    checkpoint: Path


@dataclass
class DataOptions:
    """Data to show, other than those of the run."""

    data: Optional[Path] = None
    """A scene's data, a folder of scenes or a data set of many objects; unset: what the run was trained on."""
    dataparser: Optional[str] = None
    """How to read the data, such as llff-data, srn-data, nmr-data or dvr-data; unset: as in training."""
    set: tuple[str, ...] = ()
    """Options of the parser, as NAME=VALUE; values are words, numbers, true, false, null, or lists in JSON."""
    near: Optional[float] = None
    """Distance along rays at which scenes begin, in their units; unset: what the data say."""
    far: Optional[float] = None
    """Distance along rays at which scenes end, in their units; unset: what the data say."""

    def settings(self, load_config: Path, config: Any) -> "ImageBasedDataManagerConfig":
        """The run's configuration of its data, changed to read these; no scene and no views are chosen.

        Args:
            load_config: config.yml of the run, for messages.
            config: nerfstudio's TrainerConfig of the run.

        Raises:
            InputError: there are no such data, or it is unclear how to read them.
        """
        from nerfseg_plugins.image_based.mixture import is_mixture
        from nerfseg_plugins.image_based.options import parser_named, with_options

        settings = config.pipeline.datamanager
        trained_on = Path(settings.data or settings.dataparser.data)
        data = trained_on if self.data is None else self.data
        if self.dataparser is not None:
            parser = parser_named(self.dataparser, "--dataparser")
        elif self.data is not None and _is_json_of(trained_on, is_mixture):
            raise InputError(f"{load_config} was trained on a mixture of data; say how to read --data: --dataparser")
        else:
            parser = dataclasses.replace(settings.dataparser)
            if hasattr(parser, "scene"):
                parser = dataclasses.replace(parser, scene=None)  # type: ignore[call-arg]
        parser = with_options(parser, dict(_option(text) for text in self.set), "--set")
        parser.data = Path(data).absolute()
        if not _may_exist(parser.data):
            raise InputError(f"{parser.data} does not exist; give --data the folder of the data")
        changes: dict[str, Any] = {"data": parser.data, "dataparser": parser, "scene": None, "views": (), "only": ()}
        if self.data is not None or self.near is not None or self.far is not None:
            changes |= {"near": self.near, "far": self.far}
        return dataclasses.replace(settings, **changes)


def _option(text: str) -> tuple[str, Any]:
    """NAME=VALUE as a name and a plain value."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--set {text} is no option; write NAME=VALUE")
    try:
        return name.replace("-", "_"), json.loads(value)
    except json.JSONDecodeError:
        return name.replace("-", "_"), value  # a word


def _is_json_of(path: Path, kind: Any) -> bool:
    from nerfseg_plugins.files import read_json

    return path.suffix == ".json" and path.is_file() and kind(read_json(path))


def _may_exist(data: Path) -> bool:
    """Whether data are there; DATA/chairs stands for DATA/chairs_train and so on."""
    return data.exists() or (data.parent.is_dir() and any(data.parent.glob(f"{data.name}_*")))


def read_run(load_config: Path) -> Any:
    """nerfstudio's TrainerConfig of a run of an image-based method.

    Raises:
        InputError: there is no such run, or it is of another kind of method.
    """
    from nerfseg_plugins import compat

    compat.apply()
    from nerfseg_plugins.image_based.model import ImageBasedModelConfig
    from nerfseg_plugins.scene.config_file import read_config

    config: Any = read_config(load_config)
    if not isinstance(config.pipeline.model, ImageBasedModelConfig):
        raise InputError(
            f"{load_config} is a run of {config.method_name}, which knows the one scene that it was trained on; pass "
            "a run of pixelnerf, gnt or gsn"
        )
    return config


def load_model(load_config: Path, first: "Optional[Scene]" = None) -> OpenedModel:
    """The network of a run, which belongs to no scene; the data that it was trained on need not be there.

    Args:
        load_config: config.yml of the run.
        first: one of the scenes that will be shown, for models that take features of images: their width.

    Raises:
        InputError: there is no such run, it is of another kind of method, or its checkpoint does not fit.
    """
    import torch
    from nerfstudio.data.scene_box import SceneBox

    from nerfseg_plugins.scene.checkpoint import differences, find_checkpoint, model_state, read_checkpoint

    config = read_run(load_config)
    features = None if first is None else first.features
    metadata = {} if features is None else {"feature_channels": features.channels}
    checkpoint = find_checkpoint(Path(load_config).parent / config.relative_model_dir)
    state = read_checkpoint(checkpoint)
    box = SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    model: Any = config.pipeline.model.setup(scene_box=box, num_train_data=1, metadata=metadata)
    weights = model_state(state)
    if found := differences(model, weights, IGNORED):
        raise InputError(f"{checkpoint} does not fit the model of {load_config}: {found[0]}; train again")
    model.load_state_dict(weights, strict=False)  # what is ignored aside, all is there
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return OpenedModel(config, model, int(state["step"]), checkpoint)
