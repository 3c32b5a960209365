"""`nerfseg room`: write a procedural scene, or a category of objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Optional

if TYPE_CHECKING:
    from rich.progress import Progress

MANY = ("srn", "nmr", "dvr")


@dataclass
class Room:
    """Write a furnished room with exact labels, made from a seed, in one of the dataset layouts; or, in the layouts
    srn, nmr and dvr, a whole category of chairs of many shapes, each alone on a plain background."""

    output_path: Path
    """Folder to write; it must not exist or must be empty."""
    layout: Literal["front3d", "sam-hierarchy", "llff", "srn", "nmr", "dvr"] = "front3d"
    """Where the cameras stand and how the files are named. One room: inside it, around it, or facing one way. Many
    chairs: around each as in SRN, on a ring as in the NMR renderings, or around each as in DVR's DTU scans."""
    seed: int = 0
    """Equal seeds give equal data sets."""
    count: tuple[int, int, int] = (32, 6, 6)
    """Layouts of many: how many objects to train on, to validate on and to test on."""
    subject: Literal["chairs", "rooms"] = "chairs"
    """Layouts of many: what is seen; rooms (without walls, from outside, on black) go with the dvr layout alone."""
    views: Optional[int] = None
    """Number of training views; layouts of many: all views of each object. Unset: 40; srn and dvr 50, nmr 24."""
    val_views: int = 8
    """Number of held-out views; the layouts of many hold out whole objects instead."""
    width: Optional[int] = None
    """Image width in pixels; unset: 160, and 64 in the layouts of many."""
    height: Optional[int] = None
    """Image height in pixels; unset: 120, and 64 in the layouts of many."""
    objects: int = 10
    """Number of pieces of furniture in a room."""
    noisy_masks: bool = False
    """Also write what an imperfect 2D network would say (sam-hierarchy: make the masks themselves imperfect)."""
    mask_format: Literal["png", "npy", "hdf5"] = "png"
    """File format of the instance masks of the front3d layout."""
    overwrite: bool = False
    """Replace the output folder if it holds something."""

    def main(self) -> None:
        """Make the room or the category and write it.

        Raises:
            InputError: an argument is out of range, or the output folder is not empty.
        """
        if self.layout in MANY:
            self._write_many()
        else:
            self._write_room()

    def _write_many(self) -> None:
        import time

        from nerfseg_plugins.rooms.generate import write_many

        start = time.perf_counter()
        views = (24 if self.layout == "nmr" else 50) if self.views is None else self.views
        size = (64 if self.width is None else self.width, 64 if self.height is None else self.height)
        rooms = self.subject == "rooms"
        with _progress() as bar:
            task = bar.add_task("Rendering", total=sum(self.count) * views)
            write_many(
                self.output_path,
                self.layout,
                self.seed,
                self.count,
                views,
                *size,
                rooms,
                self.objects,
                self.overwrite,
                lambda: bar.advance(task),
            )
        train, val, test = self.count
        seconds = time.perf_counter() - start
        print(f"{train} + {val} + {test} {self.subject}, {views} views of each, in {seconds:.1f} s")
        print(f"written to {self.output_path}")

    def _write_room(self) -> None:
        import time

        from nerfseg_plugins.rooms.generate import check_target, make_scene, write_scene

        check_target(self.output_path, self.overwrite)
        start = time.perf_counter()
        views, width, height = (
            default if value is None else value
            for value, default in ((self.views, 40), (self.width, 160), (self.height, 120))
        )
        room, shots = make_scene(self.seed, self.layout, self.objects, views, self.val_views, width, height)
        with _progress() as bar:
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


def _progress() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
