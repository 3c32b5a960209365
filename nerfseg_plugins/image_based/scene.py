"""One scene of photos with cameras: its source views as tensors, and colours of pixels to learn from."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor
from torch.nn.functional import interpolate

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.choice import check_count
from nerfseg_plugins.image_based.images import Color, ImageCache, decode, read_mask, resized, to_float
from nerfseg_plugins.image_based.lens import PERSPECTIVE, check_lens, sampled, undistortion
from nerfseg_plugins.image_based.teacher import TeacherFeatures
from nerfseg_plugins.image_based.views import SourceViews

NEAR = 0.05
"""Least distance at which a scene begins whose data do not say, as a part of half its box's longest side: nerfacto's
near plane in a box of [-1, 1]."""
DIFFERS = 5
"""Levels of 255 by which a pixel must differ from the background in a channel to be part of the object."""
FOREGROUND = "foreground_filenames"
"""Key of a parser's metadata: the mask of each view's object."""


class Bounds(NamedTuple):
    """Between which distances along unit rays a scene lies, scene units."""

    near: float
    far: float


def scene_bounds(outputs: DataparserOutputs, near: Optional[float] = None, far: Optional[float] = None) -> Bounds:
    """Where rays of a scene begin and end.

    What is given counts first, then `near` and `far` in the parser's metadata. Other parsers (front3d's, nerfstudio's
    own) give a box around the scene: rays begin where the nearest camera meets it, but not closer than `NEAR`, and end
    at the box's corner that is farthest from any camera.

    Args:
        outputs: of the scene, all its cameras.
        near: given by the user.
        far: given by the user.

    Raises:
        InputError: they do not make an interval.
    """
    box, centers = outputs.scene_box.aabb.float(), outputs.cameras.camera_to_worlds[:, :3, 3].float()
    if near is None:
        near = outputs.metadata.get("near")
    if far is None:
        far = outputs.metadata.get("far")
    if near is None:
        apart = (box[0] - centers).clamp_min(0).maximum(centers - box[1]).norm(dim=-1)
        near = max(float(apart.min()), NEAR * float((box[1] - box[0]).max()) / 2)
    if far is None:
        far = float((box[1] - centers).maximum(centers - box[0]).norm(dim=-1).max())
    if not (0 <= near < far and math.isfinite(far)):
        raise InputError(
            f"rays would go from near {near:g} to far {far:g}; give distances with 0 <= near < far as "
            "--pipeline.datamanager.near and --pipeline.datamanager.far"
        )
    return Bounds(float(near), float(far))


def background_of(outputs: DataparserOutputs) -> Optional[Color]:
    """(r, g, b) in [0, 1] behind what is transparent; None where the data have no background."""
    given = outputs.metadata.get("background", outputs.alpha_color)
    if given is None:
        return None
    red, green, blue = (float(value) for value in given)
    return red, green, blue


class Scene:
    """All views of one scene; a `SceneViews`.

    Args:
        name: for messages.
        outputs: what a dataparser says of it.
        cache: keeps decoded images.
        bounds: where rays begin and end.
        masked: whether the background is painted over what the masks of the object leave out.
        features: of the views, where they are wanted.

    Raises:
        InputError: a camera is of a kind that cannot be a source.
    """

    def __init__(
        self,
        name: str,
        outputs: DataparserOutputs,
        cache: ImageCache,
        bounds: Bounds,
        masked: bool = False,
        features: Optional[TeacherFeatures] = None,
    ) -> None:
        self.name, self.outputs, self.bounds, self.features = name, outputs, bounds, features
        self.background: Any = background_of(outputs)
        self._cache, self._masked = cache, masked
        cameras = self.cameras
        for kind in cameras.camera_type.unique().tolist():
            check_lens(kind, name)
        self._kinds = cameras.camera_type.flatten().tolist()
        self._distortion = cameras.distortion_params
        # Once, for taking parts of nerfstudio's cameras in every step would cost more than all the rest.
        self.c2w = cameras.camera_to_worlds[:, :3].float().contiguous()
        self.focal = torch.cat([cameras.fx, cameras.fy], dim=-1).float()
        self.center = torch.cat([cameras.cx, cameras.cy], dim=-1).float()
        self.sizes = torch.cat([cameras.height, cameras.width], dim=-1).long().numpy()
        self._boxes: dict[int, tuple[int, int, int, int]] = {}

    def __len__(self) -> int:
        return len(self.outputs.image_filenames)

    @property
    def cameras(self) -> Any:
        """(N,) cameras as they photographed, scene frame."""
        return self.outputs.cameras

    @property
    def images(self) -> list[Path]:
        """The image files."""
        return self.outputs.image_filenames

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of a view's image."""
        return int(self.sizes[index, 0]), int(self.sizes[index, 1])

    # Images -----------------------------------------------------------------------------------------------------------

    def image(self, index: int) -> np.ndarray:
        """A view (H, W, 3) uint8 as it was photographed, in front of the background; not to be changed.

        Raises:
            InputError: it cannot be decoded.
        """
        return self._cache.get(self._key(index), lambda: self._decode(index))

    def take(self, indices: Sequence[int], size: Optional[tuple[int, int]] = None) -> SourceViews:
        """Some of the views as pinhole images, in a batch of one scene, on the CPU.

        Args:
            indices: numbers of the views.
            size: (height, width) that all get; by default those of the scene's first view, so that views that are
                taken one by one fit together.

        Raises:
            InputError: an image, or its features, cannot be read, or there is no such view.
        """
        rows = list(indices)
        self.check(rows)
        height, width = size or self.size(0)
        made = {(self._key(row), "pinhole"): lambda row=row: self._pinhole(row) for row in rows}
        pixels = self._cache.get_all(made)
        scale = torch.tensor([[width, height]]) / torch.from_numpy(self.sizes[rows][:, ::-1].copy())
        return SourceViews(
            images=to_float([resized(image, (height, width)) for image in pixels])[None],
            c2w=self.c2w[rows][None],
            focal=(self.focal[rows] * scale)[None],
            center=(self.center[rows] * scale)[None],
            near=torch.tensor([self.bounds.near]),
            far=torch.tensor([self.bounds.far]),
            features=None if self.features is None else self._features(rows),
        )

    def check(self, indices: Sequence[int]) -> None:
        """Refuse views that are not there.

        Raises:
            InputError: names the scene.
        """
        if not indices:
            check_count(0, 1, self.name)
        if outside := [index for index in indices if not 0 <= index < len(self)]:
            raise InputError(f"{self.name} has no view {outside[0]}; its {len(self)} views count from 0")

    def _key(self, index: int) -> tuple[Path, bool, Any]:
        return self.images[index], self._masked, self.background

    def _decode(self, index: int) -> np.ndarray:
        foreground = self._foreground(index) if self._masked else None
        return decode(self.images[index], self.size(index), self.background, foreground)

    def _foreground(self, index: int) -> Optional[Path]:
        masks = self.outputs.metadata.get(FOREGROUND)
        return None if masks is None else masks[index]

    def _pinhole(self, index: int) -> np.ndarray:
        image = self.image(index)
        return image if self._is_pinhole(index) else sampled(image, self._grid(index, self.size(index)))

    def _is_pinhole(self, index: int) -> bool:
        plain = self._distortion is None or not bool(self._distortion[index].any())
        return plain and self._kinds[index] == PERSPECTIVE

    def _grid(self, index: int, shape: tuple[int, int]) -> Tensor:
        distortion = torch.zeros(6) if self._distortion is None else self._distortion[index]
        lens = self.focal[index], self.center[index], self._kinds[index], distortion
        return undistortion(self.size(index), shape, *lens)

    def _features(self, rows: list[int]) -> Tensor:
        """(1, V, C, h, w) of the pinhole images; all with as many cells as the scene's first view."""
        assert self.features is not None
        found = []
        for row in rows:
            values = self.features.map(row)
            if not self._is_pinhole(row):
                values = sampled(values, self._grid(row, (values.shape[0], values.shape[1])))
            found.append(torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1).float())
        shape = torch.Size(self.features.map(0).shape[:2])
        same = [
            value if value.shape[1:] == shape else interpolate(value[None], shape, mode="bilinear", antialias=True)[0]
            for value in found
        ]
        return torch.stack(same)[None]

    # Pixels -----------------------------------------------------------------------------------------------------------

    def draw_pixels(self, views: np.ndarray, rng: np.random.Generator, in_boxes: bool) -> tuple[np.ndarray, np.ndarray]:
        """A pixel of each of some views.

        Args:
            views: (R,) numbers of views.
            rng: draws.
            in_boxes: whether only within the boxes around the objects.

        Returns:
            Rows and columns, (R,) each. Pixels that nerfstudio's masks leave out are not drawn.
        """
        used, place = np.unique(views, return_inverse=True)
        boxes = np.array([self.box(int(index)) if in_boxes else (0, 0, *self.size(int(index))) for index in used])
        share = rng.random((2, len(views)))
        low, high = boxes[place, :2].T, boxes[place, 2:].T
        rows, columns = (low + share * (high - low)).astype(np.int64)
        if self.outputs.mask_filenames is not None:
            for number, index in enumerate(used):
                here = place == number
                rows[here], columns[here] = self._unmasked(int(index), share[0, here], boxes[number])
        return rows, columns

    def colors(self, views: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """Colours (R, 3) in [0, 1] of pixels (R,) as they were photographed.

        Raises:
            InputError: an image cannot be decoded.
        """
        used, place = np.unique(views, return_inverse=True)
        makers = {self._key(int(index)): lambda index=int(index): self._decode(index) for index in used}
        found = np.empty((len(views), 3), np.uint8)
        for number, image in enumerate(self._cache.get_all(makers)):
            here = np.flatnonzero(place == number)
            found[here] = image[rows[here], columns[here]]
        return torch.from_numpy(found).float().div_(255)

    def box(self, index: int) -> tuple[int, int, int, int]:
        """First row and column, and those after the last, of the box around the object in a view.

        The object is what its mask says; without a mask what differs from the background. The whole image where there
        is neither, or nothing in it.
        """
        if index not in self._boxes:
            self._boxes[index] = self._find_box(index)
        return self._boxes[index]

    def _find_box(self, index: int) -> tuple[int, int, int, int]:
        mask = self._foreground(index)
        if mask is not None:
            there = read_mask(mask, self.size(index))
        elif self.background is not None:
            behind = np.round(np.asarray(self.background) * 255)
            there = np.asarray((np.abs(self.image(index) - behind) > DIFFERS).any(axis=-1))
        else:
            return 0, 0, *self.size(index)
        rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
        if not len(rows):
            return 0, 0, *self.size(index)
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1

    def _unmasked(self, index: int, share: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels within a box that nerfstudio's mask of the view lets be learned from; (R,) shares in [0, 1)."""
        assert self.outputs.mask_filenames is not None
        path, size = self.outputs.mask_filenames[index], self.size(index)
        mask = self._cache.get((path, "mask"), lambda: read_mask(path, size, above=0))
        inside = np.zeros_like(mask)
        inside[box[0] : box[2], box[1] : box[3]] = True
        allowed = np.flatnonzero(mask & inside)
        if not len(allowed):
            raise InputError(f"{path} leaves nothing of {self.images[index]} to learn from; remove the mask or it")
        return np.unravel_index(allowed[(share * len(allowed)).astype(np.int64)], size)  # type: ignore[return-value]
