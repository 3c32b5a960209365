"""`nerfseg photo render`: around a car that one normalised photo shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional

from nerfseg_plugins.cli.photo_normalize import NORMALIZED, read_photo
from nerfseg_plugins.cli.views import with_progress
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path

if TYPE_CHECKING:
    import numpy as np

    from nerfseg_plugins.image_based.rendering import ViewsInMemory


@dataclass
class PhotoRender:
    """Go around cars in normalised photos: NAME_frames/0000.png ... and NAME_video.mp4.

    Nobody knows where a photo was taken from, nor needs to: all happens in the photo's own frame.
    """

    load_config: Path
    """config.yml of a pixelnerf run that was trained on cars."""
    images: list[Path]
    """Photos from `photo normalize`, or folders of them."""
    output_path: Path = Path("output")
    """Folder to write into."""
    frames: int = 24
    """Pictures around the car."""
    elevation: float = 0.0
    """Degrees by which the camera looks up; with -20 it stands above and looks down."""
    radius: float = 1.3
    """Distance of the camera from the car's middle, scene units."""
    focal: float = 131.25
    """Focal length at a width of 128 pixels, pixels."""
    near: float = 0.8
    """Distance along rays at which the car may begin, scene units."""
    far: float = 1.8
    """Distance at which it ends."""
    input_size: int = 128
    """Pixels along each side at which the network sees the photo: as in its training."""
    size: tuple[int, int] = (128, 128)
    """Width and height of the pictures."""
    video: Literal["mp4", "gif", "none"] = "mp4"
    """Kind of the video."""
    fps: int = 15
    """Pictures of the video a second."""
    chunk: Optional[int] = None
    """Rays times source views rendered at once; by default as many as the run is configured for."""

    def main(self) -> None:
        """Render and write.

        Raises:
            InputError: the run, a photo or a setting cannot be used.
        """
        from nerfseg_plugins.cli.image_based import load_model

        self._check()
        photos = list_normalised(self.images)
        pictures = [read_square(photo) for photo in photos]
        opened = load_model(self.load_config)
        for photo, picture in zip(photos, pictures, strict=True):
            opened.model.open_scene(self.scene_of(photo, picture))
            frames = list(with_progress(self._frames(opened.model), self.frames, f"rendering {photo.stem}"))
            print("wrote " + " and ".join(map(str, self._write(photo, frames))))

    def _check(self) -> None:
        """Refuse settings that make no sense.

        Raises:
            InputError: names the flag.
        """
        for name, least in (("frames", 1), ("fps", 1), ("chunk", 1), ("input_size", 8)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name.replace('_', '-')} is {value}; give {least} or more")
        if min(self.size) < 8:
            raise InputError(f"--size is {self.size[0]} {self.size[1]}; give a width and height of 8 pixels or more")
        if not 0 <= self.near < self.far:
            raise InputError(f"--near is {self.near} and --far {self.far}; rays need 0 <= near < far")
        if self.focal <= 0 or self.radius <= 0:
            raise InputError("--focal and --radius must be above 0")

    def scene_of(self, photo: Path, picture: "np.ndarray") -> "ViewsInMemory":
        """A scene of one source view: the photo (S, S, 3) uint8, seen by the dummy camera."""
        import numpy as np
        import torch
        from PIL import Image

        from nerfseg_plugins.image_based.rendering import ViewsInMemory
        from nerfseg_plugins.image_based.views import SourceViews
        from nerfseg_plugins.pixelnerf.photos import SIDE, dummy_camera

        side = self.input_size
        if picture.shape[0] != side:
            picture = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))
        views = SourceViews(
            images=torch.from_numpy(picture.copy()).permute(2, 0, 1)[None, None].float() / 255,
            c2w=torch.from_numpy(dummy_camera(self.radius)).float()[None, None],
            focal=torch.full((1, 1, 2), self.focal * side / SIDE),
            center=torch.full((1, 1, 2), side / 2),
            near=torch.tensor([self.near]),
            far=torch.tensor([self.far]),
        )
        return ViewsInMemory(str(photo), views)

    def _frames(self, model: Any) -> "Iterator[np.ndarray]":
        """Pictures (H, W, 3) uint8, the first from where the photo was taken when the elevation is 0."""
        import numpy as np
        import torch

        from nerfseg_plugins.image_based.rendering import pinhole_cameras, render_cameras, to_bytes
        from nerfseg_plugins.image_based.turntable import orbit
        from nerfseg_plugins.pixelnerf.photos import SIDE, dummy_camera

        width, height = self.size
        up, middle = np.array([0.0, 1.0, 0.0]), np.zeros(3)  # the dummy camera stands upright
        path = orbit(self.frames, self.elevation, self.radius, up, middle, dummy_camera()[:, 3])
        focal, half = torch.tensor(self.focal * width / SIDE), (torch.tensor(width / 2), torch.tensor(height / 2))
        cameras = pinhole_cameras(torch.from_numpy(path), focal, focal, *half, width, height)
        yield from (to_bytes(outputs["rgb"]) for outputs in render_cameras(model, cameras, ("rgb",), self.chunk))

    def _write(self, photo: Path, frames: "list[np.ndarray]") -> list[Path]:
        """Write frames and video; the paths."""
        from PIL import Image

        from nerfseg_plugins.scene.video import write_moving

        folder = self.output_path / f"{photo.stem}_frames"
        for index, frame in enumerate(frames):
            with atomic_path(folder / f"{index:04d}.png") as temporary:
                Image.fromarray(frame).save(temporary)
        if self.video == "none":
            return [folder]
        video = self.output_path / f"{photo.stem}_video.{self.video}"
        write_moving(video, frames, self.fps)
        return [folder, video]


def list_normalised(paths: list[Path]) -> list[Path]:
    """Photos that are named, and those from `photo normalize` in named folders.

    Raises:
        InputError: a path does not exist or holds none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.glob(f"*{NORMALIZED}.png"))
            if not inside:
                raise InputError(f"{path} has no *{NORMALIZED}.png; make some with: nerfseg photo normalize")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path} does not exist; check the path")
    return found


def read_square(photo: Path) -> "np.ndarray":
    """A normalised photo (S, S, 3) uint8.

    Raises:
        InputError: it is no image, or not square.
    """
    picture = read_photo(photo)
    height, width = picture.shape[:2]
    if height != width:
        raise InputError(f"{photo} has {width}x{height} pixels, but a normalised photo is square; run photo normalize")
    return picture
