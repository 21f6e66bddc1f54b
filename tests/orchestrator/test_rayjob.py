"""A sweep as a RayJob: it waits for MLflow, and its exit code says whether another cluster could change something."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from orchestrator import rayjob, sweep
from orchestrator.running import wait_for_server


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server():
    """A server that is not started: nobody listens at its address yet."""
    server = HTTPServer(("127.0.0.1", 0), _Health, bind_and_activate=False)
    server.server_bind()  # so that nobody else gets its port meanwhile
    yield server
    server.server_close()


def start(server: HTTPServer) -> Thread:
    server.server_activate()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    return thread


@pytest.mark.parametrize(("code", "job"), [(0, 0), (1, 0), (2, 0), (130, 130), (143, 143)])
def test_a_failed_trial_or_a_wrong_command_starts_no_other_cluster(code, job, monkeypatch):
    monkeypatch.setattr(sweep, "main", lambda words: code)
    assert rayjob.main(["digits"]) == job


def test_what_is_rejected_is_said_and_done(tmp_path, capsys):
    assert rayjob.main(["no-such-space", "--output", str(tmp_path)]) == 0
    assert "no-such-space" in capsys.readouterr().err
    assert rayjob.main(["digits", "--no-such-option"]) == 0
    assert "--no-such-option" in capsys.readouterr().err


def test_it_waits_for_a_server_that_is_starting(server, monkeypatch, capsys):
    threads: list[Thread] = []
    told: list[str] = []

    def second_look(seconds: float) -> None:
        if not threads:
            told.append(capsys.readouterr().out)
            threads.append(start(server))

    monkeypatch.setattr(wait_for_server.time, "sleep", second_look)
    monkeypatch.setattr(sweep, "main", lambda words: 1)
    assert rayjob.main(["digits", "--tracking-uri", f"http://127.0.0.1:{server.server_port}"]) == 0
    assert told == ["MLflow does not answer yet; waiting up to 10 min for it\n"]
    server.shutdown()
    threads[0].join()


@pytest.mark.parametrize("code", [1, 2])
def test_while_the_server_is_away_another_cluster_may_change_something(server, code, monkeypatch):
    monkeypatch.setattr(rayjob, "START_SECONDS", 0.0)
    monkeypatch.setattr(sweep, "main", lambda words: code)
    assert rayjob.main(["digits", "--tracking-uri", f"http://127.0.0.1:{server.server_port}"]) == code
