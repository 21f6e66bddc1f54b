"""Dry runs and refusals write nothing: all files, the store included, are the same bytes before and after."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.audit.__main__ import main as audit
from orchestrator.report.__main__ import main as report
from orchestrator.sweep import main as sweep

SETTINGS = ("architecture=mlp", "pruner=random", "compression=4", "epochs=0")
TRIAL = ["--local", *(word for setting in SETTINGS for word in ("--set", setting))]
SEARCH = ["--set", "validation=0.1", "--set", "lr={low: 0.1, high: 0.2}"]
FILES = {
    "empty.yaml": "",
    "list.yaml": "- dataset: digits\n",
    "tab.yaml": "dataset:\tdigits\n\tpruner: snip\n",
    "twice.yaml": "dataset: digits\ndataset: mnist\n",
    "file": "no folder",
    "garbage.db": "no database, but long enough to look like one " * 40,
    "nets.py": "raise RuntimeError('cannot be imported')\n",
    "masks.safetensors": "no masks",
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder with the results of one trial, an experiment that was deleted, and a store of another MLflow."""
    folder = tmp_path_factory.mktemp("swept")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert sweep(["digits", *TRIAL]) == 0
        client = MlflowClient(f"sqlite:///{folder / 'results' / 'mlflow.db'}")
        client.delete_experiment(client.create_experiment("gone"))
        client.create_experiment("elsewhere", artifact_location=(folder / "elsewhere").as_uri())
        shutil.copy("results/mlflow.db", "older.db")
        with sqlite3.connect("older.db") as database:
            database.execute("UPDATE alembic_version SET version_num = '0a8213491aaa'")
        database.close()
    return folder


