"""The first stage taken from another run: geometry and colour of any nerfacto-family run, loaded strictly."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from nerfstudio.models.nerfacto import NerfactoModelConfig

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import read_json
from nerfseg_plugins.scene.checkpoint import differences, find_checkpoint, model_state, read_checkpoint
from nerfseg_plugins.scene.config_file import read_config
from nerfseg_plugins.scene.head_model import HeadModel, HeadModelConfig

GEOMETRY = ("field.", "proposal_networks.", "camera_optimizer.")
"""State keys that belong to geometry, colour and poses."""

# What may differ between the two runs: it changes how a scene is trained or shown, not what its weights mean.
_TRAINING_ONLY = {
    "_target",
    "eval_num_rays_per_chunk",
    "prompt",
    "distortion_loss_mult",
    "interlevel_loss_mult",
    "orientation_loss_mult",
    "pred_normal_loss_mult",
    "implementation",
    "enable_collider",
    "collider_params",
    "loss_coefficients",
}


def adopt_settings(config: HeadModelConfig, run: Path) -> None:
    """Copy into `config` the nerfacto settings of a run that decide what its weights mean.

    So a scene trained with larger grids or another background is taken over as it is, whatever our defaults are.

    Args:
        config: changed in place.
        run: the pretrained run's `config.yml`.

    Raises:
        InputError: not a run of the nerfacto family.
    """
    source = read_config(run)
    model = source.pipeline.model
    if not isinstance(model, NerfactoModelConfig):
        raise InputError(
            f"{run} is a run of {source.method_name!r}, whose model is no nerfacto; pass the run of nerfacto or of "
            "one of the methods built on it"
        )
    for entry in dataclasses.fields(NerfactoModelConfig):
        if entry.name not in _TRAINING_ONLY:
            setattr(config, entry.name, getattr(model, entry.name))
    config.bounds = model.bounds if isinstance(model, HeadModelConfig) else "nerfacto"


def load_geometry(model: HeadModel, run: Path, transform: dict[str, Any]) -> None:
    """Load geometry and colour of the run at `run` (its `config.yml`) into `model`, all of them or nothing.

    Args:
        model: a model built after `adopt_settings`.
        run: the pretrained run's `config.yml`.
        transform: this run's data-to-scene transform, {"transform": 3x4, "scale": s}; the other run's must be equal, or
            the same coordinates would mean other places.

    Raises:
        InputError: no checkpoint, missing or mis-shaped weights, another scene box, or another transform.
    """
    run = Path(run)
    folder = run.parent / read_config(run).relative_model_dir
    path = find_checkpoint(folder)
    state = {key: value for key, value in model_state(read_checkpoint(path)).items() if key.startswith(GEOMETRY)}
    own = {key: value for key, value in model.state_dict().items() if key.startswith(GEOMETRY)}
    _check_transform(run, transform)
    box = state.get("field.aabb")
    if box is not None and not torch.allclose(box, own["field.aabb"].cpu(), atol=1e-5):
        raise InputError(
            f"{path} was trained in another scene box ({box.tolist()}, here {own['field.aabb'].tolist()}); use the "
            "same data and dataparser options as that run"
        )
    if found := differences(model, state, ignore=_other_keys(model)):
        raise InputError(f"{path} does not fit this model: {found[0]} ({len(found)} differences); train it again")
    model.load_state_dict({**model.state_dict(), **state})


def _other_keys(model: HeadModel) -> tuple[str, ...]:
    return tuple({key.split(".")[0] for key in model.state_dict() if not key.startswith(GEOMETRY)})


def _check_transform(run: Path, transform: dict[str, Any]) -> None:
    path = run.parent / "dataparser_transforms.json"
    if not path.is_file():
        raise InputError(
            f"{path} is missing, so the frame of {run} is unknown; pass a run that trained to its first save"
        )
    other = read_json(path)
    try:
        matrix, scale = torch.tensor(other["transform"]).view(3, 4), float(other["scale"])
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} holds no transform and scale; restore it or train that run again") from error
    same = torch.allclose(matrix, torch.as_tensor(transform["transform"]), atol=1e-5)
    if not same or abs(scale - transform["scale"]) > 1e-5 * abs(transform["scale"]):
        raise InputError(
            f"{run} was trained in another frame than this data has (see {path}); use the same data and dataparser "
            "options"
        )
