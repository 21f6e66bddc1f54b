"""Finished runs recomputed: all agree, and whatever somebody writes into the store by hand is found."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from invented_sweep import log_plan
from mlflow import MlflowClient
from safetensors.torch import load_file, save_file

from orchestrator import sweep
from orchestrator.audit import __main__ as audit
from orchestrator.audit import run as auditing
from orchestrator.planning.plan import plan
from orchestrator.report.summary_text import audit_words
from orchestrator.results.results import read
from search_spaces import Trial
from search_spaces.space import validate
from trainables.context import Place
from trainables.record.mlflow import deliver
from trainables.record.predictions import read_predictions
from trainables.run import run as run_trial

TINY = ["digits", "--local", "--set", "epochs=2", "--set", "architecture=mlp"]
USUAL = {"dataset": "digits", "architecture": "mlp", "pruner": "snip", "epochs": 2, "optimizer": "adam", "lr": 0.002}


@dataclass(frozen=True)
class Stored:
    """A folder of results that a test may spoil."""

    folder: Path

    def audit(self, *words: str) -> int:
        return audit.main(["digits", "--output", str(self.folder), *words])

    def sql(self, statement: str, *values: object) -> None:
        with sqlite3.connect(self.folder / "mlflow.db") as database:
            assert database.execute(statement, values).rowcount
        database.close()

    def run(self, pruner: str = "snip", architecture: str = "mlp"):
        client = MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        found = client.get_experiment_by_name("digits").experiment_id
        query = f"tags.kind = 'trial' and params.pruner = '{pruner}' and params.architecture = '{architecture}'"
        (run,) = client.search_runs([found], query)
        return run

    def file(self, name: str, **which: str) -> Path:
        return self.folder / "artifacts" / self.run(**which).info.run_id / "artifacts" / name

    def write(self, name: str, value: float, **which: str) -> None:
        """Write a metric as if it had been logged so, all its points."""
        for table in ("metrics", "latest_metrics"):
            run_id = self.run(**which).info.run_id
            self.sql(f"UPDATE {table} SET value = ? WHERE key = ? AND run_uuid = ?", value, name, run_id)


def finish(client: MlflowClient, folder: Path, experiment: str, trial: Trial) -> None:
    """Compute a trial and log it, as a sweep does."""
    place = Place(storage=folder / "checkpoints", cache=folder / "data")
    assert run_trial(trial, place).end == "finished"
    tags = {"kind": "trial", "fingerprint": trial.fingerprint, "mlflow.runName": trial.name}
    run_id = client.create_run(client.get_experiment_by_name(experiment).experiment_id, tags=tags).info.run_id
    deliver(client, run_id, place.storage / trial.fingerprint)
    client.set_terminated(run_id, "FINISHED")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep's results without its report, which takes longer than all the rest."""
    folder = tmp_path_factory.mktemp("swept")
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("digits", artifact_location=(folder / "artifacts").as_uri())
    grid = {"architecture": ["mlp", "conv"], "pruner": ["snip", "synflow"], "compression": [1, 4]}
    planned = plan(validate(USUAL | grid, "digits"), cache=folder / "data")
    trials = {trial.fingerprint: trial for trial in planned.trials}
    log_plan(client, experiment, "digits", planned.cells, trials, "")
    for trial in trials.values():
        finish(client, folder, "digits", trial)
    return folder


@pytest.fixture
def stored(swept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results"
    shutil.copytree(swept, folder)
    copy = Stored(folder)
    for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
        statement = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
        copy.sql(statement, swept.as_uri(), folder.as_uri())
    return copy


def test_what_was_logged_is_found_again(stored, capsys):
    before = stored.run().data.metrics
    assert stored.audit() == 0
    said = capsys.readouterr().out
    assert "audited 6 of 6 finished runs: all agree" in said
    run = stored.run()
    assert run.data.tags["audited"] == "agrees"
    found = {key: value for key, value in run.data.metrics.items() if key.startswith("audit/")}
    assert found["audit/top1"] == before["final/top1"]
    assert found["audit/loss"] == pytest.approx(before["final/loss"], rel=1e-5)
    for key in ("params_kept", "compression", "macs", "macs_kept"):
        assert found[f"audit/{key}"] == pytest.approx(before[f"model/{key}"], rel=1e-12)
    assert found["audit/differences"] == 0
    assert {key: value for key, value in run.data.metrics.items() if key not in found} == before
    said, differing = audit_words(read(f"sqlite:///{stored.folder}/mlflow.db", "digits"))
    assert said.startswith("6 of 6 finished trials were audited")
    assert said.endswith("all agree.")
    assert differing == []


def test_some_of_them_and_the_same_ones_each_time(stored, capsys):
    assert stored.audit("--trials", "2", "--no-log") == 0
    first = capsys.readouterr().out
    assert "audited 2 of 6 finished runs: all agree" in first
    assert "audited" not in stored.run().data.tags
    assert stored.audit("--trials", "2", "--no-log") == 0
    assert capsys.readouterr().out == first


def edited(name: str, change: Callable[[dict], None]) -> Callable[[Stored], None]:
    def spoil(stored: Stored) -> None:
        file = stored.file(name)
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)

    return spoil


