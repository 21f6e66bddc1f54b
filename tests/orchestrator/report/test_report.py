"""The report as its reader gets it: the page, the files, the command and its refusals."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from invented_sweep import Store, build
from mlflow import MlflowClient

from orchestrator.command_line import SCREENS
from orchestrator.report.__main__ import main
from orchestrator.report.figures import draw
from orchestrator.report.figures.style import Drawing
from orchestrator.report.page import _said_once
from orchestrator.report.ranking_text import sentences
from orchestrator.report.write import write_report
from orchestrator.results.lines import Facet
from orchestrator.results.results import read
from orchestrator.results.row import Row


@pytest.fixture(scope="module")
def page(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(store.uri, "small", tmp_path_factory.mktemp("report")).page


EACH = ("density", "layer-macs", "training", "scores", "histograms")  # figures of each panel


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the figures are not the point: drawing them all is most of a report's time."""
    monkeypatch.setattr("orchestrator.report.write.draw", lambda results: islice(draw(results), 1))


def test_the_folder_is_complete(page: Path) -> None:
    files = {str(path.relative_to(page.parent)) for path in page.parent.rglob("[!.]*.*")}
    names = [
        "accuracy",
        "collapse",
        "tradeoff",
        "tradeoff-speedup",
        "tradeoff-training",
        "macs",
        "params",
        "speedup",
        "costs",
    ]
    names += [f"{kind}-{a}-cifar10" for kind in EACH for a in ("vgg16-bn", "resnet20")]
    drawn = {Path(file).stem for file in files if file.startswith("figures/")}
    assert drawn >= set(names)
    figures = {f"figures/{name}.{kind}" for name in drawn for kind in ("png", "svg", "pdf")}
    shown = ("accuracy", "speedup", "latency", "macs", "params", "training-cost", "published")
    tables = {f"tables/{name}.{kind}" for name in shown for kind in ("csv", "md", "tex")}
    assert files == {"report.html", *figures, *tables, "tables/trials.csv", "tables/pairs.csv"}


def test_the_page_needs_nothing_else(page: Path) -> None:
    html = page.read_text()
    assert not re.findall(r'src="(?!data:)', html)
    assert not re.findall(r"@import|url\(|<script[^>]*src|<link|<iframe|fetch\(|XMLHttp", html)
    # Links may lead elsewhere, to files of the report and to MLflow; nothing is read from there by itself.
    assert all(re.match(r"#|figures/[^/]+\.(svg|pdf|png)$|http://127\.0\.0\.1:5000/#", to)
               for to in re.findall(r'href="([^"]*)"', html))  # fmt: skip


def test_the_page_tells_all(page: Path, store: Store) -> None:
    html = page.read_text()
    assert "Which pruner keeps the most accuracy, at which compression?" in html
    assert "36 cells" in html and "28 trials" in html
    assert "RuntimeError: the loss is not finite in epoch 2" in html
    assert "resnet20 cifar10 synflow 10x" in html
    assert "2 seeds: a pruner leads where a test over seeds and one over test images both show it" in html
    assert "Read this first: while the recipes differ" in html
    assert "epochs: 160 there, 3 here" in html
    assert "0123abc" in html  # the commit
    assert '<th scope="row">epochs</th><td>3</td>' in html
    assert f"python -m orchestrator.report small --tracking-uri {store.uri}" in html
    assert "python -m orchestrator.sweep small --tracking-uri http://host" in html


def test_the_answer_names_leader_collapse_and_holes(store: Store) -> None:
    results = read(store.uri, "small")
    said = " ".join(sentences(results, Facet("cifar10", "resnet20")))
    assert "At 10x (without synflow), no difference is shown" in said  # of two seeds one is at chance
    assert "from input to output: random at 10x (1 of 2 runs)" in said
    assert "left out here and listed under Missing results: 2" in said


def test_collapse_to_the_end_is_said_once(store: Store) -> None:
    results = read(store.uri, "small")
    gone = {"random": (2, 10), "snip": (10,)}
    rows = tuple(
        replace(row, tags={"collapsed": "true"}) if row.cell.compression in gone.get(row.cell.pruner, ()) else row
        for row in results.rows
    )
    said = " ".join(sentences(replace(results, rows=rows), Facet("cifar10", "vgg16-bn")))
    assert "from input to output: random from 2x; snip at 10x." in said


def test_nothing_is_said_of_nothing(store: Store) -> None:
    results = read(store.uri, "small")
    bare = replace(results, rows=tuple(Row(row.cell) for row in results.rows))
    assert sentences(bare, Facet("cifar10", "resnet20"))[0] == "Nothing to compare yet."


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


