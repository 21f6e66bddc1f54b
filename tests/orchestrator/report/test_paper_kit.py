"""The paper kit: LaTeX that compiles, every reference, and a script that computes the same numbers again."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from invented_sweep import Store, build

from orchestrator.report.__main__ import main
from orchestrator.report.paper.accuracy_table import accuracy_table
from orchestrator.report.paper.kit import paper_files
from orchestrator.report.paper.references import cited, dataset_keys, entries, measure_keys, network_keys, pruner_keys
from orchestrator.results.results import read
from orchestrator.sweep import main as sweep
from pruners import PRUNERS
from search_spaces import Trial
from trainables.architectures import ARCHITECTURES
from trainables.datasets import DATASETS
from trainables.measures import MEASURES

ROOT = Path(__file__).parents[3]
PLAIN = ("mlp", "conv")  # networks that nobody is cited for


@pytest.fixture(scope="module")
def kit(store: Store) -> dict[str, str]:
    files = paper_files(read(store.uri, "small"))
    assert files["accuracy.pdf"].startswith(b"%PDF")
    return {name: content.decode() for name, content in files.items() if not name.endswith(".pdf")}


def test_the_table_has_every_point_once_and_as_many_columns_in_each_row(kit: dict[str, str], store: Store) -> None:
    rows = [line for line in kit["table.tex"].splitlines() if line.endswith(r" \\")]
    spans = r"\\multicolumn\{(\d+)\}\{c\}"
    widths = {line.count("&") + sum(int(width) - 1 for width in re.findall(spans, line)) for line in rows}
    assert widths == {2}
    assert [line.partition("&")[0].partition("~")[0].strip() for line in rows] == [
        *("", "compression", "weights pruned"),
        *(r"\textbf{vgg16-bn}", "random", "snip", "synflow"),
        *(r"\textbf{resnet20}", "random", "snip", "synflow"),
    ]
    assert rows[1].endswith(r"2$\times$ & 10$\times$ \\")
    assert rows[2].endswith(r"50\,\% & 90\,\% \\")
    top1 = [
        store.logged[row.cell.fingerprint]["final/top1"]
        for row in read(store.uri, "small").rows
        if (row.cell.architecture, row.cell.pruner, row.cell.compression) == ("resnet20", "snip", 10)
    ]
    assert f"& {50 * sum(top1):.1f} $" in rows[9]
    assert r"\rlap{$^{*}$}" in rows[4]  # random collapses at 10x


def test_wide_sweeps_continue_below(tmp_path: Path) -> None:
    many = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50)
    store = build(tmp_path, architectures=("resnet20",), pruners=("snip",), compressions=many, seeds=(0,))
    text = accuracy_table(read(store.uri, "small"))
    assert re.findall(r"\{tabular\}\{l(r+)\}", text) == ["rrrr", "rrrr", "rrrrr"]
    assert [float(head) for line in text.splitlines() if line.startswith("compression")
            for head in re.findall(r"([\d.]+)\$", line)] == list(many[1:])  # fmt: skip


def test_all_that_is_cited_is_in_the_bibliography_and_the_other_way_round(kit: dict[str, str]) -> None:
    used = {key for name in ("table.tex", "recipe.tex") for some in re.findall(r"\\cite\{([^}]*)\}", kit[name])
            for key in some.split(",")}  # fmt: skip
    assert used == set(re.findall(r"^@\w+\{(\w+),", kit["references.bib"], re.MULTILINE))
    assert {"tanaka2020pruning", "he2016deep", "ioffe2015batch", "krizhevsky2009learning", "pruningsweeps"} <= used


def test_the_recipe_says_seeds_budgets_and_what_is_missing(kit: dict[str, str]) -> None:
    said = kit["recipe.tex"]
    assert "epochs 3, batch size 128, optimizer sgd, lr 0.1" in said
    assert "Each number is the mean over the seeds 0 and 1." in said
    assert "Of 36 cells 34 have a result; the others: 1 failed, 1 not run." in said
    assert "at commit 0123abc" in said


def test_every_name_that_has_a_paper_has_its_reference() -> None:
    papers = {name: pruner.paper for name, pruner in PRUNERS.items()}
    found = {name: pruner_keys(name) for name in papers}
    assert {name: len(keys) for name, keys in found.items()} == {
        name: len(paper.split("; ")) if paper else 0 for name, paper in papers.items()
    }
    for name, keys in found.items():
        for key, paper in zip(keys, papers[name].split("; "), strict=False):
            author, year = paper.partition(",")[0].rsplit(" ", 1)
            entry = entries()[key]
            assert re.search(r"year *= \{(\d+)\}", entry)[1] == year, name
            first = re.search(r"author *= \{([^,]*),", entry)[1]
            assert author.startswith(first), name
    assert [name for name in MEASURES if not measure_keys(name)] == []
    assert [name for name in ARCHITECTURES if not network_keys(name) and name not in PLAIN] == []
    assert [name for name in DATASETS if not dataset_keys(name) and not name.startswith("synthetic")] == []
    keys = {key for name in ARCHITECTURES for key in network_keys(name)} | {
        k for d in DATASETS for k in dataset_keys(d)
    }
    assert keys <= entries().keys()
    assert network_keys("torchvision/vgg11_bn") == ("simonyan2015very", "ioffe2015batch")


def test_what_has_no_reference_is_named() -> None:
    own = Trial(dataset="folder:/my/cats", architecture="mlp", pruner="mine.py:score", code="x", compression=2)
    assert cited([own]) == (["pruningsweeps"], ["folder:/my/cats", "mlp", "mine.py:score"])


def test_the_reference_of_this_program_has_its_version() -> None:
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert f"Version {said['version']}" in entries()["pruningsweeps"]
    assert said["title"] in entries()["pruningsweeps"]


def test_passwords_stay_out(kit: dict[str, str]) -> None:
    assert [name for name, text in kit.items() if "secret" in text] == []
    assert "sweep small --experiment small --output rerun" in kit["rerun.sh"]  # a sweep that kept no space
    assert "does not have the space small" in kit["rerun.sh"]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
@pytest.mark.slow
def test_it_compiles(store: Store, tmp_path: Path) -> None:
    for name, content in paper_files(read(store.uri, "small")).items():
        (tmp_path / name).write_bytes(content)
    for words in (["pdflatex"], ["bibtex"], ["pdflatex"], ["pdflatex"]):
        options = ["-interaction=nonstopmode", "-halt-on-error"] if words == ["pdflatex"] else []
        done = subprocess.run([*words, *options, "paper"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
    assert "undefined" not in done.stdout
    assert "Overfull" not in done.stdout


OWN = '''
"""A score of one's own."""
def by_size(model, batches, *, mode, generator):
    from pruners import prunable
    return {name: weight.detach().abs() for name, weight in prunable(model).items()}
