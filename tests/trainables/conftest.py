"""Where trials run in tests: a storage of their own, and one copy of the decoded data for a file of tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trainables.context import Place
from trainables.datasets import DATASETS, DatasetSpec


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def place(tmp_path: Path, cache: Path) -> Place:
    return Place(storage=tmp_path, cache=cache)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[DatasetSpec], None]:
    """Puts a dataset among those there are, or in another's place."""
    return lambda spec: monkeypatch.setitem(DATASETS, spec.name, spec)
