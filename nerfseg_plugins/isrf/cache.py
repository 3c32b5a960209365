"""The cache that a person interacts with: the voxels on the surface of a trained scene, with what is known of each.

The original implementation keeps a dense grid of 320^3 feature vectors, 8 GB and as much again while it grows regions.
Nearly all of its voxels are empty, so only those on a surface that some training view sees are kept here, with features
in half precision: 0.2 GB for a million.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import Frustums, RaySamples
from nerfstudio.field_components.field_heads import FieldHeadNames
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path
from nerfseg_plugins.isrf.surface import near_surface
from nerfseg_plugins.isrf.voxels import VoxelGrid, find
from nerfseg_plugins.scene.depth_pictures import depth_pictures

CHUNK = 1 << 17
QUANTILE_VOXELS = 100_000
"""So many voxels tell the range of the colour latent."""


@dataclass
class CacheConfig:
    """What the cache keeps of a scene."""

    resolution: int = 256
    """Voxels along the longest side of the scene box; of an unbounded scene, along the side of its inner cube."""
    depth_downscale: float = 0.34
    """Resolution, as a part of the training views', of the depth pictures that tell which voxels are seen."""
    reach: float = 1.0
    """A voxel is on the surface if it is so near to the depth that a view sees, in edges of a voxel."""
    min_alpha: float = 0.02
    """A ray that crosses a voxel on the surface is absorbed by at least so much."""


@dataclass(frozen=True)
class VoxelCache:
    """N voxels on the surface of a scene, ordered by their keys."""

    grid: VoxelGrid
    keys: Tensor
    """(N,) long, ascending: `grid.keys` of the voxels."""
    features: Tensor
    """(N, C) float16 of unit length: what the feature field says at their centres."""
    latents: Tensor
    """(N, L) float16 in [0, 1]: the colour latent, what the field's colour network sees beside the view direction."""
    colors: Tensor
    """(N, 3) uint8: colour as the nearest view sees it."""
    density: Tensor
    """(N,) float16 per scene unit."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def coords(self) -> Tensor:
        """(N, 3) int32 indices along x, y, z."""
        return self.grid.coords_of(self.keys)

    @property
    def num_bytes(self) -> int:
        """Memory of all tensors."""
        parts = (self.keys, self.features, self.latents, self.colors, self.density)
        return sum(part.numel() * part.element_size() for part in parts)

    def centres(self) -> Tensor:
        """(N, 3) float32 centres of the voxels, scene frame."""
        return self.grid.to_scene(self.grid.centres(self.coords))

    def index_of(self, positions: Tensor) -> Tensor:
        """Places (...) long of the voxels that positions (..., 3) of the scene frame lie in; -1 where none is kept."""
        return find(self.keys, self.grid.keys(self.grid.coords(self.grid.to_grid(positions))))

    def save(self, path: Path, fingerprint: str) -> None:
        """Write as npz, whole or not at all.

        Args:
            path: the file.
            fingerprint: of the weights that the cache was made from.
        """
        grid = self.grid
        arrays = {name: getattr(self, name).cpu().numpy() for name in _ARRAYS}
        with atomic_path(path) as temporary:
            np.savez(
                temporary,
                corner=np.array(grid.corner),
                edge=np.array(grid.edge),
                shape=np.array(grid.shape),
                contracted=np.array(grid.contracted),
                fingerprint=np.array(fingerprint),
                **arrays,
            )

    @classmethod
    def load(cls, path: Path, fingerprint: str, device: Optional[torch.device] = None) -> "VoxelCache":
        """Read what `save` wrote.

        Raises:
            InputError: the file is damaged, or was made from other weights.
        """
        mend = "delete it, it is made anew from the run"
        try:
            with np.load(path, allow_pickle=False) as stored:
                made_from = str(stored["fingerprint"])
                x, y, z = (float(value) for value in stored["corner"])
                nx, ny, nz = (int(value) for value in stored["shape"])
                grid = VoxelGrid((x, y, z), float(stored["edge"]), (nx, ny, nz), bool(stored["contracted"]))
                arrays = {name: torch.from_numpy(stored[name]).to(device) for name in _ARRAYS}
            _check_arrays(arrays)
        except (OSError, KeyError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is no readable voxel cache ({error}); {mend}") from error
        if made_from != fingerprint:
            raise InputError(f"{path} was made from other weights; {mend}")
        return cls(grid, **arrays)


_ARRAYS = {
    "keys": (torch.int64, 1),
    "features": (torch.float16, 2),
    "latents": (torch.float16, 2),
    "colors": (torch.uint8, 2),
    "density": (torch.float16, 1),
}
"""Type and number of axes of a cache's tensors."""


