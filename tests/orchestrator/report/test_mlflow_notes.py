"""Notes: the answer where MLflow shows descriptions, below what people wrote there themselves."""

from __future__ import annotations

from invented_sweep import Store, build
from mlflow import MlflowClient
from pytest import MonkeyPatch

from orchestrator.report.mlflow_ui import notes
from orchestrator.report.mlflow_ui.notes import HEADING, NOTE, below, write_notes
from orchestrator.results.results import read


def test_the_answer_is_on_the_experiment_and_on_the_sweeps_run(store: Store) -> None:
    made = build(store.folder, "noted", ["mlp"], ["snip", "synflow"], [1, 2, 10], [0, 1])
    client = MlflowClient(made.uri)
    results = read(client, "noted")
    run_id = results.sweeps[0].run_id
    client.set_tag(run_id, NOTE, "My own words.")
    write_notes(client, results, run_id)
    run_note = client.get_run(run_id).data.tags[NOTE]
    assert run_note.startswith(f"My own words.\n\n{HEADING}\n\n10 of 12 cells have a result (1 failed, 1 not run).")
    assert "The dense network reaches" in run_note
    note = client.get_experiment(results.experiment_id).tags[NOTE]
    assert note.startswith(f"{results.description}\n\n{HEADING}")
    write_notes(client, results, run_id)
    assert client.get_run(run_id).data.tags[NOTE] == run_note  # replaced, not repeated
    assert client.get_experiment(results.experiment_id).tags[NOTE] == note


def test_a_long_answer_ends_between_two_panels(store: Store, monkeypatch: MonkeyPatch) -> None:
    results = read(store.uri, "small")
    whole = below("", results)
    assert "###" in whole
    monkeypatch.setattr(notes, "LONGEST", len(whole) - 1)
    cut = below("", results)
    assert cut.endswith("\n\n1 more panels are in the report.")
    assert whole.startswith(cut.rpartition("\n\n")[0])
