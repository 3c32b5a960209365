"""Frames -> video files."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nerfseg_plugins.files import atomic_path


def write_video(path: Path, frames: Iterable[np.ndarray], fps: int) -> None:
    """Write frames (H, W, 3) uint8 as an H.264 mp4, whole or not at all; odd sizes are cut to even ones."""
    import imageio_ffmpeg

    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[0] // 2 * 2, first.shape[1] // 2 * 2
    with atomic_path(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), (width, height), fps=fps, quality=8, macro_block_size=2, ffmpeg_log_level="error"
        )
        writer.send(None)
        try:
            writer.send(np.ascontiguousarray(first[:height, :width]))
            for frame in frames:
                writer.send(np.ascontiguousarray(frame[:height, :width]))
        finally:
            writer.close()
