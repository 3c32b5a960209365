"""`front3d-data`: images, id masks and transforms.json of Instance-NeRF; reads plain nerfstudio captures as well.

    DATA/images/0000.png ...            RGB
    DATA/masks/0000.png ...             instance ids (16-bit .png, .hdf5, .npy, .npz; or masks_2d/), optional
    DATA/transforms.json                intrinsics, frames (OpenGL camera-to-world); room_bbox, bounding_boxes
    DATA/{train,val}_transforms.json    the same by split; without them a fraction of the frames is held out

The scene frame is x_scene = scale * (R x_data + t), where x_data is the frame of transforms.json.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import torch
from nerfstudio.cameras.camera_utils import auto_orient_and_center_poses
from nerfstudio.cameras.cameras import CAMERA_MODEL_TO_TYPE, Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from nerfstudio.utils.rich_utils import CONSOLE
from rich.markup import escape

from nerfseg_plugins.errors import InputError

from .mask_folders import DEFAULT_MASKS, check_masks_found, find_folder, masks_of
from .transforms import Capture, Frame, read_capture

RELATIVE_MARGIN = 0.2
"""Room margin as a part of the longest side, so that units do not matter. What is seen through windows and doors
needs a place where density can grow: a pane 0.6 m outside a wall 0.2 m thick takes 16% of a room 4.9 m long."""


@dataclass
class Front3DDataParserConfig(DataParserConfig):
    """Instance-NeRF's layout: images, id masks and transforms.json."""

    _target: type = field(default_factory=lambda: Front3D)
    """Target class to instantiate."""
    data: Path = Path()
    """Folder that holds transforms.json and images/, or a JSON file."""
    masks: Optional[Path] = DEFAULT_MASKS
    """Folder of the id masks to learn from, relative to the data or absolute; masks_2d/ is tried after masks/. None
    where nothing is learned from masks."""
    truth: Path = DEFAULT_MASKS
    """Folder of the true id masks, used by the evaluation alone; relative to the data or absolute."""
    allow_missing_masks: bool = False
    """Whether training views without a mask are accepted; they then train colour alone."""
    eval_mode: Literal["fraction", "interval", "all"] = "fraction"
    """How views are held out where the data name no splits: a fraction, every n-th view, or none (all do both)."""
    train_split_fraction: float = 0.9
    """Part of the views to train on with eval_mode fraction; at least one view is held out."""
    eval_interval: int = 8
    """With eval_mode interval, every n-th view is held out, beginning with the first."""
    room_margin: Optional[float] = None
    """Space kept around room_bbox, in the data's units; unset: the JSON's room_margin, else 20% of the longest side."""
    downscale_factor: Optional[int] = None
    """Read images_N/ instead of images/ and scale the cameras; masks must have that size too."""
    scale_factor: float = 1.0
    """Extra scale of the cameras where there is no room_bbox."""
    orientation_method: Literal["pca", "up", "vertical", "none"] = "up"
    """How the poses are oriented where there is no room_bbox."""
    center_method: Literal["poses", "focus", "none"] = "poses"
    """How the poses are centred where there is no room_bbox."""


@dataclass(frozen=True)
class SceneFrame:
    """x_scene = scale * (R x_data + t)."""

    transform: torch.Tensor
    """(3, 4) float32 [R | t]."""
    scale: float
    aabb: torch.Tensor
    """(2, 3) float32 box of the scene, in the scene frame."""


