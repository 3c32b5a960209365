"""The viewer's panel of a pose run: cameras in the scene, a slider over iterations, the photo over its rendering."""

from contextlib import nullcontext
from pathlib import Path
from threading import RLock
from typing import Any, Optional

from torch import Tensor, nn
from viser import ViserServer

from nerfseg_plugins.inerf.method.background import NewestJob
from nerfseg_plugins.inerf.method.display import (
    Color,
    Frustum,
    describe,
    frustums,
    last_iteration,
    overview,
    picture,
    pose_at,
    reach,
    view_of,
)
from nerfseg_plugins.inerf.method.inversion import Inversion
from nerfseg_plugins.inerf.output.pictures import reduced, rendering
from nerfseg_plugins.scene.elements import QuietButton, QuietDropdown, QuietSlider, ViewerAttachment, ViewerMarkdown
from nerfseg_plugins.scene.viewing import placed

_EVERY = 5
"""Steps from one update of the frustums to the next."""
_PICTURE_EVERY = 25
"""Steps from one rendering to the next, while the newest pose is shown."""
_PICTURE_SIDE = 120
"""Longer side of the rendering, pixels: it takes the time of a few steps."""
_FRUSTUM = 0.12
"""Height of a frustum, as a share of the distance to what its camera sees."""


class _Picture(ViewerMarkdown):
    """Markdown with a picture in itself."""

    def install(self, viser_server: ViserServer) -> None:
        # viser warns of pictures without a folder to look in, even where there is none to look for.
        self._handle = viser_server.gui.add_markdown(self._content, image_root=Path())