def prune_one_more(masks: dict) -> None:
    first = next(iter(masks.values()))
    first[tuple(first.nonzero()[0])] = False


def keep_one_more(masks: dict) -> None:
    first = next(iter(masks.values()))
    first[tuple((~first).nonzero()[0])] = True


def wake_a_weight(stored: Stored) -> None:
    weights, masks = load_file(stored.file("weights.safetensors")), load_file(stored.file("masks.safetensors"))
    name, mask = next(iter(masks.items()))
    weights[name][tuple((~mask).nonzero()[0])] = 1e-9
    save_file(weights, stored.file("weights.safetensors"))


def other_weights(stored: Stored) -> None:
    shutil.copy(stored.file("weights.safetensors", pruner="synflow"), stored.file("weights.safetensors"))


def other_predictions(stored: Stored) -> None:
    shutil.copy(stored.file("predictions.safetensors", pruner="synflow"), stored.file("predictions.safetensors"))


def one_more_right(stored: Stored) -> None:
    file = stored.file("predictions.safetensors")
    found = read_predictions(file.read_bytes())
    found.top1[found.top1.argmin()] = True
    file.write_bytes(found.to_bytes())


def of_another_network(stored: Stored) -> None:
    shutil.copy(stored.file("weights.safetensors", architecture="conv"), stored.file("weights.safetensors"))


def both(stored: Stored) -> None:
    """A lie told everywhere: the last epoch's, the best and the final accuracy."""
    for key in ("final/top1", "best/top1", "test/top1"):
        stored.write(key, 0.75)


def in_layers(key: str, by: float) -> Callable[[Stored], None]:
    def spoil(stored: Stored) -> None:
        table = json.loads(stored.file("layers.json").read_text())
        table["data"][0][table["columns"].index(key)] += by
        stored.file("layers.json").write_text(json.dumps(table))

    return spoil


def other_record(stored: Stored) -> None:
    record = json.loads(stored.file("trial.json").read_text())
    stored.file("trial.json").write_text(json.dumps(record | {"compression": 2.0}))


def collapsed(stored: Stored) -> None:
    run_id = stored.run().info.run_id
    stored.sql("UPDATE tags SET value = 'true' WHERE key = 'collapsed' AND run_uuid = ?", run_id)


def metric(name: str, change: Callable[[float], float]) -> Callable[[Stored], None]:
    return lambda stored: stored.write(name, change(stored.run().data.metrics[name]))


