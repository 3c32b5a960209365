"""`sam-hierarchy-data`: images with hierarchies of SAM-like masks; Blender-HS, PartNet, and any other capture.

    blender-hs   transforms_{train,val}.json, train/ val/ (RGBA), {train,val}_seg/NAME/0.png ..., gt_seg/, val_depth/ ...
    partnet      view-NN/shape-rgb.png and meta.txt, or a transforms.json of 224-pixel images; seg/NN/; every 8th is val
    transforms   whatever `front3d-data` reads     llff   whatever `llff-data` reads

The last two take their masks from DATA/segments/SOURCE/, which `nerfseg masks` writes; so may the first two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from PIL import Image

from nerfseg_plugins.errors import InputError

from .depth_files import depth_files, visible_files
from .front3d import Front3D, Front3DDataParserConfig, SceneFrame, make_cameras, select_frames
from .hierarchy_files import check_found, command, find_hierarchies
from .transforms import Capture, Frame, read_capture
from .truth_levels import truth_levels

OBJECT_BOX = 1.5
"""Half side of the cube that holds a nerf_synthetic object, data units."""


@dataclass
class SamHierarchyDataParserConfig(DataParserConfig):
    """Images and hierarchies of SAM-like masks."""

    _target: type = field(default_factory=lambda: SamHierarchy)
    """Target class to instantiate."""
    data: Path = Path()
    """Folder that holds transforms.json, transforms_train.json, view-00/ or poses_bounds.npy."""
    masks: Optional[str] = "auto"
    """Masks to learn from: a name in DATA/segments, a folder, or None; auto takes segments/sam, the layout's own
    pictures of masks, segments/labels or segments/classical, whichever comes first."""
    allow_missing_masks: bool = False
    """Whether training views without masks are accepted; they then train colour alone."""
    box: Optional[float] = None
    """Blender-HS: half side of the cube around the origin that holds the object, data units; unset: 1.5."""


class SamHierarchy(DataParser):
    """Parser of `SamHierarchyDataParserConfig`.

    Outputs carry in `metadata`, of what the data have (lists have one entry per view, None where it lacks the file):

    - `hierarchy_filenames`: packed masks (`.npz`) or folders of pictures, to learn from.
    - `hierarchy_command`: what makes them (always there).
    - `truth_levels`: level -> `TruthLevel`, coarse to fine.
    - `z_depth_filenames`: for `depth_files.read_depth`; times `z_depth_scale` it is in scene units.
    - `visible_filenames`: for `depth_files.read_visible`.
    - `transparent`: whether the images have alpha. `bounded`: whether all that there is lies in the scene box.
    """

    config: SamHierarchyDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: SamHierarchyDataParserConfig) -> None:
        super().__init__(config)
        self._capture: Optional[Capture] = None

    def capture(self) -> Capture:
        """The data folder, read once.

        Raises:
            InputError: the data cannot be used.
        """
        if self._capture is None:
            self._capture = read_capture(self.config.data)
        return self._capture

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        capture = self.capture()
        frames = select_frames(capture, split, Front3DDataParserConfig())
        scene = frame_of_object(OBJECT_BOX if self.config.box is None else self.config.box)
        metadata = {"bounded": True, **self._metadata(capture, frames, split), "z_depth_scale": scene.scale}
        return DataparserOutputs(
            image_filenames=[frame.image for frame in frames],
            cameras=make_cameras(frames, scene),
            scene_box=SceneBox(aabb=scene.aabb),
            metadata=metadata,
            dataparser_transform=scene.transform,
            dataparser_scale=scene.scale,
        )

    def _metadata(self, capture: Capture, frames: list[Frame], split: str) -> dict[str, Any]:
        folder, masks = capture.folder, self.config.masks
        metadata: dict[str, Any] = {
            "hierarchy_command": command(folder, masks),
            "transparent": has_alpha(frames),
        }
        hierarchies = find_hierarchies(folder, frames, masks)
        if hierarchies is not None and masks is not None:
            if split == "train" and not self.config.allow_missing_masks:
                check_found(hierarchies, frames, folder, masks)
            metadata["hierarchy_filenames"] = hierarchies
        levels = truth_levels(folder, frames)
        if levels:
            metadata["truth_levels"] = levels
        for key, files in (
            ("z_depth_filenames", depth_files(capture, frames)),
            ("visible_filenames", visible_files(folder, frames, split)),
        ):
            if any(files):
                metadata[key] = files
        return metadata


def frame_of_object(half_side: float) -> SceneFrame:
    """Scene frame of an object around the data's origin: the cube of this half side becomes [-1, 1]^3.

    Raises:
        InputError: the half side is not positive.
    """
    if not 0 < half_side < np.inf:
        raise InputError(f"box is {half_side}; give half the side of the cube that holds the object, above 0")
    aabb = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    return SceneFrame(torch.eye(4)[:3], 1.0 / half_side, aabb)


def has_alpha(frames: Sequence[Frame]) -> bool:
    """Whether the first image has transparency; a capture has one kind of images."""
    with Image.open(frames[0].image) as image:
        return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


sam_hierarchy = DataParserSpecification(
    config=SamHierarchyDataParserConfig(),
    description="Images with hierarchies of SAM-like masks: Blender-HS, PartNet, any transforms.json or LLFF capture.",
)
