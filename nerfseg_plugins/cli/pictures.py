"""Pictures that commands leave behind: contact sheets and videos."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nerfseg_plugins.files import atomic_path

GAP = 4
"""Pixels between the pictures of a sheet."""
HEADER = 20
"""Pixels above each column, for its title."""


def contact_sheet(path: Path, titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]]) -> None:
    """Write pictures in rows and titled columns.

    Args:
        path: PNG to write.
        titles: one per column.
        rows: pictures (H, W, 3) uint8, all of one size.
    """
    height, width = rows[0][0].shape[:2]
    sheet = Image.new("RGB", (len(titles) * (width + GAP) - GAP, HEADER + len(rows) * (height + GAP) - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    for column, title in enumerate(titles):
        draw.text((column * (width + GAP) + 2, 2), title, fill="black", font=font)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (column * (width + GAP), HEADER + row * (height + GAP)))
    with atomic_path(path) as temporary:
        sheet.save(temporary)


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
