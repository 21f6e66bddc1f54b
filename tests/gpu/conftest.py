"""A machine with pretended GPUs for tests of CUDA code, see pretended/README.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from pretended_machine import PretendedMachine, UnavailableError, build


@pytest.fixture(scope="session")
def pretended_libraries(request: pytest.FixtureRequest) -> Path:
    """The pretended CUDA libraries, compiled once and kept in pytest's cache. Skips where they cannot be."""
    cache = request.config.cache.mkdir("pretended-gpu")
    try:
        return build(cache)
    except UnavailableError as error:
        pytest.skip(f"no pretended GPU here: {error}")


@pytest.fixture
def pretended_gpu(pretended_libraries: Path, tmp_path: Path) -> PretendedMachine:
    """Runs commands, Python code or tests on a machine with pretended GPUs."""
    folder = tmp_path / "pretended-gpu"
    folder.mkdir()
    return PretendedMachine(pretended_libraries, folder)
