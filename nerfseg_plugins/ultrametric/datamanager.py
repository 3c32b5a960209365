"""Datamanager of the ultrametric field: in the head stage, pixels of one image and what its masks say of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from nerfstudio.cameras.rays import RayBundle
from PIL import Image
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.datamanager import HeadDataManager, HeadDataManagerConfig
from nerfseg_plugins.segments.hierarchy import MaskHierarchy, read_hierarchy
from nerfseg_plugins.ultrametric.graph import mask_barriers
from nerfseg_plugins.ultrametric.groups import GroupConfig, build_groups
from nerfseg_plugins.ultrametric.neighbors import neighbor_graph
from nerfseg_plugins.ultrametric.sampler import RUN, sample_pixels, sample_quadruples


@dataclass
class UltrametricDataManagerConfig(HeadDataManagerConfig):
    """Images, and the masks of their parts and wholes."""

    _target: type = field(default_factory=lambda: UltrametricDataManager)
    """target class to instantiate"""
    load_seg: bool = True
    """Whether masks are read; without them only geometry and colour can be trained."""
    num_seg_samples: int = 64
    """Pairs of pixels that each mask contributes to a step, of every kind."""
    neg_sample_ratio: int = 4
    """Negative pixels that each pair is compared with; 1 in the original implementation."""
    hierarchical_sampling: bool = True
    """Whether pairs are also drawn along the containment of masks, from parts to wholes; without it every mask counts
    alone."""
    graph_neighbors: int = 10
    """Neighbours of each pixel, by direction, in the graph whose paths define the ultrametric."""
    depth_smooth: bool = False
    """Whether depth is also asked to be smooth inside the smallest masks while geometry trains."""
    depth_smooth_start: int = 3000
    """First step at which it is."""
    depth_smooth_rays: int = 256
    """Rays a step, in runs of four, on which the smoothness of depth is measured."""


class UltrametricDataManager(HeadDataManager):
    """Head batches are pixels of one image: `groups`, and the `edges` (E, 2) and `barrier` (E,) of their graph.

    With `depth_smooth`, geometry batches have rays behind their `num_colored` ones, in runs of four pixels.

    Masks are read when training is about to begin; a run that is only looked at needs none.
    """

    config: UltrametricDataManagerConfig

    def __init__(self, config: UltrametricDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        self.hierarchies: list[Optional[MaskHierarchy]] = []
        super().__init__(config, *args, **kwargs)

    def head_lacks(self) -> Optional[str]:
        """Read the masks of the training images.

        Returns:
            One sentence when there are none.

        Raises:
            InputError: a file is damaged, or its masks are of another size than the image.
        """
        dataset = self.train_dataset
        paths = dataset.metadata.get("hierarchy_filenames")
        command = dataset.metadata.get("hierarchy_command", "nerfseg masks --data DATA")
        if not self.config.load_seg:
            return "load_seg is off, so there are no masks to learn from; switch it on"
        if not paths or not any(paths):
            return f"they have no masks of parts and wholes; make them with: {command}"
        self.hierarchies = [self._read(index, path) for index, path in enumerate(paths)]
        if not self._described:
            return f"none of their {len(paths)} images has a mask to learn from; make others with: {command}"
        return None

    def _read(self, index: int, path: Optional[Path]) -> Optional[MaskHierarchy]:
        if path is None:
            return None
        image = self.train_dataset.image_filenames[index]
        with Image.open(image) as picture:
            width, height = picture.size
        try:
            hierarchy = read_hierarchy(path, (height, width))
        except InputError as error:
            raise InputError(f"masks of {image}: {error}") from error
        # Images may be made smaller in memory (camera_res_scale_factor).
        size = self._size(index)
        return hierarchy if hierarchy.size == size else hierarchy.resized(size)

    @property
    def _described(self) -> list[int]:
        """Images that have masks."""
        return [index for index, hierarchy in enumerate(self.hierarchies) if hierarchy is not None and len(hierarchy)]

    # Batches ---------------------------------------------------------------------------------------------------------

    def next_train(self, step: int) -> tuple[RayBundle, dict]:
        """A batch of the present stage."""
        if self.stage == "head":
            self.train_count += 1
            return self._head_batch()
        bundle, batch = super().next_train(step)
        # Asked in the first step, however late the smoothing starts.
        if self.config.depth_smooth and not self.hierarchies and (lacking := self.head_lacks()):
            raise InputError(f"depth cannot be smoothed inside the masks of {self.config.data}: {lacking}")
        if self.config.depth_smooth and step >= self.config.depth_smooth_start:
            extra = self._runs_of_four()
            batch["num_colored"] = len(batch["indices"])
            bundle = self.train_ray_generator(torch.cat([batch["indices"], extra]))
        return bundle, batch

    def _head_batch(self) -> tuple[RayBundle, dict[str, Any]]:
        config, rng = self.config, _generator()
        index, hierarchy = self._draw(rng)
        size = self._size(index)
        pixels = sample_pixels(size, config.head_num_rays_per_batch, rng)
        indices = _ray_indices(index, pixels, size[1])
        bundle = self.train_ray_generator(indices)
        inside = hierarchy.at(pixels)
        options = GroupConfig(config.num_seg_samples, config.neg_sample_ratio, config.hierarchical_sampling)
        edges = neighbor_graph(bundle.directions.cpu().numpy(), config.graph_neighbors)
        return bundle, {
            "indices": indices,
            "groups": build_groups(inside, hierarchy.parent, hierarchy.dup_of, options, rng),
            "edges": edges,
            "barrier": mask_barriers(inside, edges),
        }

    def _runs_of_four(self) -> Tensor:
        """(4 Q, 3) long ray indices of runs of four pixels side by side inside one of the smallest masks."""
        rng = _generator()
        index, hierarchy = self._draw(rng)
        runs = sample_quadruples(hierarchy, 16, rng)
        runs = rng.permutation(runs)[: self.config.depth_smooth_rays // RUN]
        return _ray_indices(index, runs.reshape(-1), hierarchy.size[1])

    def _draw(self, rng: np.random.Generator) -> tuple[int, MaskHierarchy]:
        index = int(rng.choice(self._described))
        hierarchy = self.hierarchies[index]
        assert hierarchy is not None
        return index, hierarchy

    def _size(self, index: int) -> tuple[int, int]:
        camera = self.train_dataset.cameras[index]
        return int(camera.height), int(camera.width)


def _generator() -> np.random.Generator:
    """numpy's random numbers, seeded by torch's, which the run's seed begins."""
    return np.random.default_rng(int(torch.randint(2**31, ())))


def _ray_indices(image: int, pixels: np.ndarray, width: int) -> Tensor:
    """(N, 3) long image, row, column."""
    rows, columns = np.divmod(pixels, width)
    return torch.from_numpy(np.stack([np.full_like(rows, image), rows, columns], axis=1))
