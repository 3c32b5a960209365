"""A scene whose every ray is known by hand: slabs across the x axis, as an `InstanceModel` with formulas as networks.

Along +x from x = -0.9 lie instance 1 at x in [-0.4, -0.3], instance 2 at [0.1, 0.2], and a wall at [0.7, 0.8].
"""

import torch
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.field_components.field_heads import FieldHeadNames
from torch import Tensor, nn

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.instance_nerf.model import InstanceModel, InstanceModelConfig  # noqa: E402

SLABS = {1: (-0.4, -0.3), 2: (0.1, 0.2), 0: (0.7, 0.8)}
START, DIRECTION = (-0.9, 0.0, 0.0), (1.0, 0.0, 0.0)
RGB = {1: (1.0, 0.0, 0.0), 2: (0.0, 1.0, 0.0), 0: (0.0, 0.0, 1.0)}


def slab_of(positions: Tensor) -> Tensor:
    """(...) long: id of the slab that a position lies in, -1 in free space."""
    ids = torch.full(positions.shape[:-1], -1)
    for instance, (low, high) in SLABS.items():
        ids[(positions[..., 0] >= low) & (positions[..., 0] <= high)] = instance
    return ids


def density_of(positions: Tensor) -> Tensor:
    """(..., 1): opaque in the slabs, nothing elsewhere."""
    return (slab_of(positions) >= 0).float()[..., None] * 1e5


class SlabField(nn.Module):
    """Density and colour by formula; no features."""

    geo_feat_dim = 1
    spatial_distortion = None

    def get_density(self, ray_samples):
        positions = ray_samples.frustums.get_positions()
        return density_of(positions), torch.zeros_like(positions[..., :1])

    def get_outputs(self, ray_samples, density_embedding=None):
        ids = slab_of(ray_samples.frustums.get_positions())
        colors = torch.tensor([RGB[0], RGB[1], RGB[2], (0.5, 0.5, 0.5)])  # free space is the last, at index -1
        return {FieldHeadNames.RGB: colors[ids]}


class SlabHead(nn.Module):
    """Logits by formula: 4 for the slab's id, and for the nearer slab in free space."""

    def forward(self, positions: Tensor, geo: Tensor) -> Tensor:
        assert geo.shape[:-1] == positions.shape[:-1]
        middle = torch.tensor([sum(SLABS[i]) / 2 for i in (0, 1, 2)])
        return 4.0 * nn.functional.one_hot((positions[..., :1] - middle).abs().argmin(-1), 3).float()


def slab_model(trained: bool = True, background: str = "last_sample", **metadata) -> InstanceModel:
    """The scene as a model in evaluation mode; only rays along the x axis mean anything."""
    proposal = {"hidden_dim": 8, "log2_hashmap_size": 8, "num_levels": 2, "max_res": 16, "use_linear": False}
    config = InstanceModelConfig(
        implementation="torch",
        background_color=background,  # type: ignore[arg-type]
        near_plane=0.01,
        num_levels=2,
        log2_hashmap_size=8,
        num_proposal_iterations=1,
        num_proposal_samples_per_ray=(400,),
        num_nerf_samples_per_ray=64,
        proposal_net_args_list=[proposal],
        head_num_levels=2,
        head_log2_hashmap_size=8,
    )
    model = InstanceModel(
        config,
        scene_box=SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])),
        num_train_data=1,
        metadata={"num_labels": 2, "bounded": True, **metadata},
    )
    model.field = SlabField()  # type: ignore[assignment]
    model.head = SlabHead()  # type: ignore[assignment]
    model.density_fns = [density_of]
    model.head_steps += int(trained)
    return model.eval()
