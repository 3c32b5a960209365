"""Boxes known by hand in nerfstudio's own viewer, and what is done to its panel."""

import math
from threading import Lock
from types import SimpleNamespace
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO, Viewer
from torch import nn
from viser import ScenePointerEvent

from nerfseg_plugins.scene.viewing import placed

from ..browser import fire, press
from .boxes import box_model

WIDTH, HEIGHT, FOCAL = 100, 80, 60.0
START = (-0.9, 0.0, 0.0)
AT_RED, AT_WALL = (1.0, 0.0, 0.0), (1.0, 0.5, 0.0)
"""Directions from `START`: to the red box, and past it to the wall."""
RED, GLOSSY, WALL = 0, 1, 2


def cameras() -> Cameras:
    """Two cameras that look along +x, with z up."""
    poses = torch.tensor([[[0.0, 0, -1, -0.9], [-1, 0, 0, y], [0, 1, 0, 0]] for y in (0.0, 0.2)])
    return Cameras(poses, fx=FOCAL, fy=FOCAL, cx=WIDTH / 2, cy=HEIGHT / 2, width=WIDTH, height=HEIGHT)


class Pipeline(nn.Module):
    """As much of a pipeline as the viewer and the panel ask for; the data are twice as large as the scene."""

    def __init__(self) -> None:
        super().__init__()
        self.model = box_model()
        outputs = SimpleNamespace(dataparser_transform=torch.eye(4)[:3], dataparser_scale=0.5)
        self.datamanager = SimpleNamespace(
            includes_time=False,
            config=SimpleNamespace(dataparser=None),
            train_dataparser_outputs=outputs,
            train_dataset=SimpleNamespace(cameras=cameras(), image_filenames=["images/a_1.png", "images/b_2.png"]),
        )
        for title, panel in self.model.panels().items():
            self.add_module(title, panel)


def send(viewer: Viewer, kind: str, direction: Any, places: Any = ((0.5, 0.5),)) -> None:
    """What viser does when a browser sends a click or a rectangle: its world is ten times as large as the scene."""
    callback = viewer.viser_server.scene._scene_pointer_cb
    assert callback is not None
    origin = tuple(x * VISER_NERFSTUDIO_SCALE_RATIO for x in START)
    callback(ScenePointerEvent(None, 0, kind, origin, direction, places))  # type: ignore[arg-type]


def draw(panel: Any, viewer: Viewer, *directions: tuple[float, float, float], positive: bool = True) -> str:
    """Draw a stroke; returns what the panel says."""
    own = panel._controls
    own.polarity.gui_handle._impl.value = own.polarity.options[0 if positive else 1]
    fire(own.pen.draw)
    for direction in directions:
        send(viewer, "click", direction)
    return press(panel, "finish")


def listens(viewer: Viewer) -> bool:
    """Whether a click in the scene would be heard."""
    return viewer.viser_server.scene._scene_pointer_cb is not None


def shown_by(panel: Any, voxels: Any) -> torch.Tensor:
    """(N,) bool: the voxels of the cache whose centres lie in a part of space."""
    return voxels.contains(panel.state.cache.centres())


def boxes_of(panel: Any, mask: torch.Tensor) -> dict[int, float]:
    """Share of each box's voxels that a mask holds."""
    box = panel.state.cache.features.float().argmax(dim=-1)
    return {index: float(mask[box == index].float().mean()) for index in (RED, GLOSSY, WALL)}


class Client:
    """A browser that looks on, upright along +x from `START`."""

    def __init__(self) -> None:
        position, wxyz = placed(cameras().camera_to_worlds[0])
        self.scene = SimpleNamespace(_scene_pointer_cb=None)
        self.camera = SimpleNamespace(position=position, wxyz=wxyz, fov=2 * math.atan(HEIGHT / 2 / FOCAL), aspect=1.25)

    def atomic(self) -> Any:
        return Lock()
