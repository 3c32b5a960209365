"""The viewer's panel of a pose run, in nerfstudio's own viewer without a browser, on a scene known by hand."""

import base64
import io
import math
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Lock, Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO, Viewer
from PIL import Image
from torch import nn

from nerfseg_plugins.dataparsers.frame_values import Intrinsics
from nerfseg_plugins.inerf.config import PoseConfig
from nerfseg_plugins.inerf.estimate import Estimator
from nerfseg_plugins.inerf.lens import make_camera
from nerfseg_plugins.inerf.method import display
from nerfseg_plugins.inerf.method.background import NewestJob
from nerfseg_plugins.inerf.method.inversion import Inversion
from nerfseg_plugins.inerf.method.panel import PosePanel
from nerfseg_plugins.inerf.output.pictures import rendering
from nerfseg_plugins.inerf.poses import moved
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.scene.viewing import placed

from ..browser import fire, serving
from .scenes import SphereScene

STEPS, WIDTH, HEIGHT, FOCAL = 12, 24, 18, 20.0
SEVERAL = 2
"""Steps with all hypotheses: a fifth of all, as the scene has no coarse copies."""
TRUTH = torch.eye(4)[:3]


def turned(degrees: float) -> torch.Tensor:
    """(3, 4) the true pose, turned about its upright axis."""
    twist = torch.tensor([[0.0, 0.0, 0.0, 0.0, math.radians(degrees), 0.0]])
    return moved(TRUTH[None], twist, torch.zeros(1, 3))[0]


def query(name: str) -> Query:
    """What a camera in the middle of the painted sphere sees, with a start that is 4 degrees off."""
    lens = Intrinsics(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT, (0.0,) * 6, "OPENCV")
    mask = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    bare = Query(name, Path(f"{name}.png"), torch.zeros(HEIGHT, WIDTH, 3), mask, make_camera(lens))
    image = rendering(SphereScene(), bare, TRUTH)
    return Query(name, bare.path, image, mask, bare.camera, turned(4), TRUTH)


def inversion_of(*names: str) -> Inversion:
    """An inversion that has begun: the first photo with three hypotheses."""
    config = PoseConfig(init="start", rays=64)
    estimator = Estimator(SphereScene(), config, [], TRUTH[None])
    made = Inversion(estimator, [query(name) for name in names], slots=3, steps=STEPS, scene_digest="sphere")
    made.begin()
    made._fill(0, torch.stack([turned(4), turned(-8), turned(30)]))
    return made


def descend(inversion: Inversion, steps: range) -> None:
    """Train, as nerfstudio would."""
    optimizer = torch.optim.Adam([inversion.poses.values], lr=0.01)
    for step in steps:
        optimizer.zero_grad()
        inversion(step).backward()
        optimizer.step()


class Pipeline(nn.Module):
    """As much of a pipeline as the viewer asks for."""

    def __init__(self) -> None:
        super().__init__()
        self._inversion = inversion_of("first", "second")
        self.model = nn.Module()
        self.datamanager = SimpleNamespace(includes_time=False)
        self.add_module("Cameras", PosePanel(self._inversion, STEPS + 15))


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[Viewer]:
    """nerfstudio's viewer, serving on a free port with nobody connected."""
    with serving(Pipeline(), tmp_path) as served:
        yield served


@pytest.fixture
def panel(viewer: Viewer) -> Any:
    return viewer.pipeline.get_submodule("Cameras")


@pytest.fixture
def inversion(viewer: Viewer) -> Any:
    return viewer.pipeline.get_submodule("_inversion")


class Client:
    """A browser that looks on."""

    def __init__(self) -> None:
        self.camera = SimpleNamespace(position=None, wxyz=None, fov=None, look_at=None)

    def atomic(self) -> Any:
        return Lock()


def colors(panel: Any) -> dict[str, tuple[int, int, int]]:
    return {name: drawn[0] for name, drawn in panel._drawn.items()}


# In the viewer -------------------------------------------------------------------------------------------------------


def test_the_viewer_shows_the_elements_in_order_in_a_folder_of_their_own(viewer):
    names = [element.name for _, element in viewer.viewer_elements]
    assert names == [
        "",
        "Photo",
        "",
        "Photo in the picture",
        "Iteration",
        "Look from the estimate",
        "Show or hide the cameras",
    ]
    assert {path.rsplit("/", 1)[0] for path, _ in viewer.viewer_elements} == {"Custom Elements/Cameras"}


def test_frustums_are_drawn_where_the_viewer_has_the_cameras(viewer, panel):
    """The viewer's world is ten times as large, and its cameras look along +z with y down: half a turn about x."""
    assert colors(panel) == {
        "estimate": display.ESTIMATE,
        "hypothesis 1": display.HYPOTHESIS,
        "hypothesis 2": display.HYPOTHESIS,
        "truth": display.TRUTH,
        "photo 1": display.OTHER,
    }
    truth = panel._drawn["truth"][2]
    assert np.allclose(truth.position, 0) and np.allclose(np.abs(truth.wxyz), [0, 1, 0, 0])
    at = placed(torch.tensor([[0.0, 0, 1, 0.1], [1, 0, 0, -0.2], [0, 1, 0, 0.3]]))
    assert np.allclose(at[0], np.array([0.1, -0.2, 0.3]) * VISER_NERFSTUDIO_SCALE_RATIO)


