"""`sam-hierarchy-data`: images with hierarchies of SAM-like masks; Blender-HS, PartNet, and any other capture.

    blender-hs   transforms_{train,val}.json, {train,val}/ (RGBA), {train,val}_seg/NAME/0.png ..., gt_seg/, val_depth/,
                 val_visible/, transforms_val_rotate.json (the split "rotate": views beside those of val)
    partnet      view-NN/shape-rgb.png, view-NN/meta.txt, seg/NN/0.png ...; or a transforms.json of 224-pixel images
    transforms   whatever `front3d-data` reads
    llff         whatever `llff-data` reads

The last two take their masks from DATA/segments/SOURCE/, which `nerfseg masks` writes; the first two may as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from PIL import Image

from nerfseg_plugins.errors import InputError

from . import llff as llff_layout
from .depth_files import depth_files, visible_files
from .front3d import Front3D, Front3DDataParserConfig, SceneFrame, make_cameras, select_frames
from .hierarchy_files import check_found, command, find_hierarchies
from .llff import LLFF, LLFFDataParserConfig
from .mask_folders import DEFAULT_MASKS
from .partnet import SIZE, is_partnet, read_views
from .poses_bounds import POSES_FILE
from .transforms import Capture, Frame, read_capture
from .truth_levels import truth_levels

OBJECT_BOX = 1.5
"""Half side of the cube that holds a nerf_synthetic object, data units."""
ROTATED = ("transforms_val_rotate.json", "transforms_val_rotate_90.json")

Layout = Literal["blender-hs", "partnet", "transforms", "llff"]


@dataclass
class SamHierarchyDataParserConfig(DataParserConfig):
    """Images and hierarchies of SAM-like masks."""

    _target: type = field(default_factory=lambda: SamHierarchy)
    """Target class to instantiate."""
    data: Path = Path()
    """Folder that holds transforms.json, transforms_train.json, view-00/ or poses_bounds.npy; or a JSON file."""
    layout: Literal["auto", "blender-hs", "partnet", "transforms", "llff"] = "auto"
    """How the folder is laid out; auto looks at what is in it."""
    masks: Optional[str] = "auto"
    """Masks to learn from: a name in DATA/segments, a folder, or None; auto takes segments/sam, the layout's own
    pictures of masks, segments/labels or segments/classical, whichever comes first."""
    allow_missing_masks: bool = False
    """Whether training views without masks are accepted; they then train colour alone."""
    truth: Path = DEFAULT_MASKS
    """transforms, llff: folder of the true id masks, used by the evaluation alone; relative to the data or absolute."""
    box: Optional[float] = None
    """blender-hs, partnet: half side of the cube around the origin that holds the object, data units; unset: 1.5 for
    blender-hs, and for partnet what the cameras see around the origin."""
    eval_mode: Literal["auto", "fraction", "interval", "all"] = "auto"
    """How views are held out where the data name no splits; auto: every n-th with partnet and llff, else a fraction."""
    train_split_fraction: float = 0.9
    """With fraction, part of the views to train on; at least one view is held out."""
    eval_interval: int = 8
    """With interval, every n-th view is held out, beginning with the first."""
    downscale_factor: Optional[int] = None
    """transforms, llff: read images_N/ instead of images/; masks must have that size too."""
    room_margin: Optional[float] = None
    """transforms: space around room_bbox, in the data's units; unset: the JSON's, else 20% of the longest side."""
    scale_factor: float = 1.0
    """transforms: extra scale of the cameras where there is no room_bbox."""
    orientation_method: Literal["pca", "up", "vertical", "none"] = "up"
    """transforms: how the poses are oriented where there is no room_bbox."""
    center_method: Literal["poses", "focus", "none"] = "poses"
    """transforms: how the poses are centred where there is no room_bbox."""
    recentring: Literal["auto", "forward", "360", "none"] = "auto"
    """llff: the scene frame, see llff-data."""
    bound_factor: Optional[float] = 0.75
    """llff: the nearest bound becomes 1 / bound_factor scene units; None keeps the data's."""


class Parsed(NamedTuple):
    """One split before its masks are looked for."""

    folder: Path
    files: list[Path]
    """The JSON files that were read."""
    frames: list[Frame]
    outputs: DataparserOutputs


