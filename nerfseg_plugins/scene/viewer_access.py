"""What panels need of nerfstudio's viewer and of viser beneath it; nothing else in panels knows their insides."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, Optional

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.viewing import placed, placed_points

WIDEST = math.radians(120)
MAX_RES = (64, 2048)
"""Range of the viewer's resolution, pixels along the longer side."""


class ViewerAccess:
    """nerfstudio's viewer, as far as panels need it.

    Args:
        control: knows the viewer once there is one.
    """

    def __init__(self, control: ViewerControl) -> None:
        self._control = control
        self._drawn: dict[str, Any] = {}
        self._listening: Optional[str] = None

    @property
    def viewer(self) -> Any:
        """nerfstudio's viewer.

        Raises:
            InputError: there is none yet.
        """
        found = getattr(self._control, "viewer", None)
        if found is None:
            raise InputError("there is no viewer yet")
        return found

    # The run ---------------------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.viewer.log_filename.parent

    @property
    def datamanager(self) -> Any:
        """The data of the run."""
        return self.viewer.pipeline.datamanager

    @property
    def cameras(self) -> Cameras:
        """Those of the training views, scene frame."""
        return self.datamanager.train_dataset.cameras

    @property
    def trains(self) -> bool:
        """Whether weights still change."""
        trainer = self.viewer.trainer
        return trainer is not None and trainer.training_state != "completed"

    @contextmanager
    def alone(self, model: Any, reading: bool = False) -> Iterator[None]:
        """Inside, the model is in evaluation mode, and nobody else trains or renders it.

        Args:
            model: the model.
            reading: whether it is only read and left as it is. Then renderings may go on unless a trainer is there.
        """
        lock = None if reading and self.viewer.trainer is None else self.viewer.train_lock
        with lock or nullcontext():
            was_training = model.training
            model.eval()
            try:
                yield
            finally:
                model.train(was_training)

    # The picture -----------------------------------------------------------------------------------------------------

    def render(self) -> None:
        """Render anew."""
        self.viewer._trigger_rerender()

    def show_output(self, name: str, instead_of: tuple[str, ...]) -> bool:
        """Show one of the model's outputs where one of some others is shown now; ask for a rendering afterwards.

        Returns:
            Whether the viewer knows the output, which it does once it has rendered it.
        """
        element = self.viewer.control_panel._output_render
        if name in element.options and element.value in instead_of:
            element.value = name
        return name in element.options

    def set_divisor(self, divisor: int) -> None:
        """Render the training views' resolution divided by this."""
        longest = int(torch.maximum(self.cameras.height, self.cameras.width).max())
        self.viewer.control_panel._max_res.value = min(max(round(longest / divisor), MAX_RES[0]), MAX_RES[1])

    def look_from(self, index: int) -> str:
        """Put the camera where a training view was taken, and return the name of its image."""
        camera = self.cameras[index : index + 1]
        position, wxyz = placed(camera.camera_to_worlds[0])
        for client in self.viewer.viser_server.get_clients().values():
            with client.atomic():
                client.camera.position, client.camera.wxyz, client.camera.fov = position, wxyz, self._fov(camera)
        return Path(self.datamanager.train_dataset.image_filenames[index]).name

    @property
    def fov(self) -> float:
        """Vertical field of view, radians, of the camera that one looks through; of a training view's without one."""
        clients = list(self.viewer.viser_server.get_clients().values())
        return clients[0].camera.fov if clients else self._fov(self.cameras[0:1])

    @staticmethod
    def _fov(camera: Cameras) -> float:
        return min(2 * math.atan(float(camera.height) / 2 / float(camera.fy)), WIDEST)

    def camera(self) -> Cameras:
        """The camera that one looks through, with as many pixels as a training view in height.

        Raises:
            InputError: nobody looks.
        """
        clients = list(self.viewer.viser_server.get_clients().values())
        if not clients:
            raise InputError("no browser looks at the scene, so a rectangle has no place in it")
        height = int(self.cameras[0:1].height)
        found = self._control.get_camera(height, max(1, round(height * clients[0].camera.aspect)))
        assert found is not None
        found.camera_to_worlds = found.camera_to_worlds.float()
        return found

    # Clicks ----------------------------------------------------------------------------------------------------------

    @property
    def listens(self) -> bool:
        """Whether clicks are heard; the camera cannot be turned meanwhile."""
        return self._listening is not None

    def listen(self, kind: Literal["click", "rect-select"], heard: Callable[[Any], None]) -> None:
        """Hear clicks, or rectangles, until `stop_listening`."""
        self.stop_listening()
        self._control.register_pointer_cb(kind, heard, removed_cb=self._forget)  # type: ignore[arg-type]
        self._listening = kind

    def stop_listening(self) -> None:
        """Hear nothing; the camera can be turned again."""
        if self._listening is not None:
            self._control.unregister_pointer_cb()

    def _forget(self) -> None:
        self._listening = None

    # Points ----------------------------------------------------------------------------------------------------------

    def draw_points(self, name: str, points: Tensor, colors: Any, size: float) -> None:
        """Show points in the scene, instead of those of the same name.

        Args:
            name: of a node below /segment in the viewer's scene.
            points: (P, 3), scene frame; none of them takes the node away.
            colors: (r, g, b) of all, or uint8 (P, 3), in 0 to 255.
            size: of a point, scene units.
        """
        old = self._drawn.pop(name, None)
        if old is not None:
            old.remove()
        if len(points):
            self._drawn[name] = self.viewer.viser_server.scene.add_point_cloud(
                f"/segment/{name}",
                placed_points(points),
                colors,
                point_size=float(placed_points(torch.tensor([[size, 0.0, 0.0]]))[0, 0]),
                point_shape="circle",
            )
