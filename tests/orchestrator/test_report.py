"""The report as its reader gets it: the page, the files, the command and its refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from invented_sweep import Store
from mlflow import MlflowClient

from orchestrator.answer import _beats, sentences
from orchestrator.lines import Facet, Point
from orchestrator.report import main, write_report
from orchestrator.results import Row, read
from search_spaces import Cell


@pytest.fixture(scope="module")
def page(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(store.uri, "small", tmp_path_factory.mktemp("report"))


def test_the_folder_is_complete(page: Path) -> None:
    files = {str(path.relative_to(page.parent)) for path in page.parent.rglob("*.*")}
    names = ["accuracy", "tradeoff", "macs"]
    names += [f"{kind}-{a}-cifar10" for kind in ("density", "histograms") for a in ("vgg16-bn", "resnet20")]
    figures = {f"figures/{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert files == {"report.html", *figures, "tables/accuracy.csv", "tables/macs.csv", "tables/trials.csv"}


def test_the_page_needs_nothing_else(page: Path) -> None:
    html = page.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    assert not re.findall(r"@import|url\(|<script|<link|<iframe", html)


def test_the_page_tells_all(page: Path, store: Store) -> None:
    html = page.read_text()
    assert "Which pruner keeps the most accuracy, at which compression?" in html
    assert "36 cells" in html and "28 trials" in html
    assert "RuntimeError: the loss is not finite in epoch 2" in html
    assert "resnet20 cifar10 synflow 10x" in html
    assert "2 seeds: too few to know the spread" in html
    assert "0123abc" in html  # the commit
    assert '<th scope="row">epochs</th><td>3</td>' in html
    assert f"python -m orchestrator.report small --tracking-uri {store.uri}" in html
    assert "python -m orchestrator.sweep small --tracking-uri http://host" in html


def test_the_answer_names_leader_collapse_and_holes(store: Store) -> None:
    results = read(store.uri, "small")
    said = " ".join(sentences(results, Facet("cifar10", "resnet20")))
    assert "At 10x (no result for synflow), snip leads by" in said
    assert "left without a path of weights: random at 10x (1 of 2)" in said
    assert "left out here and listed under Holes: 2" in said


def test_nothing_is_said_of_nothing(store: Store) -> None:
    results = read(store.uri, "small")
    bare = replace(results, rows=tuple(Row(row.cell) for row in results.rows))
    assert sentences(bare, Facet("cifar10", "resnet20"))[0] == "Nothing to compare yet."


def test_three_seeds_decide_by_their_ranges() -> None:
    cell = Cell(dataset="d", architecture="a", pruner="p", compression=2, seed=0, fingerprint="")
    rows = (Row(cell, "finished"),) * 3
    high, touching, low = (Point(2, v, rows) for v in ((0.93, 0.94, 0.95), (0.91, 0.92, 0.93), (0.90, 0.91, 0.92)))
    assert not _beats(high, touching)  # means differ by two points, and yet one seed equals another
    assert _beats(high, low)


def test_all_is_logged_to_the_newest_sweep(page: Path, store: Store) -> None:
    results = read(store.uri, "small")
    client = MlflowClient(store.uri)
    assert {item.path for item in client.list_artifacts(results.sweeps[0].run_id)} == {
        "plan.json",
        "report.html",
        "figures",
        "tables",
    }
    assert len(client.search_runs([results.experiment_id], "tags.kind = 'curve'")) == 6
    assert any(key.startswith("mlflow.sharedViewState.") for key in client.get_experiment(results.experiment_id).tags)


def test_what_mlflow_refuses_costs_only_itself(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.exceptions import MlflowException

    def refuse(*_: object) -> None:
        raise MlflowException("the disk is full\nand a traceback")

    monkeypatch.setattr(MlflowClient, "log_artifact", refuse)
    assert write_report(store.uri, "small", tmp_path).is_file()
    assert caplog.messages == ["the report's files were not logged: MLflow: the disk is full"]


def test_the_command(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert main(["small", "--tracking-uri", store.uri, "--output", str(output), "--no-log"]) == 0
    assert capsys.readouterr().out.strip() == str(output / "report.html")


@pytest.mark.parametrize("experiment", ["smal", "Default"])
def test_bad_input_is_one_line_and_writes_nothing(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], experiment: str
) -> None:
    output = tmp_path / "out"
    assert main([experiment, "--tracking-uri", store.uri, "--output", str(output)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_no_database_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = f"sqlite:///{tmp_path / 'none.db'}"
    assert main(["small", "--tracking-uri", uri, "--output", str(tmp_path / "out")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["small", "--tracking-uri", store.uri, "--output", str(tmp_path / "taken")]) == 2
    assert "cannot be written" in capsys.readouterr().err
