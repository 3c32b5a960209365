"""Viewer elements that nerfstudio lacks, in its viser without a browser."""

from collections.abc import Iterator
from typing import Any

import pytest
from nerfstudio.viewer.viewer_elements import ViewerButton, ViewerSlider
from viser import GuiEvent, ViserServer

from nerfseg_plugins.scene.elements import ViewerGroup, ViewerMarkdown, plain


@pytest.fixture
def server() -> Iterator[ViserServer]:
    """On a free port, with nobody connected."""
    found = ViserServer(host="127.0.0.1", port=0, verbose=False)
    yield found
    found.stop()


def test_a_group_holds_its_elements_in_order_and_their_callbacks_work(server):
    pressed = []
    button = ViewerButton("Z", cb_hook=pressed.append)
    inner = ViewerGroup("Inner", [ViewerSlider("B", 1, 0, 2, 1)], is_open=False)
    group = ViewerGroup("Outer", [ViewerMarkdown("*text*"), button, inner])
    group.install(server)
    folder, inside = group._folder, inner._folder
    assert folder is not None and inside is not None
    children: list[Any] = list(folder._children.values())
    assert children[1] is button.gui_handle and children[2] is inside and len(children) == 3
    assert [child.order for child in children] == sorted(child.order for child in children)
    assert len(inside._children) == 1
    for callback in button.gui_handle._impl.update_cb:
        callback(GuiEvent(client=None, client_id=None, target=button.gui_handle))
    assert pressed == [button]
    group.remove()
    assert button.gui_handle is None and group._folder is None and inner._folder is None


def test_a_sentence_cannot_run_programs_in_the_viewer():
    assert plain("a {b} <c> `d`") == r"a \{b\} \<c\> \`d\`"
