"""A run of an image-based method on a category of tiny objects, which many tests read and none changes."""

from pathlib import Path

import pytest

from .category_runs import write_category, write_run


@pytest.fixture(scope="session")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs and rings in the SRN layout."""
    return write_category(tmp_path_factory.mktemp("category") / "data")


@pytest.fixture(scope="session")
def category_run(category: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a run on them."""
    return write_run(tmp_path_factory.mktemp("runs") / "run", category)