def files(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below `folder`, with the content of each file."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def unchanged(swept, monkeypatch):
    """The folder of results as the current one; afterwards all of it must be as before."""
    monkeypatch.chdir(swept)
    before = files(swept)
    yield swept
    after = files(swept)
    assert sorted(after.items() ^ before.items()) == []


DRY_RUNS = {
    "done": [],
    "another trial": ["--set", "seed=7"],
    "another experiment": ["--experiment", "new"],
    "another folder": ["--output", "new"],
    "another store": ["--tracking-uri", "sqlite:///new.db"],
    "another storage": ["--storage", "new"],
    "a search": [*SEARCH, "--set", "search={trials: 3, confirm_seeds: 1}"],
    "early stopping on Ray": ["--set", "validation=0.1", "--set", "early_stopping=median"],
    "with an audit and a report": ["--audit", "5", "--open"],
}


@pytest.mark.parametrize("words", DRY_RUNS.values(), ids=DRY_RUNS)
def test_dry_runs(words, unchanged, capfd):
    trial = TRIAL if "early_stopping=median" not in words else TRIAL[1:]
    assert sweep(["digits", *trial, "--dry-run", *words]) == 0
    assert capfd.readouterr().err == ""


def of_space(text: str) -> list[str]:
    return ["--set", text]


REFUSALS = {
    # command line
    "audit": ["--audit", "-1"],
    "scoring images": ["--scoring-images", "-1"],
    "checkpoint every": ["--checkpoint-every", "often"],
    "time budget": ["--time-budget", "0"],
    "pack": ["--pack"],
    "cpus": ["--cpus-per-trial", "0"],
    "cpus of no node": ["--cpus-per-trial", "4096"],
    "gpus": ["--gpus-per-trial", "0.3333"],
    "gpus of no node": ["--gpus-per-trial", "64"],
    "gpus in words": ["--gpus-per-trial", "many"],
    "workers": ["--workers-per-trial", "0"],
    "concurrent": ["--max-concurrent", "0"],
    "here and on a cluster": ["--address", "127.0.0.1:9"],
    "blank experiment": ["--experiment", " "],
    "unprintable experiment": ["--experiment", "a\nb"],
    "set without a value": of_space("epochs"),
    # space
    "unknown field": of_space("learning_rate=0.1"),
    "unknown pruner": of_space("pruner=snap"),
    "unknown architecture": of_space("architecture=vgg"),
    "unknown dataset": of_space("dataset=digit"),
    "value out of range": of_space("compression=0.5"),
    "more than there is": of_space("compression=1e6"),
    "batch larger than the data": of_space("batch_size=100000"),
    "empty axis": of_space("seed=[]"),
    "twice": of_space("seed=[1, 1]"),
    "two amounts": of_space("kappa=0.5"),
    "search without a range": of_space("search={trials: 3}"),
    "range without a search": of_space("lr={low: 0.1, high: 0.2}"),
    "search by images that are not held out": [*SEARCH[2:], *of_space("search={trials: 3}")],
    "storage of a search": [*SEARCH, *of_space("search={trials: 3, storage: 'redis://127.0.0.1:9/0'}")],
    "early stopping here": of_space("early_stopping=asha"),
    "own network": of_space("architecture='nets.py:net'"),
    "own network that is not there": of_space("architecture='none.py:net'"),
    "own masks": of_space("mask=masks.safetensors"),
    "masks of a run": of_space("mask='mlflow:0123456789abcdef0123456789abcdef'"),
    "too many": [*of_space(f"seed={list(range(400))}"), *of_space(f"batch_size={list(range(2, 302))}")],
    # data
    "data root": ["--data-root", "nowhere"],
    "data root that is a file": ["--data-root", "file"],
    "data that are not there": of_space("dataset='folder:nowhere'"),
    # store
    "no store": ["--tracking-uri", "file:./mlruns"],
    "no database": ["--tracking-uri", "sqlite:///garbage.db"],
    "other tables": ["--tracking-uri", "sqlite:///older.db"],
    "no server": ["--tracking-uri", "http://127.0.0.1:9"],
    "no database server": ["--tracking-uri", "postgresql://127.0.0.1:9/x"],
    "no driver": ["--tracking-uri", "mssql+pyodbc://127.0.0.1/x"],
    "deleted experiment": ["--experiment", "gone"],
    "files elsewhere": ["--experiment", "elsewhere"],
    # output
    "output that is a file": ["--output", "file"],
    "output below a file": ["--output", "file/results"],
    "output that no address holds": ["--output", "a?b"],
    "storage without a name": ["--storage", "s3://"],
    "storage that is a file": ["--storage", "file"],
}


@pytest.mark.parametrize("words", REFUSALS.values(), ids=REFUSALS)
def test_refusals_of_a_sweep(words, unchanged, capfd):
    assert sweep(["digits", *TRIAL, "--set", "seed=8", *words]) == 2
    out, err = capfd.readouterr()
    assert err.startswith("sweep: ")
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in out + err


@pytest.mark.parametrize("space", ["digts", "none.yaml", *(name for name in FILES if name.endswith("yaml"))])
def test_spaces_that_cannot_be_read(space, unchanged, capfd):
    assert sweep([space, "--local"]) == 2
    assert len(capfd.readouterr().err.strip().splitlines()) == 1


STORE = ["--tracking-uri", "sqlite:///results/mlflow.db"]
OTHERS = {
    "report of no experiment": (report, ["digts", *STORE]),
    "report of a deleted one": (report, ["gone", *STORE]),
    "report of one without results": (report, ["elsewhere", *STORE]),
    "report of no store": (report, ["digits", "--tracking-uri", "sqlite:///none.db"]),
    "report of garbage": (report, ["digits", "--tracking-uri", "sqlite:///garbage.db"]),
    "report of another MLflow": (report, ["digits", "--tracking-uri", "sqlite:///older.db"]),
    "report of no server": (report, ["digits", "--tracking-uri", "http://127.0.0.1:9"]),
    "report of no cell": (report, ["digits", *STORE, "--where", "seed = 99"]),
    "report of no expression": (report, ["digits", *STORE, "--where", "seed ="]),
    "audit of no experiment": (audit, ["digts"]),
    "audit of one without results": (audit, ["elsewhere"]),
    "audit of no trial": (audit, ["digits", "--trials", "0"]),
    "audit on no device": (audit, ["digits", "--device", "tpu"]),
    "audit without data": (audit, ["digits", "--data-root", "nowhere"]),
    "audit of no store": (audit, ["digits", "--output", "nowhere"]),
}


@pytest.mark.parametrize(("command", "words"), OTHERS.values(), ids=OTHERS)
def test_refusals_of_reports_and_audits(command, words, unchanged, capfd):
    assert command(words) == 2
    _, err = capfd.readouterr()
    assert len(err.strip().splitlines()) == 1
