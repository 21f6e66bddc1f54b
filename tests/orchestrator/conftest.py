"""What several files of tests look at: making it is the slowest thing they do."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from invented_search import Made, build_search
from invented_sweep import Store, build
from pruned_once import prune_once

os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
logging.getLogger("alembic").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return build_search(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="session")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[float, str]]:
    return prune_once(tmp_path_factory.mktemp("once"))