class Front3D(DataParser):
    """Parser of `Front3DDataParserConfig`.

    Outputs carry in `metadata`: `bounded` (the scene box is the room), and where the data have them `mask_filenames`
    and `truth_filenames` (list[Path | None], one per view), `num_instances` (what transforms.json declares of the
    data's own masks), `instance_classes` (id -> class id) and `instance_names` (id -> name). The masks are
    deliberately not in nerfstudio's own `mask_filenames`, which would hide pixels from training.
    """

    config: Front3DDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: Front3DDataParserConfig) -> None:
        super().__init__(config)
        self._capture: Optional[Capture] = None

    def capture(self) -> Capture:
        """The data folder, read once; says once how many listed images do not exist.

        Raises:
            InputError: the data cannot be used.
        """
        if self._capture is None:
            capture = read_capture(self.config.data, self.config.downscale_factor or 1)
            if capture.missing:
                names = ", ".join(path.name for path in capture.files.values())
                count, total = len(capture.missing), len(capture.missing) + len(capture.frames)
                text = f"{count} of {total} images listed in {names} of {capture.folder} do not exist "
                text += f"(first: {capture.missing[0]}); these frames are skipped"
                CONSOLE.print(f"[bold yellow]Warning: {escape(text)}", soft_wrap=True)
            self._capture = capture
        return self._capture

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        capture = self.capture()
        frames = select_frames(capture, split, self.config)
        if capture.room_bbox is not None:
            scene = frame_of_room(capture.room_bbox, self._margin(capture))
        else:
            poses = np.stack([frame.c2w for frame in capture.frames])
            methods = self.config.orientation_method, self.config.center_method
            scene = frame_of_poses(poses, *methods, self.config.scale_factor)
            if not torch.isfinite(scene.transform).all():
                raise InputError(
                    f"the cameras of {capture.folder} share no up direction; set orientation_method to none"
                )
        return DataparserOutputs(
            image_filenames=[frame.image for frame in frames],
            cameras=make_cameras(frames, scene),
            scene_box=SceneBox(aabb=scene.aabb),
            metadata=self._metadata(capture, frames, split),
            dataparser_transform=scene.transform,
            dataparser_scale=scene.scale,
        )

    def _margin(self, capture: Capture) -> Optional[float]:
        return self.config.room_margin if self.config.room_margin is not None else capture.room_margin

    def _metadata(self, capture: Capture, frames: list[Frame], split: str) -> dict[str, Any]:
        metadata: dict[str, Any] = {"bounded": capture.room_bbox is not None}
        if capture.room_bbox is not None:
            metadata["room_bbox"] = capture.room_bbox
        folder = find_folder(capture.folder, self.config.masks, "masks")
        if folder is not None:
            masks = masks_of(frames, folder)
            if split == "train":
                check_masks_found(masks, frames, folder, self.config.allow_missing_masks)
            metadata["mask_filenames"] = masks
        folder = find_folder(capture.folder, self.config.truth, "truth")
        if folder is not None:
            metadata["truth_filenames"] = masks_of(frames, folder)
        if capture.num_instances is not None:
            metadata["num_instances"] = capture.num_instances
        if capture.instance_classes:
            metadata["instance_classes"] = capture.instance_classes
        if capture.instance_names:
            metadata["instance_names"] = capture.instance_names
        return metadata


def select_frames(capture: Capture, split: str, config: Front3DDataParserConfig) -> list[Frame]:
    """The frames of `split` (train, val or test; test falls back to val), in natural order.

    Raises:
        InputError: the split is empty or a setting makes no sense.
    """
    frames = capture.frames
    splits = {frame.split for frame in frames}
    if splits == {None}:
        settings = config.eval_mode, config.train_split_fraction, config.eval_interval
        train, held_out = split_indices(len(frames), *settings)
        return [frames[index] for index in (train if split == "train" else held_out)]
    wanted = split if split in splits or split == "train" else ("val" if "val" in splits else "test")
    chosen = [frame for frame in frames if frame.split == wanted]
    if not chosen:
        names = ", ".join(str(path) for path in capture.files.values())
        raise InputError(f"no image of the {wanted} split exists ({names}); put the images where file_path says")
    return chosen


