"""A sweep that measures something else than training: its report says what it found, and nothing of accuracies."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.report.figures import FINDINGS, MEASURED
from orchestrator.sweep import main
from trainables.measures import MEASURES

COMMON = ["digits", "--local", "--set", "architecture=mlp", "--set", "pruner=[magnitude, synflow]"]
FEW = ["--set", "compression=[4]", "--set", "iterations=[1, 2]", "--set", "schedule=[exponential]"]
SPACES = {
    "critical-compression": ["--set", "seed=[0, 1]", "--set", "iterations=2"],
    "unit-conservation": [],
    "layer-conservation": [],
    "imp-conservation": ["--set", "pruner={name: imp, levels: 1}", "--set", "compression=4", "--set", "epochs=1"],
    "schedule-conservation": ["--set", "pruner=synflow", *FEW],
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_whatever_can_be_measured_has_words_numbers_and_a_figure():
    assert list(MEASURES) == list(FINDINGS) == list(MEASURED) == list(SPACES)


@pytest.mark.parametrize("measure", SPACES)
def test_from_a_space_to_its_figures_tables_and_words(measure):
    assert main([*COMMON, "--set", f"measure={measure}", *SPACES[measure]]) == 0
    report = Path("results/report")
    figures = {file.stem for file in (report / "figures").iterdir()}
    assert figures
    assert all(name.startswith(measure) for name in figures)
    tables = {file.name for file in (report / "tables").iterdir()}
    assert tables == {"trials.csv", *(f"{measure}.{kind}" for kind in ("csv", "md", "tex"))}
    with (report / "tables" / f"{measure}.csv").open() as file:
        heads, *rows = csv.reader(file)
    assert heads[0] == "panel"
    assert {row[0] for row in rows} == {"mlp · digits"}
    page = re.sub(r"<script.*?</script>", "", (report / "report.html").read_text(), flags=re.DOTALL)
    assert "mlp · digits: " in page
    for word in ("accuracy", "dense network reaches", "Nothing to compare", "No cell has a result"):
        assert word not in page
    assert ("weight_decay" in page) is MEASURES[measure].trains  # how nothing is trained is no news


def test_a_table_is_an_artifact_of_its_run_and_its_answer_the_note(capsys):
    assert main([*COMMON, "--set", "measure=layer-conservation"]) == 0
    assert main([*COMMON, "--set", "measure=layer-conservation"]) == 0
    assert "2 done before, 0 to do" in capsys.readouterr().out
    client = MlflowClient(f"sqlite:///{Path('results/mlflow.db').resolve()}")
    found = client.get_experiment_by_name("digits")
    assert "follows its inverse size" in found.tags["mlflow.note.content"]
    runs = client.search_runs([found.experiment_id], "tags.kind='trial'")
    assert {run.data.params["measure"] for run in runs} == {"layer-conservation"}
    for run in runs:
        assert run.data.metrics.keys() == {
            *("conservation/error", "conservation/slope", "conservation/correlation", "time/total_seconds")
        }
        table = json.loads(Path(client.download_artifacts(run.info.run_id, "measure.json")).read_text())
        assert len(table["data"]) == 6
    assert client.search_runs([found.experiment_id], "tags.kind='curve'") == []


@pytest.mark.slow
def test_training_and_a_measure_stand_side_by_side():
    both = ["--set", "measure=[training, layer-conservation]", "--set", "epochs=1", "--set", "compression=[1, 4]"]
    assert main([*COMMON, *both]) == 0
    names = {file.stem for file in Path("results/report/figures").iterdir()}
    assert "accuracy" in names
    assert any(name.startswith("layer-conservation") for name in names)
    page = Path("results/report/report.html").read_text()
    assert "The dense network reaches" in page
    assert "follows its inverse size" in page


def test_a_network_that_a_measure_is_not_for_is_refused(capsys):
    text = "import torch\n\n\ndef build(input_shape, num_classes):\n    return Odd(num_classes)\n\n\n"
    text += "class Odd(torch.nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
    text += "        self.fc = torch.nn.Linear(64, n)\n\n    def forward(self, x):\n"
    text += "        return self.fc(x.flatten(1).flip(1))\n"
    Path("odd.py").write_text(text)
    asked = ["--set", "architecture=odd.py:build", "--set", "measure=unit-conservation"]
    assert main([*COMMON, *asked]) == 2
    assert "measure: unit-conservation is not for architecture odd.py:build" in capsys.readouterr().err
