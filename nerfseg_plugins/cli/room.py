"""`nerfseg room`: write a procedural scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass
class Room:
    """Write a furnished room with exact labels, made from a seed, in one of the dataset layouts."""

    output_path: Path
    """Folder to write; it must not exist or must be empty."""
    layout: Literal["front3d", "sam-hierarchy", "llff"] = "front3d"
    """Where the cameras stand and how the files are named: inside the room, around it, or facing one way."""
    seed: int = 0
    """Equal seeds give equal data sets."""
    views: int = 40
    """Number of training views."""
    val_views: int = 8
    """Number of held-out views."""
    width: int = 160
    """Image width in pixels."""
    height: int = 120
    """Image height in pixels."""
    objects: int = 10
    """Number of pieces of furniture."""
    noisy_masks: bool = False
    """Also write what an imperfect 2D network would say (sam-hierarchy: make the masks themselves imperfect)."""
    mask_format: Literal["png", "npy", "hdf5"] = "png"
    """File format of the instance masks of the front3d layout."""
    overwrite: bool = False
    """Replace the output folder if it holds something."""

    def main(self) -> None:
        """Make the room and write it.

        Raises:
            InputError: an argument is out of range, or the output folder is not empty.
        """
        import time

        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from nerfseg_plugins.rooms.generate import check_target, make_scene, write_scene

        check_target(self.output_path, self.overwrite)
        start = time.perf_counter()
        room, shots = make_scene(
            self.seed, self.layout, self.objects, self.views, self.val_views, self.width, self.height
        )
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as bar:
            task = bar.add_task("Rendering", total=len(shots))
            write_scene(
                self.output_path,
                room,
                shots,
                self.layout,
                self.noisy_masks,
                self.mask_format,
                self.overwrite,
                lambda: bar.advance(task),
            )
        seconds = time.perf_counter() - start
        names = ", ".join(item.name for item in room.objects)
        print(
            f"{len(shots.train)} + {len(shots.val)} views of {len(room.objects)} objects ({names}) in {seconds:.1f} s"
        )
        print(f"written to {self.output_path}")
