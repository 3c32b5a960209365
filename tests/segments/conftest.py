"""Scenes whose every pixel is known by a formula: two boxes on a floor, seen from a circle of cameras."""

from dataclasses import dataclass

import numpy as np
import pytest

from nerfseg_plugins.segments.lift import DepthView

BOXES = np.array([[[-1.0, -0.5, 0.0], [-0.2, 0.5, 0.8]], [[0.3, -0.4, 0.0], [0.9, 0.4, 0.6]]])
"""Boxes of instances 1 and 2: lower and upper corner."""
ROOM = np.array([[-3.0, -3.0, 0.0], [3.0, 3.0, 3.0]])
"""Seen from inside: floor, walls and ceiling are background."""


@dataclass(frozen=True)
class BoxScene:
    """Rays, depth and true ids of F views."""

    views: list[DepthView]
    truth: list[np.ndarray]
    boxes: np.ndarray
    """(2, 2, 3) corners of instances 1 and 2."""

    def permuted(self, seed: int = 0) -> list[np.ndarray]:
        """The true maps with ids 1.. renamed at random in each view, among 1..9."""
        rng = np.random.default_rng(seed)
        names = [np.concatenate([[0], rng.permutation(9) + 1]).astype(np.int32) for _ in self.truth]
        return [name[ids] for name, ids in zip(names, self.truth, strict=True)]


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3) rotation, OpenGL: columns are right, up and backward."""
    backward = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, 0.0, 1.0], backward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(backward, right), backward], axis=1)


def slab(origin: np.ndarray, directions: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances at which rays enter and leave a box; a miss enters after it leaves."""
    with np.errstate(divide="ignore"):
        near, far = np.sort((box[:, None, None] - origin) / directions[None], axis=0)
    return near.max(axis=-1), far.min(axis=-1)


def make_scene(num_views: int = 8, height: int = 48, width: int = 64) -> BoxScene:
    """Cameras on a circle of radius 2.2 at height 1.5, looking at the middle; focal length = width."""
    views, truth = [], []
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    camera = np.stack([(columns - width / 2) / width, -(rows - height / 2) / width, -np.ones_like(rows)], axis=-1)
    camera /= np.linalg.norm(camera, axis=-1, keepdims=True)
    for angle in np.arange(num_views) * 2 * np.pi / num_views + 0.1:
        position = np.array([2.2 * np.cos(angle), 2.2 * np.sin(angle), 1.5])
        directions = camera @ look_at(position, np.array([0.0, 0.0, 0.3])).T
        _, depth = slab(position, directions, ROOM)
        ids = np.zeros((height, width), np.int32)
        for index, box in enumerate(BOXES):
            near, far = slab(position, directions, box)
            hit = (near < far) & (near > 0) & (near < depth)
            depth, ids = np.where(hit, near, depth), np.where(hit, index + 1, ids)
        views.append(DepthView(depth.astype(np.float32), position, directions))
        truth.append(ids)
    return BoxScene(views, truth, BOXES)


@pytest.fixture(scope="session")
def scene() -> BoxScene:
    return make_scene()
