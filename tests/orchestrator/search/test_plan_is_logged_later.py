"""MLflow that is away in the last minutes of a search: the sweep says so, and its next start completes the plan."""

from __future__ import annotations

import pytest

from orchestrator.results.results import read
from orchestrator.sweep import main
from orchestrator.tracking.experiment import ExperimentRuns

pytestmark = pytest.mark.slow
SETTINGS = ("architecture=mlp", "pruner=random", "compression=4", "epochs=1", "validation=0.2")
SEARCH = ("lr={low: 0.1, high: 0.2}", "search={trials: 3}")
WORDS = ["digits", "--local", "--audit", "0", *(word for text in (*SETTINGS, *SEARCH) for word in ("--set", text))]


def test_the_plan_of_a_search_is_logged_by_the_next_start(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    log_plan, calls = ExperimentRuns.log_plan, []

    def away(*arguments) -> None:
        calls.append(arguments)
        if len(calls) > 1:  # the sweep's begin had an answer
            raise ConnectionError("the server is away")
        log_plan(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ExperimentRuns, "log_plan", away)
        assert main(WORDS) == 1
    said = capsys.readouterr()
    assert "no report: ConnectionError: the server is away" in said.out
    assert "3 of 3 trials finished" in said.out
    assert "Traceback" not in said.out + said.err
    records = {file: file.read_bytes() for file in tmp_path.glob("results/checkpoints/*/outbox.jsonl")}
    assert len(records) == 3
    assert main(WORDS) == 0
    assert records == {file: file.read_bytes() for file in tmp_path.glob("results/checkpoints/*/outbox.jsonl")}
    results = read(f"sqlite:///{tmp_path / 'results' / 'mlflow.db'}", "digits")
    assert [row.status for row in results.tried] == ["finished"] * 3
