"""One store for all tests of the reading side: making it is the slowest thing they do."""

from __future__ import annotations

import logging
import os

import pytest
from invented_sweep import Store, build

os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
logging.getLogger("alembic").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build(tmp_path_factory.mktemp("mlflow"))
