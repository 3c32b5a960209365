"""Images with instance masks."""

from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.dataset import ImageDataset
from nerfseg_plugins.segments.masks import check_ids, check_labelled, check_mask, read_ids


class InstanceDataset(ImageDataset):
    """Adds `instance_ids` (H, W) long to every image: 0 background, 1..N instances, -1 unlabelled.

    All masks are read and checked when the dataset is built, so that bad data end the run at its start. They stay in
    memory as 16-bit integers. `metadata["num_labels"]` is N, found from the masks; 0 where there are none.

    Raises:
        InputError: a damaged mask, one of another size than its image, ids beyond the declared instances, or images of
            different sizes.
    """

    exclude_batch_keys_from_device = [*ImageDataset.exclude_batch_keys_from_device, "instance_ids"]  # noqa: RUF012

    def __init__(self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0, **kwargs: Any) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        self.metadata["dataparser_transform"] = dataparser_outputs.dataparser_transform
        self.metadata["dataparser_scale"] = dataparser_outputs.dataparser_scale
        self._check_sizes()
        files: list[Optional[Path]] = self.metadata.get("mask_filenames") or []
        self._ids: Optional[list[np.ndarray]] = None
        self.metadata["num_labels"] = 0
        self._folder = next((file.parent for file in files if file is not None), None)
        if self._folder is None:  # held-out views need no masks
            return
        # What the data declare is about their own masks, not about those that a matcher made.
        own = files == self.metadata.get("truth_filenames")
        self._declared: Optional[int] = self.metadata.get("num_instances") if own else None
        self._ids = [self._read(index, file) for index, file in enumerate(files)]
        self.metadata["num_labels"] = max(*(int(ids.max()) for ids in self._ids), self._declared or 0, 0)

    def check_labelled(self) -> None:
        """Refuse masks that nothing can be learned from; a dataset without masks passes.

        Raises:
            InputError: all pixels are unlabelled, or none belongs to an instance.
        """
        if self._ids is not None and self._folder is not None:
            check_labelled(self._ids, self._folder)

    def _check_sizes(self) -> None:
        """nerfstudio's samplers can draw masks only where all images have one size."""
        sizes = list(zip(self.cameras.width.flatten().tolist(), self.cameras.height.flatten().tolist(), strict=True))
        for size, path in zip(sizes, self.image_filenames, strict=True):
            if size != sizes[0]:
                raise InputError(
                    f"{path} has {size[0]}x{size[1]} pixels, {self.image_filenames[0]} has "
                    f"{sizes[0][0]}x{sizes[0][1]}; bring images and masks to one size (masks without interpolation) "
                    "and "
                    "adapt the intrinsics"
                )

    def _read(self, index: int, file: Optional[Path]) -> np.ndarray:
        height, width = int(self.cameras.height[index]), int(self.cameras.width[index])
        if file is None:
            return np.full((height, width), -1, np.int16)
        ids = read_ids(file)
        check_mask(ids, (height, width), file)
        check_ids(ids, self._declared, file)
        return ids.astype(np.int16 if ids.max() < 2**15 else np.int32)

    def get_metadata(self, data: dict[str, Any]) -> dict[str, Tensor]:
        """The mask of one image."""
        if self._ids is None:
            return {}
        return {"instance_ids": torch.from_numpy(self._ids[data["image_idx"]].astype(np.int64))}
