"""Pictures that commands leave behind: contact sheets."""

from collections.abc import Sequence
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