class PosePanel(nn.Module):
    """Shows an inversion.

    nerfstudio finds the elements as public attributes and orders them by attribute name, which the names here are
    chosen for. No callback waits for a rendering; renderings are made in a thread of their own, under the lock of
    training.

    Args:
        inversion: what is shown.
        iterations: as many as there will be at most.
    """

    def __init__(self, inversion: Inversion, iterations: int) -> None:
        super().__init__()
        self._shown = [inversion]  # in a list: a module in a module would be part of it
        self._labels = [query.name for query in inversion.queries]
        self._photo = 0
        self._calls = 0
        self._all: Any = None
        self._drawn: dict[str, tuple[Color, float, Any]] = {}
        self._rendered: Optional[tuple[int, Tensor]] = None
        self._small = [reduced(query, _PICTURE_SIDE) for query in inversion.queries]
        self._lock = RLock()  # whoever holds it never waits for the one of training
        self.renderer = NewestJob()
        self.about = ViewerMarkdown("Looking for poses to start from ...")
        self.chosen = QuietDropdown(
            "Photo", self._labels[0], self._labels, quiet_hook=self._on_photo, hint="Whose hypotheses are shown"
        )
        self.image = _Picture("")
        self.image_blend = QuietSlider(
            "Photo in the picture",
            30,
            0,
            100,
            1,
            quiet_hook=lambda _: self._show_picture(),
            hint="Percent of the photo; the rest is the rendering from the estimate",
        )
        self.iteration = QuietSlider(
            "Iteration",
            iterations,
            0,
            iterations,
            1,
            quiet_hook=lambda _: self._on_iteration(),
            hint="At its end it follows the newest iteration",
        )
        self.look = QuietButton("Look from the estimate", lambda _: self._on_look())
        self.toggle = QuietButton("Show or hide the cameras", lambda _: self._show_cameras(not self._all.visible))
        self.viewer_control = ViewerAttachment(self._on_viewer)

    @property
    def _inversion(self) -> Inversion:
        return self._shown[0]

    @property
    def _viewer(self) -> Any:
        """nerfstudio's viewer, once there is one."""
        return getattr(self.viewer_control, "viewer", None)

    @property
    def _following(self) -> bool:
        return self.iteration.value >= self.iteration.max

    @property
    def at(self) -> int:
        """The iteration that is shown."""
        newest = last_iteration(self._inversion, self._photo)
        return newest if self._following else min(self.iteration.value, newest)

    # Following -------------------------------------------------------------------------------------------------------

    def follow(self, force: bool = False) -> None:
        """Tell the panel that there is a new iteration, or with `force` that all is new."""
        with self._lock:
            self._calls += 1
            if force or self._calls % _EVERY == 0:
                self.refresh()
            due = (force or self._calls % _PICTURE_EVERY == 0) and self._following
            if due and self._viewer is not None and self._viewer.viser_server.get_clients():
                self._order_picture()  # somebody looks

    def refresh(self) -> None:
        """Draw the frustums and write the text."""
        with self._lock:
            if self._viewer is None or not self._inversion.begun:
                return
            self.about.content = describe(self._inversion, self._photo, self.at)
            shown = frustums(self._inversion, self._photo, self.at)
            with self._viewer.viser_server.atomic():
                for name in self._drawn.keys() - {frustum.name for frustum in shown}:
                    self._drawn.pop(name)[2].remove()
                for frustum in shown:
                    self._draw(frustum)

    def _draw(self, frustum: Frustum) -> None:
        """Move a frustum, or make it anew where it looks different."""
        position, wxyz = placed(frustum.c2w)
        old = self._drawn.get(frustum.name)
        if old is not None and old[:2] == (frustum.color, frustum.scale):
            old[2].position, old[2].wxyz = position, wxyz
            return
        place = int(frustum.name.split()[1]) if frustum.name.startswith("photo ") else self._photo
        fov, aspect = view_of(self._inversion.queries[place])
        handle = self._viewer.viser_server.scene.add_camera_frustum(
            f"/poses/{frustum.name.replace(' ', '_')}",
            fov=fov,
            aspect=aspect,
            scale=_FRUSTUM * reach(self._inversion) * frustum.scale,
            color=frustum.color,
            position=position,
            wxyz=wxyz,
        )
        self._drawn[frustum.name] = (frustum.color, frustum.scale, handle)

    # The picture -----------------------------------------------------------------------------------------------------

    def _order_picture(self) -> None:
        """Have the scene rendered from the pose that is shown."""
        if self._inversion.begun:
            photo, at = self._photo, self.at
            self.renderer.submit(lambda: self._render(photo, pose_at(self._inversion, photo, at)))

    def _render(self, photo: int, c2w: Tensor) -> None:
        lock = self._viewer.train_lock
        with lock or nullcontext():
            found = rendering(self._inversion.estimator.scene, self._small[photo], c2w)
        with self._lock:
            self._rendered = (photo, found)
            self._show_picture()

    def _show_picture(self) -> None:
        with self._lock:
            if self._rendered is not None:
                photo, found = self._rendered
                self.image.content = picture(self._small[photo].image, found, self.image_blend.value / 100)

    # Callbacks -------------------------------------------------------------------------------------------------------

    def _show_cameras(self, visible: bool) -> None:
        self._all.visible = visible

    def _on_viewer(self) -> None:
        self._all = self._viewer.viser_server.scene.add_frame("/poses", show_axes=False)  # the parent of all frustums
        self._viewer.viser_server.on_client_connect(self._on_client)
        self.refresh()  # of a finished run there is nothing else to wait for

    def _on_client(self, client: Any) -> None:
        # Called under viser's lock of its clients, which others of this panel wait for under this panel's: neither may
        # be taken here.
        if self._inversion.begun:
            # nerfstudio begins near the scene's middle, which may be inside of something.
            client.camera.position, client.camera.look_at = overview(self._inversion, self._photo)
            self._order_picture()

    def _on_photo(self, element: QuietDropdown) -> None:
        with self._lock:
            self._photo = self._labels.index(element.value)
            for _, _, handle in self._drawn.values():  # lenses differ
                handle.remove()
            self._drawn.clear()
            self.refresh()
            self._order_picture()

    def _on_iteration(self) -> None:
        with self._lock:
            self.refresh()
            self._order_picture()

    def _on_look(self) -> None:
        with self._lock:
            inversion = self._inversion
            if self._viewer is None or not inversion.begun:
                return
            self._show_cameras(False)  # from its tip, the lines of a frustum hide all else
            position, wxyz = placed(pose_at(inversion, self._photo, self.at))
            fov, _ = view_of(inversion.queries[self._photo])
            for client in self._viewer.viser_server.get_clients().values():
                with client.atomic():
                    client.camera.position, client.camera.wxyz, client.camera.fov = position, wxyz, fov