'''


@pytest.mark.slow
def test_the_script_computes_the_same_numbers_again_without_the_first_ones_files(tmp_path: Path) -> None:
    first, away = tmp_path / "first", tmp_path / "away"
    first.mkdir()
    (first / "mine.py").write_text(OWN)
    space = {"dataset": "digits", "architecture": "mlp", "pruner": ["snip", f"{first}/mine.py:by_size"],
             "compression": [1, 10], "epochs": 1, "batch_size": 64, "optimizer": "adam", "lr": 0.002}  # fmt: skip
    (first / "ours.yaml").write_text(yaml.safe_dump(space))
    asked = [f"{first}/ours.yaml", "--set", "compression=10", "--local", "--audit", "0", "--output", f"{first}/results"]
    assert sweep(asked) == 0
    store = f"sqlite:///{first}/results/mlflow.db"
    assert main(["ours", "--paper", "--tracking-uri", store, "--output", str(away)]) == 0
    shutil.rmtree(first)
    environment = {"PYTHON": sys.executable, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    script = ["sh", str(away / "rerun.sh"), "--local", "--audit", "0"]
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    columns = ("pruner", "compression", "seed", "fingerprint", "status", "final/top1", "final/loss")
    before, after = (
        [[row[column] for column in columns] for row in csv.DictReader((folder / "fingerprints.csv").open())]
        for folder in (away, away / "rerun" / "paper")
    )
    assert len(before) == 2
    assert before == after
