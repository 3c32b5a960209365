"""Two things of one kind before a wall, seen by cameras without perspective: pictures that need no network."""

from typing import Optional

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.gsn.segmenting import Marks
from nerfseg_plugins.gsn.surfels import Picture, Surfels

HEIGHT, WIDTH, PIXEL = 12, 20, 0.1
LEFT, RIGHT = (3, 8), (12, 17)
"""Columns of the things; both are in rows 3 to 8."""
ROWS = (3, 9)
WALL, THING = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0, 0.0])
GREY, RED = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.8, 0.2, 0.2])


def truth(shift: int = 0) -> Tensor:
    """(H, W) long: 0 wall, 1 left thing, 2 right thing; of a camera that stands so many pixels to the right."""
    found = torch.zeros(HEIGHT, WIDTH, dtype=torch.long)
    for label, (start, end) in enumerate((LEFT, RIGHT), start=1):
        found[ROWS[0] : ROWS[1], start - shift : end - shift] = label
    return found


def picture(shift: int = 0, noise: float = 0.0, seed: int = 0) -> Picture:
    """What such a camera sees."""
    thing = (truth(shift) > 0)[..., None]
    features = torch.where(thing, THING, WALL)
    generator = torch.Generator().manual_seed(seed + shift)
    features = normalize(features + noise * torch.randn(HEIGHT, WIDTH, 4, generator=generator), dim=-1)
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    points = torch.stack([(columns + shift) * PIXEL, -rows * PIXEL, torch.zeros(HEIGHT, WIDTH)], dim=-1)
    ones = torch.ones(HEIGHT, WIDTH)
    return Picture(features, points, torch.where(thing, RED, GREY), 2 * ones, PIXEL * ones)


def surfels(*shifts: int, noise: float = 0.0) -> Surfels:
    return Surfels.of([picture(shift, noise) for shift in shifts])


def stroke(label: int, rows: tuple[int, int], columns: tuple[int, int], seen: Optional[Picture] = None) -> Marks:
    """A filled rectangle, as the camera at 0 sees it."""
    seen = seen or picture()
    part = (slice(*rows), slice(*columns))
    features = seen.features[part].reshape(-1, 4)
    return Marks(seen.points[part].reshape(-1, 3), features, torch.full((len(features),), label))


def on_left(label: int = 1) -> Marks:
    return stroke(label, (5, 7), (4, 7))


def on_right(label: int = 2) -> Marks:
    return stroke(label, (5, 7), (13, 16))


def as_pictures(labels: Tensor, found: Surfels) -> list[Tensor]:
    """Labels (N,) of surfels as an image (H, W) for each view."""
    views = int(found.place[:, 0].max()) + 1
    images = torch.full((views, HEIGHT, WIDTH), -1)
    images[tuple(found.place.long().T)] = labels
    return list(images)
