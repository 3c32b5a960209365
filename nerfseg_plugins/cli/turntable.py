"""`nerfseg turntable`: around objects that a network sees through a few views."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import tyro

from nerfseg_plugins.cli.scenes import SceneOptions
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path

if TYPE_CHECKING:
    import numpy as np

    from nerfseg_plugins.cli.scenes import ShownScene


@dataclass
class Turntable:
    """Videos around objects, seen through a few of their views by a run of an image-based method.

    Of each scene SCENE_views_064_104.mp4, and beside it SCENE_views_064_104.png with the source views.
    """

    load_config: Path
    """config.yml of a run of pixelnerf, gnt or gsn."""
    scenes: Annotated[SceneOptions, tyro.conf.arg(name="")] = field(default_factory=lambda: SceneOptions(scenes=("0",)))
    """Which scenes."""
    output_path: Path = Path("turntable")
    """Folder to write into."""
    frames: int = 40
    """Pictures of a video."""
    path: Literal["auto", "orbit", "cameras"] = "auto"
    """orbit: around the object; cameras: a smooth way through the scene's own cameras; auto: an orbit where the cameras
    stand on all sides of the object."""
    elevation: float = -10.0
    """orbit: degrees by which the camera looks up; with -10 it stands above and looks down."""
    radius: Optional[float] = None
    """orbit: distance from what the cameras look at, scene units; unset: half-way between near and far."""
    scale: float = 1.0
    """Factor on the size of the source images."""
    video: Literal["mp4", "gif"] = "mp4"
    """Kind of the videos."""
    fps: int = 30
    """Pictures a second."""
    chunk: Optional[int] = None
    """Rays times source views rendered at once; by default as many as the run is configured for."""

    def main(self) -> None:
        """Render and write.

        Raises:
            InputError: the run, the data or a setting cannot be used.
        """
        from nerfseg_plugins.cli.image_based import load_model
        from nerfseg_plugins.cli.scenes import read_scene

        self._check()
        config = self.scenes.read(self.load_config)
        views, references = self.scenes.source_views(config), self.scenes.find(config)
        model = load_model(self.load_config, read_scene(references[0], config, views).sources).model
        for reference in references:
            shown = read_scene(reference, config, views)
            model.open_scene(shown.sources)
            path = self._place(shown)
            self._write_views(path.with_suffix(".png"), shown)
            self._write_video(path, shown, model)
            print(f"wrote {path}")

    def _check(self) -> None:
        """Refuse settings that make no sense.

        Raises:
            InputError: names the flag.
        """
        for name in ("frames", "fps", "chunk"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name} is {value}; give 1 or more")
        for name in ("scale", "radius"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"--{name} is {value}; give a number above 0")

    def _place(self, shown: "ShownScene") -> Path:
        """Where the video goes; of a scene without chosen views the name does not list them all."""
        numbers = "_".join(f"{number:03d}" for number in shown.source_numbers)
        views = f"_views_{numbers}" if len(shown.source_numbers) <= 8 else ""
        return self.output_path / f"{shown.name}{views}.{self.video}"

    def _write_views(self, path: Path, shown: "ShownScene") -> None:
        """The source views side by side; of many, eight."""
        import numpy as np
        from PIL import Image

        from nerfseg_plugins.image_based.images import resized
        from nerfseg_plugins.image_based.shown import spread_views

        chosen = spread_views(len(shown.sources), 8)
        size = shown.sources.size(chosen[0])
        pictures = [resized(shown.sources.image(index), size) for index in chosen]
        with atomic_path(path) as temporary:
            Image.fromarray(np.concatenate(pictures, axis=1)).save(temporary)

    def _write_video(self, path: Path, shown: "ShownScene", model: Any) -> None:
        from nerfseg_plugins.cli.views import with_progress
        from nerfseg_plugins.image_based.rendering import path_cameras, render_cameras, to_bytes
        from nerfseg_plugins.scene.video import write_moving

        cameras = path_cameras(self._path(shown), shown.sources.cameras[:1], self.scale)
        rendered = render_cameras(model, cameras, ("rgb",), self.chunk)
        pictures = (to_bytes(outputs["rgb"]) for outputs in rendered)
        write_moving(path, with_progress(pictures, self.frames, shown.name), self.fps)

    def _path(self, shown: "ShownScene") -> "np.ndarray":
        """(frames, 3, 4) poses, scene frame; an orbit begins on the side of the first source view."""
        import torch

        from nerfseg_plugins.image_based.turntable import turntable

        radius = self.radius if self.radius is not None else sum(shown.sources.bounds) / 2
        poses = torch.cat([shown.sources.c2w, shown.targets.c2w]).numpy()
        return turntable(poses, self.frames, self.elevation, radius, self.path, poses[0, :, 3])
