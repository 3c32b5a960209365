"""What the commands on runs of image-based methods share: the network without the data that it was trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
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