class SamHierarchy(DataParser):
    """Parser of `SamHierarchyDataParserConfig`; its splits are train, val (or test), and rotate.

    Outputs carry in `metadata`, besides what `front3d-data` and `llff-data` say of their layouts (lists have one entry
    per view, None where it lacks the file; absent where the data have nothing of the kind):

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
        self._layout: Optional[Layout] = None
        self._views: Optional[Capture] = None
        self._front3d = Front3D(self._front3d_config(config.eval_mode == "interval"))
        interval = 0 if config.eval_mode == "all" else config.eval_interval
        self._llff = LLFF(
            LLFFDataParserConfig(
                data=config.data,
                downscale_factor=config.downscale_factor,
                recentring=config.recentring,
                bound_factor=config.bound_factor,
                eval_interval=interval,
                masks=None,
                truth=config.truth,
            )
        )

    def layout(self) -> Layout:
        """How the data are laid out.

        Raises:
            InputError: the data cannot be read.
        """
        if self._layout is None:
            factor = self.config.downscale_factor or 1
            folder = self.config.data if self.config.data.is_dir() else self.config.data.parent
            if factor > 1 and not (folder / f"images_{factor}").is_dir():
                raise InputError(
                    f"{folder / f'images_{factor}'} does not exist; instead of --downscale-factor {factor} give "
                    f"--pipeline.datamanager.camera-res-scale-factor {1 / factor:g}"
                )
            self._layout = self._find_layout() if self.config.layout == "auto" else self.config.layout
        return self._layout

    def _find_layout(self) -> Layout:
        data = self.config.data
        if data.is_dir() and not any(data.glob("*transforms*.json")) and not (data / "train").is_dir():
            if is_partnet(data):
                return "partnet"
            if (data / POSES_FILE).is_file():
                return "llff"
        if data.name == POSES_FILE:
            return "llff"
        capture = self._front3d.capture()
        if capture.room_bbox is not None:
            return "transforms"
        train = capture.files.get("train")
        object_names = train is not None and train.name == "transforms_train.json"
        folders = [capture.folder / name for name in ("train_seg", "gt_seg")]
        if any(path.is_dir() for path in folders) or (object_names and not inside_box(capture.frames, OBJECT_BOX)):
            return "blender-hs"
        sizes = {(frame.intrinsics.width, frame.intrinsics.height) for frame in capture.frames}
        return "partnet" if set(capture.files) == {"all"} and sizes == {(SIZE, SIZE)} else "transforms"

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        layout = self.layout()
        if layout in ("transforms", "llff") and split == "rotate":
            raise InputError(f"{self.config.data} has no rotated views; they belong to Blender-HS ({ROTATED[0]})")
        if layout == "transforms":
            parsed = self._delegate_transforms(split)
        elif layout == "llff":
            parsed = self._delegate_llff(split)
        else:
            parsed = self._object(layout, split)
        metadata = self._metadata(parsed, split)
        parsed.outputs.metadata.update(metadata, z_depth_scale=parsed.outputs.dataparser_scale)
        return parsed.outputs

    def has_rotated_views(self) -> bool:
        """Whether the data have views beside those of val, the split `rotate`."""
        return self.layout() == "blender-hs" and any((self.config.data / name).is_file() for name in ROTATED)

    def _delegate_transforms(self, split: str) -> Parsed:
        capture = self._front3d.capture()
        frames = select_frames(capture, split, self._front3d.config)
        outputs = self._front3d.get_dataparser_outputs(split)
        return Parsed(capture.folder, list(capture.files.values()), frames, outputs)

    def _delegate_llff(self, split: str) -> Parsed:
        capture = self._llff.capture()
        frames = llff_layout.select_frames(capture.frames, split, self._llff.config.eval_interval)
        return Parsed(capture.folder, [], frames, self._llff.get_dataparser_outputs(split))

    def _object(self, layout: Layout, split: str) -> Parsed:
        """One split of an object around the origin."""
        capture = rotated_views(self.config.data) if split == "rotate" else self._object_capture(layout)
        by_interval = self.config.eval_mode == "interval" or (self.config.eval_mode == "auto" and layout == "partnet")
        frames = capture.frames
        if split != "rotate":
            frames = select_frames(capture, split, self._front3d_config(by_interval))
        scene = frame_of_object(self._half_side(layout))
        if self.config.box is None and (inner := inside_box(frames, 1.0 / scene.scale)):
            raise InputError(
                f"{inner} of {self.config.data} is taken from within {1.0 / scene.scale:g} of the origin, where the "
                "object should be; give --box half the side of the cube that holds the scene, in the units of the poses"
            )
        outputs = DataparserOutputs(
            image_filenames=[frame.image for frame in frames],
            cameras=make_cameras(frames, scene),
            scene_box=SceneBox(aabb=scene.aabb),
            metadata={"bounded": True},
            dataparser_transform=scene.transform,
            dataparser_scale=scene.scale,
        )
        return Parsed(capture.folder, list(capture.files.values()), frames, outputs)

    def _object_capture(self, layout: Layout) -> Capture:
        if layout == "partnet" and is_partnet(self.config.data):
            self._views = self._views or read_views(self.config.data)
            return self._views
        return self._front3d.capture()

    def _half_side(self, layout: Layout) -> float:
        if self.config.box is not None:
            return self.config.box
        return OBJECT_BOX if layout == "blender-hs" else seen_around_origin(self._object_capture(layout).frames)

    def _front3d_config(self, by_interval: bool) -> Front3DDataParserConfig:
        config = self.config
        mode: Any = "interval" if by_interval else "all" if config.eval_mode == "all" else "fraction"
        return Front3DDataParserConfig(
            data=config.data,
            masks=None,
            truth=config.truth,
            eval_mode=mode,
            train_split_fraction=config.train_split_fraction,
            eval_interval=config.eval_interval,
            room_margin=config.room_margin,
            downscale_factor=config.downscale_factor,
            scale_factor=config.scale_factor,
            orientation_method=config.orientation_method,
            center_method=config.center_method,
        )

    def _metadata(self, parsed: Parsed, split: str) -> dict[str, Any]:
        folder, frames, masks = parsed.folder, parsed.frames, self.config.masks
        metadata: dict[str, Any] = {
            # Only for LLFF does nerfseg masks choose among folders of images.
            "hierarchy_command": command(
                folder, masks, self.config.downscale_factor if self.layout() == "llff" else None
            ),
            "transparent": has_alpha(frames),
        }
        visible = visible_files(folder, frames, split)
        if any(visible):
            metadata["visible_filenames"] = visible
        if split == "rotate" and {frame.image.parent.name for frame in frames} & {"train", "val"}:
            return metadata  # the names are those of the views that were turned, whose masks and depth are not theirs
        hierarchies = find_hierarchies(folder, frames, masks)
        if hierarchies is not None and masks is not None:
            if split == "train" and not self.config.allow_missing_masks:
                check_found(hierarchies, frames, folder, masks)
            metadata["hierarchy_filenames"] = hierarchies
        levels = truth_levels(folder, frames, self.config.truth)
        if levels:
            metadata["truth_levels"] = levels
        depth = depth_files(folder, parsed.files, frames)
        if any(depth):
            metadata["z_depth_filenames"] = depth
        return metadata


def rotated_views(data: Path) -> Capture:
    """The views beside those of val, in their order (natural order of the names).

    Raises:
        InputError: the data have none.
    """
    path = next((data / name for name in ROTATED if (data / name).is_file()), None)
    if path is None:
        raise InputError(f"{data} has neither {ROTATED[0]} nor {ROTATED[1]}; leave the split rotate out, or add one")
    capture = read_capture(path)
    return replace(capture, frames=[replace(frame, split="rotate") for frame in capture.frames])


def frame_of_object(half_side: float) -> SceneFrame:
    """Scene frame of an object around the data's origin: the cube of this half side becomes [-1, 1]^3.

    Raises:
        InputError: the half side is not positive.
    """
    if not 0 < half_side < np.inf:
        raise InputError(f"box is {half_side}; give half the side of the cube that holds the object, above 0")
    aabb = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    return SceneFrame(torch.eye(4)[:3], 1.0 / half_side, aabb)


def inside_box(frames: Sequence[Frame], half_side: float) -> Optional[str]:
    """The name of the first view whose camera is in the cube of this half side around the origin, if any is."""
    return next((frame.name for frame in frames if np.abs(frame.c2w[:3, 3]).max() < half_side), None)


def seen_around_origin(frames: Sequence[Frame]) -> float:
    """Half side of what the farthest camera sees in the plane through the origin, data units."""
    sides = []
    for frame in frames:
        camera = frame.intrinsics
        half = max(camera.width / camera.fx, camera.height / camera.fy) / 2
        sides.append(float(np.linalg.norm(frame.c2w[:3, 3])) * half)
    return max(sides)


def has_alpha(frames: Sequence[Frame]) -> bool:
    """Whether the first image has transparency; a capture has one kind of images."""
    with Image.open(frames[0].image) as image:
        return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


sam_hierarchy = DataParserSpecification(
    config=SamHierarchyDataParserConfig(),
    description="Images with hierarchies of SAM-like masks: Blender-HS, PartNet, any transforms.json or LLFF capture.",
)
