"""Options of a lens; without torch, so that the command line reads them at once."""

from dataclasses import dataclass, fields
from typing import Literal, Optional

from nerfseg_plugins.errors import InputError


@dataclass
class LensConfig:
    """The lens that all photos were taken with, in pixels of the photos as they lie on disk; unset: what is listed."""

    fl_x: Optional[float] = None
    """Focal length in pixels."""
    fl_y: Optional[float] = None
    """Vertical focal length in pixels; unset: fl_x."""
    fov: Optional[float] = None
    """Instead of fl_x: horizontal field of view in degrees."""
    cx: Optional[float] = None
    """Principal point from the left edge; unset: the middle."""
    cy: Optional[float] = None
    """Principal point from the upper edge; unset: the middle."""
    w: Optional[int] = None
    """Width of the photos that these numbers are for; photos of another width are refused."""
    h: Optional[int] = None
    """Height of the photos that these numbers are for."""
    k1: float = 0.0
    """First radial distortion of OpenCV's model."""
    k2: float = 0.0
    """Second radial distortion."""
    k3: float = 0.0
    """Third radial distortion."""
    k4: float = 0.0
    """Fourth radial distortion."""
    p1: float = 0.0
    """First tangential distortion."""
    p2: float = 0.0
    """Second tangential distortion."""
    camera_model: Literal[
        "OPENCV", "OPENCV_FISHEYE", "EQUIRECTANGULAR", "PINHOLE", "SIMPLE_PINHOLE", "RADIAL", "SIMPLE_RADIAL"
    ] = "OPENCV"
    """Projection."""
    like_run: bool = False
    """Whether the photos are the run's own camera's: its intrinsics are scaled to their size."""

    @property
    def given(self) -> bool:
        """Whether a focal length or field of view is set."""
        return self.fl_x is not None or self.fl_y is not None or self.fov is not None

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            InputError: they do.
        """
        if self.fov is not None and (self.fl_x is not None or self.fl_y is not None):
            raise InputError("the lens has both fov and fl_x; give one of them")
        if self.like_run and self.given:
            raise InputError("the lens has like_run beside fl_x or fov; give one of them")
        if not self.given and (
            odd := [name for name in _NEED_FOCAL if getattr(self, name) != getattr(LensConfig, name)]
        ):
            raise InputError(f"the lens has {odd[0]} but no focal length; give fl_x or fov too")


_NEED_FOCAL = tuple(entry.name for entry in fields(LensConfig) if entry.name not in ("fl_x", "fl_y", "fov", "like_run"))
