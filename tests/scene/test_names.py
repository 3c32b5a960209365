"""Names of what is saved beside a run."""

import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.names import checked_name


@pytest.mark.parametrize("name", ["chair", "chair-2", "a chair", "v1.5", "stuhl_ü"])
def test_names(name: str):
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "../a", "a\\b", "/etc/passwd", "config", "Config", "config.yml", "a\n"]
)
def test_what_is_no_name_is_refused(name: str):
    with pytest.raises(InputError, match="is no name for what is saved"):
        checked_name(name)
