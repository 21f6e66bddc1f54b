"""The code in README and docs works as it stands there; of docs/extend.md each file, and its lines in a registry."""

from __future__ import annotations

import ast
import csv
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.report import figures
from orchestrator.sweep import main
from pruners import PRUNERS
from trainables import architectures, datasets, measures

ROOT = Path(__file__).parent.parent
EXTEND, MLFLOW = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("extend.md", "mlflow.md"))
BLOCKS = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", EXTEND, re.DOTALL))
HOUSE = {"pruners", "trainables", "orchestrator", "search_spaces"}
LINES = re.findall(r"```diff\n# (\S+\.py)\n(.*?)```", EXTEND, re.DOTALL)


def python(page: str) -> str:
    """The code of a page, in one piece."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL))


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Puts a block into a file of its own, and imports it under the name that it would have in the house."""
    monkeypatch.chdir(tmp_path)

    def write(path: str) -> ModuleType:
        assert not (ROOT / path).exists(), "the page must show a file that is not there yet"
        file = tmp_path / Path(path).name
        file.write_text(BLOCKS[path])
        spec = importlib.util.spec_from_file_location(path.removesuffix(".py").replace("/", "."), file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return write


@pytest.mark.slow
def test_two_pruners_an_architecture_a_dataset_and_a_figure(written, monkeypatch, capsys):
    Path("my_file.py").write_text(BLOCKS["my_file.py"])
    monkeypatch.setitem(PRUNERS, "filter-size", written("pruners/scores/filter_size.py").FILTER_SIZE)
    network = written("trainables/architectures/separable.py").SEPARABLE
    monkeypatch.setitem(architectures.ARCHITECTURES, "separable", network)
    monkeypatch.setitem(datasets.DATASETS, "stripes", written("trainables/datasets/stripes.py").STRIPES)
    monkeypatch.setitem(figures.FIGURES, "training-time", written("orchestrator/report/figures/training_time.py").draw)
    pruners = '[filter-size, "my_file.py:by_size_of_filter"]'
    asked = {"dataset": "stripes", "architecture": "separable", "pruner": pruners, "epochs": 3, "lr": 0.01}
    overrides = [word for key, value in asked.items() for word in ("--set", f"{key}={value}")]
    assert main(["digits", "--local", *overrides, "--set", "compression=[1, 4]"]) == 0
    with Path("results/report/tables/accuracy.csv").open() as file:
        _, house, own = csv.reader(file)
    assert house[:3] == ["stripes", "separable", "filter-size"]
    assert own[:3] == ["stripes", "separable", "my_file.py:by_size_of_filter"]
    assert house[3:] == own[3:], "one score, in two places"
    assert float(house[3]) > 0.9  # the dense network: the images are what they are said to be
    assert Path("results/report/figures/training-time.svg").exists()
    found = {}
    exec(python("docs/mlflow.md"), found)
    assert "separable" in capsys.readouterr().out
    metrics = {name for run in found["client"].search_runs([found["experiment"]]) for name in run.data.metrics}
    told = set(re.findall(r"`([a-z]+/[a-z0-9_]+)`", MLFLOW))
    elsewhere = {"validation/loss", "validation/top1", "time/scaling_efficiency"}  # none held out, one worker
    assert {name for name in metrics if not name.startswith("curve/")} == told - elsewhere


PAGES = sorted(str(page.relative_to(ROOT)) for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", [page for page in PAGES if python(page)])
def test_what_a_page_imports_is_there(page):
    """Names that the page itself writes, such as a new pruner's file, are not here yet."""
    for node in ast.walk(ast.parse(python(page))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in HOUSE:
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], node.module


def test_the_facts_of_the_dataset_are_its_own(written):
    spec = written("trainables/datasets/stripes.py").STRIPES
    train_x, train_y, test_x, _ = spec.read(None, Path())
    assert train_x.shape == (spec.train_size, *spec.input_shape)
    assert len(test_x) == spec.test_size
    assert (train_y == 0).sum() == spec.smallest_class
    pixels = train_x / 255
    assert pixels.mean() == pytest.approx(spec.mean[0], abs=0.01)
    assert pixels.std() == pytest.approx(spec.std[0], abs=0.01)


def extended(house: Path) -> None:
    """A copy of the house in which all that the page says was done by hand."""
    for room in ("orchestrator", "trainables", "pruners", "search_spaces", "tests"):
        shutil.copytree(ROOT / room, house / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", house)
    for path, code in BLOCKS.items():
        (house / path).write_text(code)
    for path, hunks in LINES:
        text = (house / path).read_text()
        for hunk in hunks.split(" …\n"):
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] == " ")
            assert text.count(before) == 1, f"{path} has these lines once: {before}"
            text = text.replace(before, "".join(line[1:] for line in lines))
        (house / path).write_text(text)


@pytest.mark.slow
def test_what_was_added_by_hand_is_found_and_held_to_its_contract(tmp_path):
    extended(tmp_path)
    kinds = (
        "pruners/test_pruner",
        "trainables/architectures/test_architecture",
        "trainables/datasets/test_dataset",
    )
    words = [*(f"tests/{kind}_contract.py" for kind in kinds), "-k", "filter-size or separable or stripes"]
    held = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert held.returncode == 0, held.stdout
    assert re.search(r"[3-9]\d passed", held.stdout)
    registries = {
        "trainables.measures.MEASURES": "concentration",
        "orchestrator.report.figures.FINDINGS": "concentration",
        "orchestrator.report.figures.MEASURED": "concentration",
        "orchestrator.report.figures.FIGURES": "training-time",
    }
    asked = "import orchestrator.report.figures, trainables.measures\n"
    asked += "\n".join(f"print({registry}[{name!r}])" for registry, name in registries.items())
    subprocess.run([sys.executable, "-c", asked], cwd=tmp_path, check=True)
    sets = ("architecture=mlp", "pruner=random", "compression=[1, 4]", "epochs=1")
    words = ("digits", "--local", "--audit", "0", *(word for setting in sets for word in ("--set", setting)))
    subprocess.run([sys.executable, "-m", "orchestrator.sweep", *words], cwd=tmp_path, check=True, capture_output=True)
    metric = "prune/largest_weight"
    rows = list(csv.DictReader((tmp_path / "results/report/tables/trials.csv").open()))
    assert all(0 < float(row[metric]) < 10 for row in rows)
    assert "4x mean" in (tmp_path / "results/report/tables/largest-weight.csv").read_text()
    listed = subprocess.run(
        [sys.executable, "-m", "orchestrator.sweep", "--list"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert f"{metric} " in listed.stdout


@pytest.mark.slow
def test_a_measure(written, monkeypatch):
    name = "concentration"
    monkeypatch.setitem(measures.MEASURES, name, written(f"trainables/measures/{name}.py").CONCENTRATION)
    monkeypatch.setitem(figures.FINDINGS, name, written(f"orchestrator/report/figures/{name}.py").CONCENTRATION)
    monkeypatch.setitem(figures.MEASURED, name, written(f"orchestrator/report/figures/{name}.py").draw)
    asked = ["--set", f"measure={name}", "--set", "architecture=mlp", "--set", "pruner=[random, synflow]"]
    assert main(["digits", "--local", *asked]) == 0
    page = Path("results/report/report.html").read_text()
    said = re.search(r"The highest tenth .*: (0\.\d+) by random, (0\.\d+) by synflow", page)
    assert 0.1 < float(said[1]) < float(said[2]) < 1
    assert Path(f"results/report/figures/{name}.svg").exists()


def test_the_code_for_notebooks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(python("docs/notebook.md"), names)
    assert "2578 of 25776 weights" in capsys.readouterr().out
    assert names["small"][0].out_channels < 16
    exec(python("README.md"), {"model": names["model"], "x": names["x"], "y": names["y"]})