def _check_arrays(arrays: Mapping[str, Tensor]) -> None:
    for name, (kind, axes) in _ARRAYS.items():
        array = arrays[name]
        if array.dtype != kind or array.ndim != axes or len(array) != len(arrays["keys"]):
            raise ValueError(f"{name} has type {array.dtype} and shape {tuple(array.shape)}")


@torch.no_grad()
def build_cache(model: Any, cameras: Cameras, config: CacheConfig) -> VoxelCache:
    """Find the voxels on the surface of a trained scene, and what the scene knows of them.

    Args:
        model: an `IsrfModel` with a trained head; what is selected or edited plays no part.
        cameras: those of the training views, scene frame.
        config: what to keep.

    Raises:
        InputError: the training views see no surface.
    """
    contracted = model.field.spatial_distortion is not None
    grid = VoxelGrid.of_scene(model.scene_box.aabb.cpu().numpy(), contracted, config.resolution)
    pictures = list(depth_pictures(model, cameras, config.depth_downscale))
    keys = torch.cat([near_surface(grid, picture.points, config.reach) for picture in pictures]).unique()
    centres = grid.centres(grid.coords_of(keys))
    positions = grid.to_scene(centres)
    edge = grid.edge * grid.stretch(centres)
    nearest = torch.full_like(edge, torch.inf)
    direction = torch.zeros_like(positions)
    for picture in pictures:
        distance, low, high = picture.look_up(positions)
        reach = config.reach * edge
        closer = (distance >= low - reach) & (distance <= high + reach) & (distance < nearest)
        nearest = torch.where(closer, distance, nearest)
        away = normalize(positions - picture.c2w[:, 3], dim=-1)
        direction = torch.where(closer[:, None], away, direction)
    seen = nearest.isfinite()
    keys, positions, direction, edge = keys[seen], positions[seen], direction[seen], edge[seen]
    parts = [
        _ask(model, positions[start : start + CHUNK], direction[start : start + CHUNK])
        for start in range(0, len(keys), CHUNK)
    ]
    if not parts:
        raise InputError("the training views see no surface, so there is nothing to select; train the run for longer")
    density, features, latents, colors = (torch.cat(column) for column in zip(*parts, strict=True))
    dense = 1 - torch.exp(-density * edge) >= config.min_alpha
    if not bool(dense.any()):
        raise InputError(
            f"nothing in the scene absorbs {config.min_alpha:g} of a ray on the way through a voxel; train the run for "
            "longer, or take larger voxels"
        )
    some = latents[dense][:: max(1, int(dense.sum()) // QUANTILE_VOXELS)].float()
    low, high = some.quantile(torch.tensor([0.01, 0.99], device=latents.device), dim=0)
    latents = ((latents.float() - low) / (high - low).clamp_min(1e-6)).clamp(0, 1).half()
    return VoxelCache(
        grid, keys[dense], features[dense], latents[dense], colors[dense], density[dense].clamp_max(6e4).half()
    )


def _ask(model: Any, positions: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Density (M,), features (M, C) and latents (M, L) float16, colours (M, 3) uint8 at positions (M, 3)."""
    zeros = torch.zeros_like(positions[:, :1])
    samples = RaySamples(
        frustums=Frustums(positions, directions, zeros, zeros, zeros), camera_indices=torch.zeros_like(zeros).long()
    )
    density, geo = model.field.get_density(samples)
    colors = model.field.get_outputs(samples, density_embedding=geo)[FieldHeadNames.RGB]
    features = normalize(model.head(positions, geo), dim=-1)
    return density[:, 0], features.half(), geo.half(), (colors * 255 + 0.5).clamp(0, 255).byte()