def split_indices(count: int, mode: str, fraction: float, interval: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out indices of `count` ordered views, nerfstudio's rules but with no side ever empty.

    Returns:
        Two ascending int arrays, disjoint unless `mode` is "all" or there is one view only.

    Raises:
        InputError: fraction or interval are out of range.
    """
    everything = np.arange(count)
    if mode == "all" or count == 1:
        return everything, everything
    if mode == "interval":
        if interval < 2:
            raise InputError(f"eval_interval is {interval}; give 2 or more, or train on all views with eval_mode all")
        held_out = everything % interval == 0
    else:
        if not 0 < fraction < 1:
            raise InputError(f"train_split_fraction is {fraction}; give it between 0 and 1, or use eval_mode all")
        num_train = min(int(np.ceil(count * fraction)), count - 1)
        held_out = np.ones(count, dtype=bool)
        held_out[np.linspace(0, count - 1, num_train, dtype=int)] = False
    return everything[~held_out], everything[held_out]


def frame_of_room(room_bbox: np.ndarray, margin: Optional[float]) -> SceneFrame:
    """Scene frame of a bounded room: no rotation, room centre at the origin, longest side plus margins = [-1, 1].

    Args:
        room_bbox: (2, 3) corners, data units.
        margin: space kept on every side, data units; None: `RELATIVE_MARGIN` of the longest side.

    Raises:
        InputError: the margin is negative.
    """
    sides = room_bbox[1] - room_bbox[0]
    margin = RELATIVE_MARGIN * float(sides.max()) if margin is None else margin
    if not 0 <= margin < np.inf:
        raise InputError(f"room_margin is {margin}; give the space around room_bbox, 0 or more, in the data's units")
    half = sides / 2 + margin
    scale = 1.0 / float(half.max())
    transform = np.concatenate([np.eye(3), -room_bbox.mean(axis=0)[:, None]], axis=1)
    aabb = torch.tensor(np.stack([-half, half]) * scale, dtype=torch.float32)
    return SceneFrame(torch.tensor(transform, dtype=torch.float32), scale, aabb)


def frame_of_poses(c2w: np.ndarray, orientation: Any, center: Any, scale_factor: float) -> SceneFrame:
    """Scene frame of an unbounded capture, as nerfstudio's own parser makes it: all cameras within [-1, 1].

    Args:
        c2w: (N, 4, 4) poses of all splits, data frame.
        orientation: orientation method of `auto_orient_and_center_poses`.
        center: its centring method.
        scale_factor: extra scale.

    Returns:
        The frame; its transform is not finite when the up directions of the poses cancel.
    """
    poses, transform = auto_orient_and_center_poses(
        torch.tensor(c2w, dtype=torch.float32), method=orientation, center_method=center
    )
    extent = float(poses[:, :3, 3].abs().max())
    scale = scale_factor / extent if extent > 1e-6 else scale_factor
    aabb = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    return SceneFrame(transform[:3, :4].contiguous(), scale, aabb)


def make_cameras(frames: list[Frame], scene: SceneFrame) -> Cameras:
    """nerfstudio cameras of the frames, in the scene frame.

    Distortion is left out when all of it is zero: undistorting rays is the larger part of a training batch's cost.
    """
    c2w = torch.tensor(np.stack([frame.c2w for frame in frames]), dtype=torch.float64)
    transform = scene.transform.double()
    poses = torch.cat([transform[:, :3] @ c2w[:, :3, :3], transform[:, :3] @ c2w[:, :3, 3:] + transform[:, 3:]], dim=-1)
    poses[:, :, 3] *= scene.scale
    cameras = [frame.intrinsics for frame in frames]

    def column(name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.tensor([[getattr(camera, name)] for camera in cameras], dtype=dtype)

    distortion = torch.tensor([camera.distortion for camera in cameras], dtype=torch.float32)
    return Cameras(
        camera_to_worlds=poses.float(),
        fx=column("fx"),
        fy=column("fy"),
        cx=column("cx"),
        cy=column("cy"),
        width=column("width", torch.int64),
        height=column("height", torch.int64),
        distortion_params=distortion if bool(distortion.any()) else None,
        camera_type=torch.tensor([[CAMERA_MODEL_TO_TYPE[camera.model].value] for camera in cameras]),
    )


front3d = DataParserSpecification(
    config=Front3DDataParserConfig(),
    description="Instance-NeRF's layout: images, instance id masks (png, hdf5, npy, npz) and transforms.json.",
)
