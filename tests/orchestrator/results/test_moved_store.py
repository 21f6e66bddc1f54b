"""Results that were moved or copied: their files are found beside the store, and it can be told so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from invented_sweep import build

from orchestrator.results.details import read_json
from orchestrator.results.moved_store import follow_moved_store
from orchestrator.results.results import read
from orchestrator.results.store import connect


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    build(folder, architectures=("resnet20",), pruners=("snip",), compressions=(1, 2), seeds=(0, 1))
    return folder


def uri(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def locations(folder: Path) -> set[str]:
    client = connect(uri(folder))
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id])
    return {experiment.artifact_location, *(run.info.artifact_uri.rsplit("/", 2)[0] for run in runs)}


@pytest.mark.parametrize("copied", [False, True])
def test_files_are_read_beside_the_store(original: Path, tmp_path: Path, copied: bool) -> None:
    first = tmp_path / "first"
    shutil.copytree(original, first)
    assert follow_moved_store(uri(first))
    second = tmp_path / "a second place"
    shutil.copytree(first, second) if copied else first.rename(second)
    client = connect(uri(second))
    sweep = read(client, "small").sweeps[0]
    assert sweep.cells
    if copied:
        plan = next(second.rglob("plan.json"))
        plan.write_text("{}")  # of the copy, which is what is read
        run = client.get_run(sweep.run_id)
        assert read_json(client, run.info.artifact_uri, "plan.json") == {}


def test_the_store_is_told_once_and_for_all_its_runs(original: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(original, moved)
    assert follow_moved_store(uri(moved))
    assert not follow_moved_store(uri(moved))
    assert locations(moved) == {(moved / "artifacts").as_uri()}
    assert locations(original) == {(original / "artifacts").as_uri()}


def test_a_store_whose_files_are_elsewhere_is_left_alone(original: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(original / "mlflow.db", alone)
    (alone / "artifacts").mkdir()  # of another experiment
    assert not follow_moved_store(uri(alone))
    assert locations(alone) == {(original / "artifacts").as_uri()}
    assert read(connect(uri(alone)), "small").sweeps[0].cells


@pytest.mark.parametrize("address", ["http://127.0.0.1:5000", "sqlite:////nowhere/mlflow.db", "postgresql://h/db"])
def test_other_stores_are_not_looked_at(address: str) -> None:
    assert not follow_moved_store(address)
