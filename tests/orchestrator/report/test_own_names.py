"""What is the user's own has a short name everywhere: never its code, its folders or a long option in full."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from orchestrator.planning.catalog import catalog
from orchestrator.report.figures.style import file_name
from orchestrator.results.results import read
from orchestrator.results.union import unite
from orchestrator.results.where_filter import where
from orchestrator.sweep import main
from search_spaces import expand, load
from search_spaces.grid import _data_labels
from search_spaces.labels import marked, marks, short
from search_spaces.network import Network

NET = '''
from torch import nn

def build(shape, classes, width=8, note=""):
    """A small network."""
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], width), nn.ReLU(),
                         nn.Linear(width, classes))
'''
SCORE = '''
from pruners import prunable

def largest(model, batches, *, mode, generator):
    """The largest weights."""
    return {name: weight.detach().abs() for name, weight in prunable(model).items()}
'''
BASE = {"dataset": "digits", "pruner": "magnitude", "compression": [1, 4], "epochs": 1, "batch_size": 256}


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, text in (("a", NET), ("b", NET + "\n# another version\n")):
        Path(folder).mkdir()
        Path(folder, "nets.py").write_text(text)
        Path(folder, "score.py").write_text(SCORE + text[len(NET) :])


def asked(*spaces):
    made = [expand(load(BASE | space), catalog()) for space in spaces]
    return [cells for cells, _ in made], {trial.fingerprint: trial for _, unique in made for trial in unique}


def united(*spaces):
    return unite(*asked(*spaces))


def test_an_own_network_beside_a_built_in_one_makes_two_panels():
    cells = united({"architecture": ["conv", "a/nets.py:build"]})
    assert {(cell.architecture, *cell.settings) for cell in cells} == {("conv",), ("nets.py:build",)}
    assert len(cells) == 4


def test_two_versions_of_one_file_differ_by_a_hash_that_mlflow_has_too():
    (cells,), trials = asked({"architecture": ["conv", "a/nets.py:build", "b/nets.py:build"]})
    names = {cell.architecture: trials[cell.fingerprint].params()["architecture_code"] for cell in cells}
    assert len(names) == 3
    assert names.pop("conv") == ""
    assert all(name == f"nets.py:build ({code[:6]})" for name, code in names.items())
    assert {cell.architecture for cell in unite([cells], trials)} == {"conv", *names}


def test_versions_of_two_sweeps_are_told_apart_and_one_version_is_not():
    space = {"architecture": "a/nets.py:build"}
    assert {cell.architecture for cell in united(space, space)} == {"nets.py:build"}
    cells = united(space, {"architecture": {"name": "b/nets.py:build", "width": 4}})
    first, second = sorted({cell.architecture for cell in cells}, key=len)
    assert first.startswith("nets.py:build (")
    assert second.startswith("nets.py:build (") and second.endswith(") width=4")
    assert all(cell.settings == {} for cell in cells)


def test_versions_of_an_own_pruner_are_told_apart_dense_cells_with_them():
    cells = united({"architecture": "mlp", "pruner": ["a/score.py:largest", "b/score.py:largest"]})
    assert len({cell.pruner for cell in cells}) == 2
    assert all(sum(cell.pruner == name for cell in cells) == 2 for name in {cell.pruner for cell in cells})
    across = united(
        {"architecture": "mlp", "pruner": "a/score.py:largest"}, {"architecture": "mlp", "pruner": "b/score.py:largest"}
    )
    assert {cell.pruner for cell in across} == {cell.pruner for cell in cells}
    assert len(across) == 4


def test_long_options_are_short_in_labels_and_params():
    notes = ["x" * 9000, "x" * 8999 + "\ny"]
    (cells,), trials = asked({"architecture": [{"name": "a/nets.py:build", "note": note} for note in notes]})
    labels = {cell.architecture for cell in cells}
    assert len(labels) == 2
    assert all(len(label) < 80 and "\n" not in label for label in labels)
    assert all(len(value) <= 500 for trial in trials.values() for value in trial.params().values())
    assert all(len(trial.name) < 120 for trial in trials.values())


def test_a_classifier_kept_dense_does_not_part_the_dense_network_from_its_line():
    cells = united({"architecture": ["conv", {"name": "conv", "dense_classifier": True}]})
    assert all(cell.settings == {} for cell in cells)


def test_folders_are_told_apart_by_as_little_as_it_takes():
    assert _data_labels(("folder:/x/y/flowers", "digits")) == {"folder:/x/y/flowers": "flowers", "digits": "digits"}
    names = ("folder:/x/one/flowers", "folder:/x/two/flowers")
    assert list(_data_labels(names).values()) == ["one/flowers", "two/flowers"]
    assert len(_data_labels(("folder:/" + "f" * 300,)).popitem()[1]) <= 60


def test_marks_stand_behind_names():
    assert marks([("n", "abcdef12"), ("n", "123456ff"), ("m", "")])["n", "abcdef12"] == " (abcdef)"
    assert marks([("n", "abcdef12"), ("n", "abcdef12"), ("m", "")]) == {("n", "abcdef12"): "", ("m", ""): ""}
    assert marked("n width=4", "n", " (abcdef)") == "n (abcdef) width=4"
    assert marked("n (123456) width=4", "n", "") == "n width=4"


def test_short_keeps_what_is_short_and_tells_long_ones_apart():
    assert short("abc") == "abc"
    assert short(0.1) == "0.1"
    assert short("a" * 50) != short("a" * 51)
    assert len(short("a" * 50)) == 40


def test_names_of_figures_are_safe_and_different():
    assert file_name("training", "conv · digits") == "training-conv-digits"
    assert file_name("training", "own_nets.py:plain (3f2a91) · digits") == "training-own-nets.py-plain-3f2a91-digits"
    long = [file_name("training", "x" * 500 + end) for end in "ab"]
    assert long[0] != long[1]
    assert all(len(name) <= 90 for name in long)
    assert file_name("training", "花") != file_name("training", "草")
    assert file_name("a", "../../etc").count("/") == 0


def test_a_label_of_a_network_holds_no_code():
    assert Network("nets.py:build", (("width", 4),), code=NET).label == "nets.py:build width=4"


@pytest.mark.slow
def test_a_sweep_with_own_networks_ends_with_its_report():
    asked = BASE | {
        "architecture": ["conv", "a/nets.py:build", "b/nets.py:build"],
        "pruner": ["magnitude", "a/score.py:largest"],
    }
    Path("own.yaml").write_text(yaml.safe_dump(asked))
    assert main(["own.yaml", "--local"]) == 0
    page = Path("results/report/report.html").read_text()
    assert "<h3>conv · digits" in page
    assert "import nn" not in page
    names = [file.name for file in Path("results/report/figures").iterdir()]
    assert max(map(len, names)) <= 100
    assert len([name for name in names if name.startswith("density-nets.py-build-") and name.endswith(".svg")]) == 2
    assert len([name for name in names if name.startswith("density-conv-digits")]) == 3
    results = read(f"sqlite:///{Path('results/mlflow.db').resolve()}", "own")
    assert len(where(results, "architecture = nets.py:build").rows) == 2 * 4  # both versions
    (one, other) = sorted({row.cell.architecture for row in results.rows} - {"conv"})
    assert (
        len(where(results, f"architecture = '{one}'").rows)
        == len(where(results, f"architecture = '{other}'").rows)
        == 4
    )
    for run in MlflowClient(f"sqlite:///{Path('results/mlflow.db').resolve()}").search_runs(["1"]):
        assert all("import" not in value for value in [*run.data.params.values(), run.info.run_name])
