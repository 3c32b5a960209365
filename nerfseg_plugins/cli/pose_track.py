"""`nerfseg pose track`: the path of the camera that took a film."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from nerfseg_plugins.cli.pose_options import PhotoOptions, SearchOptions, not_trusted, open_run
from nerfseg_plugins.cli.views import with_progress
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path, write_json
from nerfseg_plugins.inerf.lens_config import LensConfig

if TYPE_CHECKING:
    import numpy as np

    from nerfseg_plugins.inerf.query import Query
    from nerfseg_plugins.inerf.scene import Scene
    from nerfseg_plugins.inerf.tracking import Tracked
    from nerfseg_plugins.scene.run import Run

WRITE_EVERY = 25
"""Frames after which poses.json is written anew; an interrupt writes it as well."""


@dataclass
class PoseTrack:
    """Find the camera of every frame of a video or of numbered images, each from where the last ones lead."""

    load_config: Path
    """config.yml of the run."""
    video: Optional[Path] = None
    """The film; its frames are written into frames/ of the output folder."""
    images: Optional[Path] = None
    """Instead of a video: folder of numbered images."""
    output_path: Path = Path("track")
    """Folder to write into."""
    every: int = 1
    """Take the first of every so many frames."""
    max_frames: int = 10_000
    """Take so many frames at most."""
    max_side: Optional[int] = None
    """Frames whose longer side has more pixels are made smaller."""
    tracking_rays: int = 512
    """Rays compared in a step while the camera is followed."""
    picture_size: int = 320
    """Pixels of the longer side of the overlay video."""
    fps: int = 10
    """Frames of the overlay video a second."""
    lens: LensConfig = field(default_factory=LensConfig)
    """The lens; a video needs one."""
    search: SearchOptions = field(default_factory=SearchOptions)
    """How the first frame is searched, and those after which the camera is lost."""

    def main(self) -> None:
        """Track, write poses.json, overlay.mp4, residuals.png and metrics.json, and print what was found.

        Raises:
            InputError: the run, the frames or the settings cannot be used.
        """
        from nerfseg_plugins.inerf.of_run import estimator_of_run
        from nerfseg_plugins.inerf.tracking import Tracker, light
        from nerfseg_plugins.scene.video import write_moving

        self._check()
        config = self.search.config()
        run = open_run(self.load_config)
        count, frames = self._queries(run)
        queries = chain([next(frames)], frames)  # what is wrong with the first is said before the scene is prepared
        tracker = Tracker(estimator := estimator_of_run(run, config), self.tracking_rays)
        scene = estimator.levels[-1] if estimator.levels else estimator.scene
        done: list[Tracked] = []
        pictures: list[np.ndarray] = []
        try:
            for tracked in with_progress(tracker.track(queries), count, "tracking"):
                pictures.append(self._picture(scene, tracked))
                done.append(light(tracked))
                if len(done) % WRITE_EVERY == 0:
                    self._write_poses(run, done)
        finally:
            if done:
                self._write_poses(run, done)
        write_moving(self.output_path / "overlay.mp4", iter(pictures), self.fps)
        plot_residuals(self.output_path / "residuals.png", done)
        self._conclude(done)

    def _check(self) -> None:
        if (self.video is None) == (self.images is None):
            raise InputError("pass either --video FILE or --images FOLDER")
        for name, least in (("every", 1), ("max_frames", 1), ("tracking_rays", 6), ("picture_size", 16), ("fps", 1)):
            if getattr(self, name) < least:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}; give {least} or more")
        if self.video is not None and not (self.lens.given or self.lens.like_run):
            raise InputError(
                f"{self.video} has no intrinsics; give --fl-x or --fov, or --like-run if the run's own camera took it"
            )
        if self.search.config().init == "start":
            raise InputError("the first frame has no pose to start from; track with --preset best or with --init auto")

    def _queries(self, run: "Run") -> "tuple[int, Iterator[Query]]":
        """How many frames there may be, and the frames one by one."""
        from nerfseg_plugins.inerf.output import film

        if self.video is not None:
            video = self.video
            if not video.is_file():
                raise InputError(f"{video} does not exist; name a video")
            count = film.count_frames(video, self.every, self.max_frames)
            paths = film.frames_of_video(video, self.output_path / "frames", self.every, self.max_frames)
        else:
            assert self.images is not None
            found = film.numbered_frames(self.images)[:: self.every][: self.max_frames]
            count, paths = len(found), iter(found)
        return count, self._read(run, paths)

    def _read(self, run: "Run", paths: Iterator[Path]) -> "Iterator[Query]":
        """Read frames when they are needed: a film does not fit into memory."""
        for path in paths:
            yield PhotoOptions([path], max_side=self.max_side, lens=self.lens).read(run)[0]

    def _picture(self, scene: "Scene", tracked: "Tracked") -> "np.ndarray":
        """The frame with the rendering on it, or alone where nothing was found."""
        from nerfseg_plugins.inerf.output.pictures import exposed, reduced, rendering, to_bytes
        from nerfseg_plugins.inerf.output.report import overlay

        small, estimate = reduced(tracked.query, self.picture_size), tracked.estimate
        if not estimate.c2w.isfinite().all():
            return to_bytes(small.image)
        return overlay(small.image, exposed(rendering(scene, small, estimate.c2w), estimate.exposure), weight=0.5)

    def _write_poses(self, run: "Run", done: "list[Tracked]") -> None:
        from nerfseg_plugins.inerf.output.report import RunInfo, write_poses

        entries = [(tracked.query, tracked.estimate) for tracked in done]
        write_poses(self.output_path / "poses.json", entries, RunInfo.of(run))

    def _conclude(self, done: "list[Tracked]") -> None:
        """metrics.json, and the same as text."""
        import numpy as np

        converged = sum(tracked.estimate.converged for tracked in done)
        searched = sum(tracked.how == "searched" for tracked in done)
        seconds = [tracked.estimate.seconds for tracked in done]
        followed = [tracked.estimate.seconds for tracked in done if tracked.how == "tracked"]
        metrics = {
            "frames": len(done),
            "converged": converged,
            "searched": searched,
            "seconds": sum(seconds),
            "frames_per_second": len(done) / sum(seconds),
            "frames_per_second_tracked": float(1 / np.median(followed)) if followed else None,
            "not_converged": [tracked.query.name for tracked in done if not tracked.estimate.converged],
        }
        write_json(self.output_path / "metrics.json", metrics)
        print(
            f"{converged} of {len(done)} frames converged, {searched} of them searched over the whole scene; "
            f"{metrics['frames_per_second']:.2f} frames a second"
            + (f", {metrics['frames_per_second_tracked']:.2f} while tracking" if followed else "")
        )
        if converged < len(done):
            print(not_trusted(metrics["not_converged"]))
        print(f"wrote poses.json, metrics.json, overlay.mp4 and residuals.png into {self.output_path}")


def plot_residuals(path: Path, done: "list[Tracked]") -> None:
    """Plot the residual of every frame, and which were searched over the whole scene or are not to be trusted."""
    import numpy as np
    from matplotlib.figure import Figure

    residuals = np.array([tracked.estimate.residual for tracked in done])
    searched = np.array([tracked.how == "searched" for tracked in done])
    lost = np.array([not tracked.estimate.converged for tracked in done])
    frames = np.arange(len(done))
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    panel = figure.subplots()
    panel.plot(frames, residuals, color="#0072b2", linewidth=1)
    for rows, marker, color, label in (
        (searched, "o", "#e69f00", "searched"),
        (lost, "x", "#d55e00", "not converged"),
    ):
        if rows.any():
            heights = np.nan_to_num(residuals[rows])
            panel.plot(frames[rows], heights, marker, color=color, label=label, markersize=5)
    if (searched | lost).any():
        panel.legend(frameon=False, fontsize="small")
    panel.set(xlabel="frame", ylabel="residual", ylim=(0, None))
    panel.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