SPOILT = {
    "a wrong accuracy": (metric("final/top1", lambda top1: top1 - 0.05), "final/top1"),
    "one image too many": (metric("final/top1", lambda top1: top1 + 1 / 360), "final/top1"),
    "no count of images": (metric("final/top1", lambda top1: top1 + 1 / 1000), "final/top1"),
    "a wrong accuracy everywhere": (both, "final/top1"),
    "a wrong top-5": (metric("final/top5", lambda top5: top5 - 0.1), "final/top5"),
    "a wrong loss": (metric("final/loss", lambda loss: loss * 1.001), "final/loss"),
    "a better best": (metric("best/top1", lambda top1: top1 + 0.01), "best/top1"),
    "wrong MACs": (metric("model/macs_kept", lambda macs: macs - 1), "model/macs_kept"),
    "wrong dense MACs": (metric("model/macs", lambda macs: macs * 0.64), "model/macs"),
    "a wrong compression": (metric("model/compression", lambda rho: rho * 1.01), "model/compression"),
    "wrong parameters": (metric("model/params", lambda params: params + 1), "model/params"),
    "one mask bit off": (edited("masks.safetensors", prune_one_more), "weights kept"),
    "one mask bit on": (edited("masks.safetensors", keep_one_more), "weights kept"),
    "a pruned weight that is not zero": (wake_a_weight, "pruned weights that are not zero"),
    "the weights of another run": (other_weights, "final/loss"),
    "the weights of another network": (of_another_network, "weights.safetensors does not fit"),
    "the predictions of another run": (other_predictions, "final/top1 (predictions.safetensors)"),
    "one prediction": (one_more_right, "predicted classes that do not fit their bits"),
    "no predictions but bytes": (
        lambda stored: stored.file("predictions.safetensors").write_bytes(b"abc"),
        "predictions.safetensors cannot be read",
    ),
    "no weights but bytes": (lambda stored: stored.file("weights.safetensors").write_bytes(b"abc"), "cannot be read"),
    "a layer's weights": (in_layers("kept", 1), "layers.json"),
    "a layer's MACs": (in_layers("macs_kept", 8), "MACs pruned (layers.json)"),
    "another record": (other_record, "fingerprint"),
    "a collapse that was none": (collapsed, "collapsed true logged, false recomputed"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_was_changed_by_hand_is_found(stored, capsys, name):
    spoil, said = SPOILT[name]
    run = stored.run()
    spoil(stored)
    assert stored.audit() == 1
    out = capsys.readouterr().out
    assert "audited 6 of 6 finished runs: 1 DIFFERS" in out
    lines = [line for line in out.splitlines() if "DIFFERS: " in line]
    assert lines
    assert all(run.info.run_id in line and line.startswith("mlp digits snip 4x s0") for line in lines)
    assert any(said in line for line in lines), lines
    assert stored.run().data.tags["audited"].startswith("differs: ")
    assert stored.run(pruner="synflow").data.tags["audited"] == "agrees"


def test_the_report_names_what_differs(stored):
    uri = f"sqlite:///{stored.folder}/mlflow.db"
    assert audit_words(read(uri, "digits"))[0].startswith("0 of 6 finished trials were audited: python -m")
    stored.write("final/top1", 0.5)
    assert stored.audit() == 1
    said, (line,) = audit_words(read(uri, "digits"))
    assert said.endswith("1 DIFFERS from what was logged.")
    assert line.startswith(f"mlp digits snip 4x s0 ({stored.run().info.run_id}) differs: final/top1 0.5 logged, ")


def test_what_is_absent_is_no_difference_and_never_agrees(stored, capsys):
    stored.file("weights.safetensors").unlink()
    assert stored.audit() == 0
    out = capsys.readouterr().out
    assert "audited 5 of 6 finished runs: all agree, 1 not auditable" in out
    assert "not auditable (1): there is no weights.safetensors" in out
    assert "audited" not in stored.run().data.tags
    for file in stored.folder.glob("artifacts/*/artifacts/weights.safetensors"):
        file.unlink()
    assert stored.audit() == 2
    assert "nothing to compare, 6 not auditable" in capsys.readouterr().out


def test_runs_of_earlier_versions_have_no_predictions_and_agree(stored, capsys):
    stored.file("predictions.safetensors").unlink()
    assert stored.audit("--no-log") == 0
    out = capsys.readouterr().out
    assert "audited 6 of 6 finished runs: all agree" in out
    assert "not checked in 1 of them: there is no predictions.safetensors" in out


def test_images_that_are_not_here_are_no_difference(stored, capsys):
    trial = json.loads(stored.file("trial.json").read_text())
    stored.file("trial.json").write_text(json.dumps(trial | {"dataset": "imagenet"}))
    assert stored.audit("--no-log") == 0
    assert "not auditable (1): dataset: 'imagenet' is not under" in capsys.readouterr().out


REFUSED = {
    "unknown": (["digts"], "experiment 'digts' does not exist; did you mean 'digits'?"),
    "no store": (["digits", "--output", "nowhere"], "there is no file"),
    "no count": (["digits", "--trials", "0"], "--trials: '0' is not allowed; it must be a count above 0, or all"),
    "no number": (["digits", "--trials", "some"], "--trials: 'some'"),
    "no device": (["digits", "--device", "tpu"], "--device: 'tpu' is not allowed"),
    "no data root": (["digits", "--data-root", "away"], "--data-root: 'away' is not a folder"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(stored, capsys, name):
    words, said = REFUSED[name]
    assert audit.main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("audit: ")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_sweep_audits_a_few_of_its_new_trials(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = [*TINY, "--set", "pruner=snip"]
    assert sweep.main([*few, "--set", "compression=[1, 4, 8]"]) == 0
    assert "audited 2 of 3 finished runs: all agree" in capsys.readouterr().out
    page = Path("results/report/report.html")
    assert "2 of 3 finished trials were audited" in page.read_text("utf-8")

    honest = auditing.test

    def another(*given, **options):
        found = honest(*given, **options)
        return replace(found, loss=found.loss * 1.01)

    monkeypatch.setattr(auditing, "test", another)
    assert sweep.main([*few, "--set", "compression=[1, 4, 8, 16]", "--audit", "5"]) == 1  # only what is new
    said = capsys.readouterr().out
    assert "mlp digits snip 16x s0" in said
    assert "DIFFERS: final/loss" in said
    assert "audited 1 of 1 finished runs: 1 DIFFERS" in said
    assert "1 DIFFERS from what was logged" in page.read_text("utf-8")

    assert sweep.main([*few, "--set", "compression=[1, 32]", "--audit", "0"]) == 0
    assert "audited" not in capsys.readouterr().out
    assert sweep.main([*few, "--audit", "-1"]) == 2
    assert "--audit is -1" in capsys.readouterr().err


OWN = """
from torch import nn
def build(input_shape, num_classes, width=8):
    layers = nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, num_classes)
    return nn.Sequential(*layers)
"""
KINDS = {
    "averages": {"compression": 4, "ema": 0.9, "validation": 0.1},
    "levels": {"compression": 4, "pruner": "magnitude", "levels": 2},
    "pre-training": {"compression": 4, "pruner": "magnitude", "pretrain_epochs": 1},
    "gradual": {"compression": 4, "pruner": "gradual"},
    "set": {"compression": 4, "pruner": "set"},
    "rigl": {"compression": 4, "pruner": "rigl"},
    "str": {"compression": 4, "pruner": "str"},
    "top-kast": {"compression": 4, "pruner": "top-kast", "ema": 0.9},
    "bfloat16": {"compression": 4, "precision": "bfloat16", "architecture": "conv"},
    "filters": {"compression": 4, "granularity": "filter", "architecture": "conv"},
    "kappa": {"kappa": 0.5, "granularity": "filter", "architecture": "conv"},
    "blocks": {"compression": 2, "granularity": "2:4"},
    "layer": {"sparsity": 0.75, "scope": "layer"},
    "row": {"sparsity": 0.75, "pruner": "wanda"},
    "updated": {"compression": 4, "pruner": "obs"},
    "erk": {"compression": 5, "scope": "erk"},
    "collapsed": {"compression": 1000, "pruner": "magnitude"},
    "own": {"compression": 4, "architecture": "own.py:build"},
    "no epochs": {"compression": 4, "epochs": 0},
    "dense classifier": {"compression": 4, "architecture": {"name": "mlp", "dense_classifier": True}},
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A store, and the folder of its trials."""
    folder = tmp_path_factory.mktemp("shelf")
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    for name in KINDS:
        client.create_experiment(name, artifact_location=(folder / "artifacts").as_uri())
    return client, folder


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_trial_agrees(shelf, tmp_path, monkeypatch, capsys, name):
    client, folder = shelf
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    for trial in plan(validate(USUAL | KINDS[name], name), cache=folder / "data").trials:
        finish(client, folder, name, trial)
    assert audit.main([name, "--output", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "audited 1 of 1 finished runs: all agree" in said
    assert "not checked" not in said


def test_code_that_only_the_store_has_is_not_run_unasked(shelf, tmp_path, monkeypatch, capsys):
    client, folder = shelf
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    client.create_experiment("code", artifact_location=(folder / "artifacts").as_uri())
    (trial,) = plan(validate(USUAL | {"compression": 2, "architecture": "own.py:build"}, "x")).trials
    finish(client, folder, "code", trial)
    words = ["code", "--output", str(folder)]
    assert audit.main(words) == 0
    Path("own.py").write_text("raise SystemExit('run')")
    assert audit.main(words) == 2
    assert "--run-code runs the stored code" in capsys.readouterr().out
    assert audit.main([*words, "--run-code"]) == 0


def test_a_measure_is_not_auditable(shelf, capsys):
    client, folder = shelf
    client.create_experiment("measure", artifact_location=(folder / "artifacts").as_uri())
    space = USUAL | {"compression": 4, "pruner": "synflow", "measure": "layer-conservation"}
    for trial in plan(validate(space, "x")).trials:
        finish(client, folder, "measure", trial)
    assert audit.main(["measure", "--output", str(folder)]) == 2
    assert "not auditable (1): it is a measure, which leaves no trained network" in capsys.readouterr().out
