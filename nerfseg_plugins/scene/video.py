"""Frames -> video files."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path


def write_moving(path: Path, frames: Iterable[np.ndarray], fps: int) -> None:
    """Write frames (H, W, 3) uint8 as mp4 or gif, as the path's suffix says, whole or not at all.

    Raises:
        InputError: another suffix, or no frames.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{path} is not written: there are no frames to show")
    if path.suffix.lower() == ".mp4":
        write_video(path, chain([first], frames), fps)
    elif path.suffix.lower() == ".gif":
        rest = [Image.fromarray(frame) for frame in frames]
        duration = max(20, round(100 / fps) * 10)  # GIF counts hundredths; browsers slow down what is below two
        with atomic_path(path) as temporary:
            Image.fromarray(first).save(temporary, save_all=True, append_images=rest, duration=duration, loop=0)
    else:
        raise InputError(f"{path} must end in .mp4 or .gif")


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