@pytest.mark.usefixtures("one_figure")
def test_what_mlflow_refuses_costs_only_itself(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.exceptions import MlflowException

    def refuse(*_: object) -> None:
        raise MlflowException("the disk is full\nand a traceback")

    monkeypatch.setattr(MlflowClient, "log_artifact", refuse)
    assert write_report(store.uri, "small", tmp_path).page.is_file()
    assert caplog.messages == ["the report's files were not logged: MLflow: the disk is full"]


@pytest.mark.usefixtures("one_figure")
def test_the_command(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert main(["small", "--tracking-uri", store.uri, "--output", str(output), "--no-log"]) == 0
    page, *answer = capsys.readouterr().out.splitlines()
    assert page == str(output / "report.html")
    assert any(" · cifar10  test accuracy in %" in line for line in answer)
    assert any(line.startswith("synflow ") and "±" in line for line in answer)


def test_a_report_takes_away_what_the_last_one_there_left_and_nothing_else(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = iter([2, 1])
    monkeypatch.setattr("orchestrator.report.write.draw", lambda results: islice(draw(results), next(many)))
    write_report(store.uri, "small", tmp_path, log=False)
    assert (tmp_path / "figures" / "collapse.pdf").exists()
    (tmp_path / "figures" / "mine.png").touch()
    page = write_report(store.uri, "small", tmp_path, log=False).page
    left = {path.name for path in (tmp_path / "figures").iterdir()}
    assert left == {"accuracy.svg", "accuracy.png", "accuracy.pdf", "mine.png"}
    assert f"--output {tmp_path}" in page.read_text("utf-8")


@pytest.mark.usefixtures("one_figure")
def test_several_experiments_and_a_selection(store: Store, tmp_path: Path) -> None:
    build(store.folder, "second", ["mlp"], ["magnitude", "grasp"], [1, 5], [0, 1], layers=2)
    output = tmp_path / "both"
    chosen = "pruner in (snip, magnitude) and compression <= 5"
    before = MlflowClient(store.uri).search_experiments()
    code = main(["small", "second", "--where", chosen, "--tracking-uri", store.uri, "--output", str(output)])
    assert code == 0
    with (output / "tables" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["architecture"], row["pruner"]) for row in rows} == {
        ("vgg16-bn", "snip"), ("resnet20", "snip"), ("mlp", "magnitude"),
    }  # fmt: skip
    assert {float(row["compression"]) for row in rows} == {1, 2, 5}
    html = (output / "report.html").read_text()
    assert "<h1>small + second</h1>" in html
    assert "Only where <code>pruner in (snip, magnitude) and compression &lt;= 5</code>" in html
    assert "orchestrator.report small second --tracking-uri" in html
    after = MlflowClient(store.uri).search_experiments()  # a part of an experiment is not logged as if it were all
    assert [e.tags for e in after] == [e.tags for e in before]


@pytest.mark.usefixtures("one_figure")
def test_the_page_can_be_opened(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    arguments = ["small", "--where", "compression = 2", "--tracking-uri", store.uri, "--output", str(tmp_path)]
    assert main([*arguments, "--open"]) == 0
    assert opened == [(tmp_path / "report.html").resolve().as_uri()]
    assert not capsys.readouterr().err
    for name in SCREENS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert main([*arguments, "--open"]) == 0  # the page is there all the same
    assert capsys.readouterr().err.startswith("--open: this machine has no screen")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("pruner in snip", "expected '(', found 'snip'"),
        ("prunr = snip", "no cell has a field 'prunr'; did you mean 'pruner'?"),
        ("compression <= many", "'compression <= many' compares with a value that is not a number"),
        ("compression = 3", "no cell of 'small' matches compression = 3"),
    ],
)
def test_a_selection_that_cannot_be_is_one_line(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], expression: str, said: str
) -> None:
    assert main(["small", "--where", expression, "--tracking-uri", store.uri, "--output", str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and said in told.err
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.usefixtures("one_figure")
def test_a_folder_that_cannot_be_written(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["small", "--tracking-uri", store.uri, "--output", str(tmp_path / "taken")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.usefixtures("one_figure")
def test_a_report_that_changes_nothing_draws_each_figure_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> tuple[list[str], dict[str, bytes]]:
        drawn.clear()
        write_report(store.uri, "small", tmp_path, log=False)
        return list(drawn), {file.suffix: file.read_bytes() for file in (tmp_path / "figures").iterdir()}

    drawn: list[str] = []
    save = Drawing.save
    monkeypatch.setattr(Drawing, "save", lambda self, kind: (drawn.append(kind), save(self, kind))[1])
    kinds, figures = write()
    assert kinds == ["svg", "png", "pdf"]
    assert write() == (["svg"], figures)
    (picture,) = tmp_path.glob("figures/*.png")
    picture.write_bytes(picture.read_bytes()[:100])  # as a kill leaves it
    assert write() == (["svg", "png"], figures)
    (tmp_path / ".written").unlink()
    assert write() == (["svg", "png", "pdf"], figures)


def test_on_the_page_what_is_equal_in_all_rows_is_said_once() -> None:
    table = [["cell", "lr", "n", "of"], ["a", "0.1", "3", ""], ["a", "0.2", "3", ""]]
    assert _said_once(table) == ([["lr"], ["0.1"], ["0.2"]], "In all rows: cell = a, n = 3.")
    assert _said_once(table[:2]) == (table[:2], "")
    assert _said_once([]) == ([], "")
