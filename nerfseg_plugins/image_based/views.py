"""Source views: the few photos through which an image-based method sees a scene, as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Optional, Protocol, Union

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor


@dataclass(frozen=True)
class SourceViews:
    """V source views of each of B scenes; all of one size, of pinhole cameras.

    Pixel coordinates count from the image's upper left corner, so that the first pixel's centre is (0.5, 0.5).
    """

    images: Tensor
    """(B, V, 3, H, W) float32 in [0, 1], in front of the data's background."""
    c2w: Tensor
    """(B, V, 3, 4) camera to world, OpenGL, scene frame."""
    focal: Tensor
    """(B, V, 2) focal lengths along x and y, pixels."""
    center: Tensor
    """(B, V, 2) principal points x and y, pixels."""
    near: Tensor
    """(B,) distance along unit rays at which the scene begins, scene units."""
    far: Tensor
    """(B,) distance at which it ends."""
    features: Optional[Tensor] = None
    """(B, V, C, h, w) 2D features of the images, where a method takes them as inputs."""
    maps: Optional[Tensor] = None
    """(B, V, D, h', w') what the method's encoder has made of the images."""

    @property
    def num_scenes(self) -> int:
        """B."""
        return self.images.shape[0]

    @property
    def num_views(self) -> int:
        """V."""
        return self.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images."""
        return self.images.shape[-2], self.images.shape[-1]

    def to(self, device: Union[str, torch.device]) -> "SourceViews":
        """The same on another device."""
        return replace(self, **{name: value.to(device) for name, value in self._tensors().items()})

    def select(self, indices: Sequence[int]) -> "SourceViews":
        """Some of the views of every scene, in the order of `indices`."""
        per_view = {name: value for name, value in self._tensors().items() if name not in ("near", "far")}
        return replace(self, **{name: value[:, list(indices)] for name, value in per_view.items()})

    def with_maps(self, maps: Tensor) -> "SourceViews":
        """The same with the encoder's maps (B, V, D, h', w')."""
        return replace(self, maps=maps)

    @staticmethod
    def together(scenes: "Sequence[SourceViews]") -> "SourceViews":
        """Several scenes as one batch; they have as many views of the same size, and the same kinds of tensors."""
        if len(scenes) == 1:
            return scenes[0]
        names = list(scenes[0]._tensors())
        return SourceViews(**{name: torch.cat([getattr(scene, name) for scene in scenes]) for name in names})

    def _tensors(self) -> dict[str, Tensor]:
        found = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in found.items() if value is not None}


class SceneViews(Protocol):
    """All views of one scene that may serve as sources; images are decoded when they are taken."""

    @property
    def name(self) -> str:
        """Of the scene, for messages."""
        ...

    @property
    def cameras(self) -> Cameras:
        """(N,) cameras of the views, scene frame, on the CPU."""
        ...

    @property
    def background(self) -> Any:
        """(r, g, b) in [0, 1] behind what is transparent; None where nothing is."""
        ...

    def take(self, indices: Sequence[int]) -> SourceViews:
        """Some of the views as a batch of one scene, on the CPU.

        Raises:
            InputError: an image, or its features, cannot be read.
        """
        ...
