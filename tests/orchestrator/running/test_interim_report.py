"""Reports while a sweep runs: on the sweep's run, and no concern of the sweep's."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import ClassVar

import pytest
from invented_sweep import Store, build
from mlflow import MlflowClient

from orchestrator.report.mlflow_ui.notes import NOTE
from orchestrator.results.store import ReportError
from orchestrator.running import interim_report
from orchestrator.running.interim_report import InterimReports, write


def test_the_page_and_the_answer_are_on_the_run_that_was_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.report.write.draw", lambda results: [])
    made = build(store.folder, "running", ["mlp"], ["snip", "synflow"], [1, 2], [0, 1])
    client = MlflowClient(made.uri)
    experiment = client.get_experiment_by_name("running").experiment_id
    run_id = client.create_run(experiment, tags={"kind": "sweep"}).info.run_id
    write(made.uri, "running", run_id, tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "1 not run" in page
    assert [file.path for file in client.list_artifacts(run_id)] == ["report.html"]
    assert "1 not run" in client.get_run(run_id).data.tags[NOTE]


def test_nothing_finished_is_nothing_to_write(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ReportError):
        write(store.uri, "no such experiment", "", tmp_path / "report")
    assert not (tmp_path / "report").exists()


class Process:
    """Runs until it is told to end."""

    made: ClassVar[list[Process]] = []

    def __init__(self, command: list[str], **options: object) -> None:
        self.command, self.options, self.ended = command, options, threading.Event()
        Process.made.append(self)
        began.set()

    def wait(self) -> int:
        self.ended.wait(60)
        return 0

    terminate = property(lambda self: self.ended.set)


began = threading.Event()


def test_one_that_is_on_its_way_ends_with_the_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "Popen", Process)
    with InterimReports("http://me:secret@host", "mine", "run", tmp_path, every=0) as reports:
        assert began.wait(60)
    assert not reports.is_alive()
    (process,) = Process.made
    assert process.ended.is_set()
    assert process.command[1:] == ["-m", "orchestrator.running.interim_report", "mine", "run", str(tmp_path)]
    assert "secret" not in " ".join(process.command)
    assert process.options["start_new_session"]


def test_no_process_to_be_had_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried = threading.Event()

    def refused(*_: object, **__: object) -> None:
        tried.set()
        raise OSError("no memory")

    monkeypatch.setattr(subprocess, "Popen", refused)
    with InterimReports("sqlite:///nowhere", "mine", "run", tmp_path, every=0) as reports:
        assert tried.wait(60)
    assert not reports.is_alive()


def test_a_short_sweep_starts_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started"))
    with InterimReports("sqlite:///nowhere", "mine", "run", tmp_path):
        pass


def test_the_process_is_this_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = []
    monkeypatch.setattr(interim_report, "write", lambda *arguments: given.append(arguments))
    monkeypatch.setattr(interim_report.os, "nice", lambda by: by)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    interim_report.main(["mine", "run", str(tmp_path)])
    assert given == [("sqlite:///mine.db", "mine", "run", tmp_path)]
