"""Results that a sweep could not send: sent later, without training anything."""

from __future__ import annotations

import json
import shutil

import pytest
from mlflow import MlflowClient

from orchestrator import deliver, sweep
from orchestrator.live.uploader import how_it_ended

pytestmark = pytest.mark.slow
SPACE = ["digits", "--set", "architecture=mlp", "--set", "pruner=random", "--set", "epochs=1", "--set", "seed=0"]


def runs(store: str) -> dict[str, list[str]]:
    """Statuses of the runs in a store, by kind."""
    client = MlflowClient(store)
    (experiment,) = [each for each in client.search_experiments() if each.name == "digits"]
    found: dict[str, list[str]] = {}
    for run in client.search_runs([experiment.experiment_id], "tags.kind != 'curve'"):
        found.setdefault(run.data.tags["kind"], []).append(run.info.status)
    return {kind: sorted(statuses) for kind, statuses in found.items()}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The folder of a sweep of two trials."""
    folder = tmp_path_factory.mktemp("recorded")
    arguments = [*SPACE, "--set", "compression=[2, 4]", "--local", "--audit", "0", "--output", str(folder / "out")]
    assert sweep.main([*arguments, "--tracking-uri", f"sqlite:///{folder / 'lost.db'}"]) == 0
    return folder / "out"


@pytest.fixture
def output(recorded, tmp_path):
    """A copy of it. Its MLflow is lost; the tests use an empty one."""
    return shutil.copytree(recorded, tmp_path / "out")


@pytest.mark.parametrize(("asked", "code", "status"), [("[2, 4]", 0, "FINISHED"), ("[2, 4, 8]", 130, "KILLED")])
def test_what_is_recorded_is_sent_and_nothing_is_trained(output, tmp_path, asked, code, status, monkeypatch):
    store = f"sqlite:///{tmp_path / 'new.db'}"
    before = sorted((output / "checkpoints").iterdir())
    monkeypatch.setattr("trainables.run.run_together", None)
    typed = [*SPACE, "--set", f"compression={asked}", "--address", "auto", "--output", str(output)]
    assert deliver.main([*typed, "--tracking-uri", store]) == code
    assert runs(store) == {"sweep": [status], "trial": ["FINISHED"] * 2}
    assert (output / "report/report.html").exists()
    assert sorted((output / "checkpoints").iterdir()) == before


def test_a_failure_is_sent_with_its_reason_and_kept(output, tmp_path):
    record = next((output / "checkpoints").glob("*/outbox.jsonl"))
    lines = record.read_text().splitlines()
    assert json.loads(lines[-1])["end"] == "finished"
    failed = [json.dumps({"tags": {"error": "Traceback: no luck"}}), json.dumps({"end": "failed"})]
    record.write_text("\n".join([*lines[:-1], *failed]) + "\n")
    store = f"sqlite:///{tmp_path / 'new.db'}"
    typed = [*SPACE, "--set", "compression=[2, 4]", "--output", str(output), "--tracking-uri", store]
    assert deliver.main(typed) == 1
    assert runs(store) == {"sweep": ["FAILED"], "trial": ["FAILED", "FINISHED"]}
    assert how_it_ended(record.parent) == "failed"


def test_it_waits_for_a_server_that_goes_away_again(output, tmp_path, monkeypatch):
    looks, delivered = iter([False, True, False, True, True]), []
    monkeypatch.setattr(deliver, "is_answering", lambda uri: next(looks))
    monkeypatch.setattr(deliver, "LOOK_SECONDS", 0)
    monkeypatch.setattr(deliver, "execute", lambda job, console: len(delivered.append(job) or delivered))
    assert deliver.main([*SPACE, "--output", str(output)]) == 2  # the second attempt's code
    assert all(job.request.deliver_only and job.request.address is None for job in delivered)


def test_a_wrong_command_is_refused_in_one_line(tmp_path, capsys):
    assert deliver.main(["no-such-space", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("deliver: ")


def test_what_is_refused_for_good_is_not_tried_for_a_week(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(deliver, "LOOK_SECONDS", 0)
    monkeypatch.setattr(deliver, "is_answering", lambda uri: True)
    assert deliver.main([str(tmp_path / "gone.yaml"), "--output", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err.count("gone.yaml") == deliver.REFUSALS_IN_ALL
    assert not list(tmp_path.iterdir())
