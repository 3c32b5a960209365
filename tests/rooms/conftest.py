"""One small room, rendered once, for all tests of this folder."""

import pytest

from nerfseg_plugins.rooms.generate import make_scene
from nerfseg_plugins.rooms.render import render_views


@pytest.fixture(scope="session")
def scene():
    """A room of seven objects with 12 + 3 cameras at 80x60."""
    return make_scene(3, num_objects=7, num_train=12, num_val=3, width=80, height=60)


@pytest.fixture(scope="session")
def room(scene):
    return scene[0]


@pytest.fixture(scope="session")
def shots(scene):
    return scene[1]


@pytest.fixture(scope="session")
def views(scene):
    """The training views."""
    room, shots = scene
    return render_views(room, shots.train, shots.width, shots.height)
