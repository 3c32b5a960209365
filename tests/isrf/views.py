"""Cameras around the scene of boxes.py."""

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor
from torch.nn.functional import normalize

Place = tuple[float, float, float]
FRONT_VIEW: tuple[Place, Place] = ((-0.9, 0.0, 0.0), (0.0, 0.0, 0.0))
"""A camera on the axis, and what it looks at: the red box hides the glossy one and the middle of the wall."""
SIDE_VIEW: tuple[Place, Place] = ((-0.3, -0.7, 0.1), (0.15, 0.0, 0.0))
"""One that sees a side and the front of the glossy box."""


def pose(position: Place, target: Place) -> Tensor:
    """(3, 4) camera to world of a camera with +z of the scene upwards."""
    back = normalize(torch.tensor(position) - torch.tensor(target), dim=0)
    right = normalize(torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), back), dim=0)
    up = torch.linalg.cross(back, right)
    return torch.stack([right, up, back, torch.tensor(position)], dim=1)


def cameras(*views: tuple[Place, Place], **options) -> Cameras:
    """Pinhole cameras of 80 x 60 pixels with a wide view, at places and with targets."""
    settings = {"fx": 40.0, "fy": 40.0, "cx": 40.0, "cy": 30.0, "width": 80, "height": 60, **options}
    return Cameras(torch.stack([pose(*view) for view in views]), **settings)
