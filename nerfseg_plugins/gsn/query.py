"""What was selected, asked for by position: how any ray of the scene gets its label while it is rendered."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path
from nerfseg_plugins.gsn.segmenting import Exemplars, Segmentation, likely
from nerfseg_plugins.gsn.surfels import Surfels, to_lab
from nerfseg_plugins.scene.colors import palette
from nerfseg_plugins.scene.likeness import likeness_colors
from nerfseg_plugins.segments.select_config import SelectConfig, WalkerConfig

FORMAT = "nerfseg-segments-1"
NEAREST = 16
"""Surfels that a ray asks."""
REACH = 2.0
"""Sides of a surfel's pixel at which it counts for exp(-1/2)."""
OWN = 0.03
"""What a ray's own features count, beside 1 for a surfel at the same place that looks alike."""
TINT = 0.6
"""Share of the marking colour in what is marked."""
_MEND = "segment again from the run"


@dataclass(frozen=True)
class Query:
    """What belongs to which of K objects."""

    points: Tensor
    """(N, 3) float32, scene frame: places that were looked at."""
    features: Tensor
    """(N, C) float16 of unit length."""
    lab: Tensor
    """(N, 3) float32 colours, CIELAB in hundreds."""
    size: Tensor
    """(N,) float32 side of their pixels, scene units."""
    shares: Tensor
    """(N, K + 1) float16: how likely each belongs to none, or to the first, ... object."""
    exemplars: Exemplars
    """What the objects look like."""
    names: tuple[str, ...]
    """Of the K objects; their ids are 1 to K in this order."""
    config: SelectConfig
    """How they were selected."""

    @classmethod
    def of(cls, surfels: Surfels, found: Segmentation, names: Sequence[str], config: SelectConfig) -> "Query":
        """A query that asks what was found."""
        return cls(
            surfels.points,
            surfels.features,
            surfels.lab,
            surfels.size,
            found.shares.half(),
            found.exemplars,
            tuple(names),
            config,
        )

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.points.numpy())

    def shares_at(self, points: Tensor, features: Tensor, rgb: Tensor) -> Tensor:
        """What rays belong to: the nearest places vote, those that look alike for more, and the rays' own features.

        Args:
            points: (R, 3) where they end, scene frame.
            features: (R, C) of unit length.
            rgb: (R, 3) in [0, 1].

        Returns:
            (R, K + 1) float32 on the CPU, which sum to 1.
        """
        points, features = points.detach().float().cpu(), features.detach().float().cpu()
        count = min(NEAREST, len(self.points))
        distance, nearest = self._tree.query(points.numpy(), k=count)
        near = torch.from_numpy(np.asarray(nearest)).reshape(-1, count)
        apart = torch.from_numpy(np.asarray(distance)).float().reshape(-1, count) / (REACH * self.size[near])
        exponent = 0.5 * apart.square()
        # Of unit vectors, where subtracting would need sixteen times the memory.
        alike = torch.einsum("rnc,rc->rn", self.features[near].float(), features)
        exponent += (2 - 2 * alike) / self.config.walker.sigma_f
        exponent += (self.lab[near] - to_lab(rgb)[:, None]).square().sum(dim=-1) / self.config.walker.sigma_c
        weight = torch.exp(-exponent)
        own = likely(features, self.exemplars, len(self.names), self.config)
        votes = torch.einsum("rn,rnk->rk", weight, self.shares[near].float())
        found = votes + OWN * own
        return found / found.sum(dim=-1, keepdim=True)

    def outputs(self, points: Tensor, features: Tensor, rgb: Tensor, met: Tensor) -> dict[str, Tensor]:
        """What is shown of rays; arguments as of `shares_at`.

        Args:
            met: (R, 1) bool, the rays that meet something.

        Returns:
            `segment_id` (R, 1) float32, see `predict_ids` of the model; `segment_colormap` (R, 3), the picture with the
            objects in their palette colours; `similarity_colormap` (R, 3), likeness to all objects' exemplars.
        """
        ids = self.shares_at(points, features, rgb).argmax(dim=-1, keepdim=True).to(met.device) * met
        paint = torch.from_numpy(palette(len(self.names) + 1)).to(rgb) / 255
        tinted = torch.lerp(rgb, paint[ids[:, 0]], TINT)
        wanted = self.exemplars.features[self.exemplars.labels > 0]
        return {
            "segment_id": ids.float(),
            "segment_colormap": torch.where(ids > 0, tinted, rgb),
            "similarity_colormap": likeness_colors(features, wanted, met),
        }

    # Files ------------------------------------------------------------------------------------------------------------

    def save(self, path: Path, made_for: str) -> None:
        """Write as npz, whole or not at all.

        Args:
            path: .npz.
            made_for: tells weights and scene.

        Raises:
            InputError: the name does not end in .npz, or the disk is full.
        """
        if path.suffix != ".npz":
            raise InputError(f"{path} must end in .npz")
        arrays = {name: getattr(self, name).numpy() for name in ("points", "features", "lab", "size", "shares")}
        arrays |= {"exemplars": self.exemplars.features.numpy(), "exemplar_labels": self.exemplars.labels.numpy()}
        about = {"format": FORMAT, "made_for": made_for, "names": self.names, "config": _plain(self.config)}
        try:
            with atomic_path(path) as temporary:
                np.savez_compressed(temporary, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
        except OSError as error:
            raise InputError(f"{path} could not be written ({error}); free space on the disk") from error

    @classmethod
    def load(cls, path: Path, made_for: str) -> "Query":
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, damaged, no such file, or of other weights or another scene.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            about = json.loads(str(arrays.pop("about")))
            if about["format"] != FORMAT:
                raise ValueError(f"it has the format {about['format']!r}, not {FORMAT!r}")
            belongs_to, names = about["made_for"], tuple(str(name) for name in about["names"])
            values = {name: torch.from_numpy(array) for name, array in arrays.items()}
            models = Exemplars(values.pop("exemplars"), values.pop("exemplar_labels"))
            found = cls(**values, exemplars=models, names=names, config=_restored(about["config"]))
            found.check()
        except FileNotFoundError as error:
            raise InputError(f"{path} does not exist; it was moved or deleted: put it back, or {_MEND}") from error
        except Exception as error:  # numpy, zipfile and zlib raise many kinds for a truncated or foreign file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{path} is no readable selection ({reason}); {_MEND}") from error
        if belongs_to != made_for:
            raise InputError(
                f"{path} was made for other weights or another scene than this run now shows, so it would mean other "
                f"things; {_MEND}"
            )
        return found

    def check(self) -> None:
        """Refuse arrays that do not fit each other.

        Raises:
            ValueError: they do not.
        """
        count, channels = self.features.shape
        labels = self.exemplars.labels
        shapes = {
            "points": (self.points, (count, 3)),
            "lab": (self.lab, (count, 3)),
            "size": (self.size, (count,)),
            "shares": (self.shares, (count, len(self.names) + 1)),
            "exemplars": (self.exemplars.features, (len(labels), channels)),
        }
        for name, (array, shape) in shapes.items():
            if tuple(array.shape) != shape:
                raise ValueError(f"{name} has the shape {tuple(array.shape)}, expected {shape}")
        if not count or not len(labels) or not 0 <= int(labels.min()) <= int(labels.max()) <= len(self.names):
            raise ValueError("it holds nothing, or labels without a name")


def shown(query: Optional[Query], points: Tensor, features: Tensor, rgb: Tensor, met: Tensor) -> dict[str, Tensor]:
    """`Query.outputs`; without a query the picture as it is, in which nothing is selected and nothing is alike."""
    if query is not None:
        return query.outputs(points, features, rgb, met)
    return {
        "segment_id": torch.zeros_like(rgb[..., :1]),
        "segment_colormap": rgb,
        "similarity_colormap": likeness_colors(features, None, met),
    }


def _plain(config: SelectConfig) -> dict[str, Any]:
    return {**vars(config), "walker": vars(config.walker)}


def _restored(values: dict[str, Any]) -> SelectConfig:
    return SelectConfig(**{**values, "walker": WalkerConfig(**values["walker"])})
