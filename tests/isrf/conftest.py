"""A run of ISRF on the tiny room, from features that need no weights, and its panel in a viewer."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.viewer.viewer import Viewer  # noqa: E402

from ..browser import SECONDS, fire, inputs, serving  # noqa: E402
from .panels import Client, Pipeline, listens  # noqa: E402

FEATURE_DIM = 16
_OTHERS = ("regularization-weight", "head-sampler.patch-size")
"""Options of `instance-nerf` that this method lacks."""


class IsrfFlags(Protocol):
    """Flags for `geometry` of `total` steps on `data`, with model options."""

    def __call__(self, data: Path, geometry: int, total: int, **options: Any) -> list[str]: ...


@pytest.fixture(scope="session")
def isrf_flags(quick_flags) -> IsrfFlags:
    """Flags of a run of a few steps on as few parameters as possible."""

    def flags(data: Path, geometry: int, total: int, **options: Any) -> list[str]:
        found = quick_flags(data, geometry, total, feature_dim=FEATURE_DIM, **options)
        return [flag for flag in found if not any(name in flag for name in _OTHERS)]

    return flags


@pytest.fixture(scope="session")
def featured_room(tmp_path_factory: pytest.TempPathFactory, tiny_room: Path) -> Path:
    """The tiny room without masks to learn from, with classical features of its images."""
    from nerfseg_plugins.cli.features import Features

    folder = tmp_path_factory.mktemp("featured") / "room"
    shutil.copytree(tiny_room, folder)
    Features(folder, channels=FEATURE_DIM).main()
    return folder


@pytest.fixture(scope="session")
def isrf_run(tmp_path_factory: pytest.TempPathFactory, ns_train, featured_room: Path, tiny_flags: list[str]) -> Path:
    """config.yml of one run of both stages that many tests read and none changes."""
    flags = [flag for flag in tiny_flags if not any(name in flag for name in (*_OTHERS, "--data="))]
    flags += [f"--data={featured_room}", f"--pipeline.model.feature-dim={FEATURE_DIM}"]
    return ns_train("isrf-tiny", tmp_path_factory.mktemp("runs"), *flags)


# The panel -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """nerfstudio's viewer, serving on a free port with nobody connected."""
    with serving(Pipeline(), tmp_path_factory.mktemp("run")) as viewer:
        yield viewer


@pytest.fixture
def panel(served: Viewer) -> Iterator[Any]:
    """The panel with nothing done, and the controls as they are at first, but that all voxels alike are selected."""
    found: Any = served.pipeline.get_submodule("Segment")
    before = {name: element.value for name, element in inputs(found).items()}
    found._controls.method.gui_handle._impl.value = "bilateral"
    found._controls.connected.gui_handle._impl.value = False

    def begin() -> None:
        served.pipeline.model.edits = []  # type: ignore[assignment]
        found._bench.begin()
        found._shown_after(lambda: "")

    found.jobs.submit(begin)  # in the panel's own thread: viser may still call back what an earlier test has set
    assert found.jobs.wait(SECONDS)
    yield found
    assert found.jobs.wait(SECONDS)
    if listens(served):
        fire(found._controls.pen.drop)
    for name, element in inputs(found).items():
        element.gui_handle._impl.value = before[name]


@pytest.fixture
def model(served: Viewer) -> Any:
    return served.pipeline.model


@pytest.fixture
def own(panel: Any) -> Any:
    """The controls."""
    return panel._controls


@pytest.fixture
def client(served: Viewer, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The only browser."""
    found = Client()
    monkeypatch.setattr(served.viser_server, "get_clients", lambda: {0: found})
    return found