def test_hypotheses_turn_grey_when_they_are_culled(panel, inversion):
    descend(inversion, range(SEVERAL))
    panel.refresh()
    assert colors(panel)["hypothesis 2"] == display.HYPOTHESIS and colors(panel)["start"] == display.START
    descend(inversion, range(SEVERAL, STEPS))
    panel.refresh()
    culled = STEPS - SEVERAL
    assert colors(panel)["hypothesis 2"] == display.hypothesis_color(culled) != display.HYPOTHESIS
    assert display.hypothesis_color(0) == display.HYPOTHESIS
    assert display.hypothesis_color(display.FADING) == display.hypothesis_color(1000) == display.CULLED


def test_the_slider_replays_and_follows_at_its_end(panel, inversion):
    descend(inversion, range(6))
    panel.refresh()
    assert panel.at == 5
    fire(panel.iteration, 1)
    assert panel.at == 1 and panel.about.content.startswith("Step 2, scene: 3 hypotheses")
    first = panel._drawn["estimate"][2].wxyz
    assert np.allclose(first, placed(inversion.history.poses[1][0, 0])[1])
    descend(inversion, range(6, STEPS))
    panel.follow(force=True)
    assert panel.at == 1
    fire(panel.iteration, panel.iteration.max)
    assert panel.at == STEPS - 1 and panel.about.content.startswith(f"Step {STEPS}, scene: 1 hypothesis,")


def test_the_end_says_whether_the_pose_may_be_trusted(panel, inversion):
    descend(inversion, range(STEPS))
    inversion.finished([inversion.finish(photo) for photo in range(2)])
    panel.follow(force=True)
    assert panel.at == len(inversion.estimates[0].trajectory) - 1 >= STEPS
    assert "polished" in panel.about.content and "onverged**, residual" in panel.about.content
    fire(panel.iteration, 0)
    assert panel.about.content.startswith("Step 1, scene")


def test_another_photo_is_shown_with_its_own_hypotheses(panel):
    fire(panel.chosen, "second")
    assert set(colors(panel)) == {"estimate", "truth", "photo 0"}


def test_the_button_looks_from_the_estimate(panel, viewer, monkeypatch):
    client = Client()
    monkeypatch.setattr(viewer.viser_server, "get_clients", lambda: {0: client})
    fire(panel.look)
    position, wxyz = placed(turned(4))
    assert np.allclose(client.camera.position, position) and np.allclose(client.camera.wxyz, wxyz)
    assert client.camera.fov == pytest.approx(2 * math.atan(HEIGHT / 2 / FOCAL))
    assert not panel._all.visible  # they would be in the way
    fire(panel.toggle)
    assert panel._all.visible


def test_whoever_connects_looks_at_the_cameras_from_behind(panel, monkeypatch):
    """The sphere is 1.5 away; the camera looks along -z, 4 degrees aside, from the middle."""
    client = Client()
    panel._on_client(client)
    assert client.camera.position[2] == pytest.approx(0.7 * 15, rel=0.05)
    assert client.camera.look_at[2] == pytest.approx(-0.5 * 15, rel=0.05)


def test_a_browser_connects_while_all_locks_are_held(panel, viewer):
    """viser holds the lock of its clients meanwhile, the panel's is held by whoever waits for that one."""
    client = Client()
    thread = Thread(target=panel._on_client, args=(client,), daemon=True)
    with viewer.viser_server._client_lock, panel._lock, viewer.train_lock:
        thread.start()
        thread.join(20)
        assert not thread.is_alive() and client.camera.position is not None
    assert panel.renderer.wait(20) and panel.image.content


def test_no_callback_waits_for_the_lock_of_training(panel, viewer, monkeypatch):
    client = Client()
    monkeypatch.setattr(viewer.viser_server, "get_clients", lambda: {0: client})
    with viewer.train_lock:  # as a step or a rendering holds it
        fire(panel.iteration, 3)
        fire(panel.chosen, "second")
        fire(panel.look)
        fire(panel.image_blend, 50)
        assert not panel.renderer.wait(0.05) and panel.image.content == ""
    assert panel.renderer.wait(20)
    assert panel.image.content.startswith("![photo over rendering](data:image/jpeg;base64,")


def test_nothing_is_rendered_where_nobody_looks(panel):
    panel.follow(force=True)
    assert panel.renderer.idle and panel.image.content == ""


def test_the_panel_works_without_a_viewer_and_adds_nothing_to_checkpoints():
    panel = PosePanel(inversion_of("alone"), STEPS)
    panel.follow(force=True)
    assert not panel.state_dict() and not list(panel.parameters())


# What is shown -------------------------------------------------------------------------------------------------------


def test_the_picture_blends_photo_and_rendering():
    photo, rendered = torch.ones(HEIGHT, WIDTH, 3), torch.zeros(HEIGHT, WIDTH, 3)
    for share in (0.0, 0.3, 1.0):
        packed = display.picture(photo, rendered, share).split("base64,")[1].rstrip(")")
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(packed))))
        assert np.abs(pixels.astype(float) - 255 * share).max() < 3


def test_history_tells_what_it_was_told():
    made = inversion_of("alone")
    descend(made, range(4))
    again = inversion_of("alone")
    again.load_state_dict(made.state_dict())
    assert again.history.phases == made.history.phases
    for one, other in zip(again.history.poses, made.history.poses, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(again.alive, made.alive) and torch.equal(again.c2w(), made.c2w())


# Work in the background ----------------------------------------------------------------------------------------------


def test_a_job_that_has_not_begun_gives_way_to_a_newer_one():
    done, gate, begun = [], Event(), Event()
    worker = NewestJob()

    def slow() -> None:
        begun.set()
        gate.wait(20)
        done.append("slow")

    worker.submit(slow)
    assert begun.wait(20)
    worker.submit(lambda: done.append("old"))
    worker.submit(lambda: done.append("new"))
    assert not worker.idle
    gate.set()
    assert worker.wait(20) and done == ["slow", "new"]
