"""Errors of MLflow, its databases and servers, as one line; and servers that answer late."""

from __future__ import annotations

import sqlite3
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import sqlalchemy
from mlflow.exceptions import MlflowException

from trainables.record import mlflow


def of_sqlalchemy(said):
    return sqlalchemy.exc.OperationalError("INSERT INTO runs VALUES (?)", ("secret",), sqlite3.OperationalError(said))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (of_sqlalchemy("database or disk is full"), "the disk is full"),
        (of_sqlalchemy("database is locked"), "database is locked"),
        (MlflowException(of_sqlalchemy("database or disk is full")), "the disk is full"),
        (
            MlflowException(f"(raised as a result of Query-invoked autoflush) {of_sqlalchemy('disk I/O error')}"),
            "disk I/O error",
        ),
        (ConnectionError("refused\n  and a traceback"), "refused"),
    ],
)
def test_a_reason_is_a_line_without_sql(error, reason):
    assert mlflow.reason_of(error) == reason


@pytest.fixture
def late_server():
    """A server whose answers come after a second and a half."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(1.5)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_answers_late_is_given_more_time(late_server, monkeypatch):
    monkeypatch.setenv(mlflow.TIMEOUT, "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    client = mlflow.upload_client(late_server)
    with pytest.raises(MlflowException) as late:
        client.set_tag("0" * 32, "a", "b")
    mlflow.allow_slow_answers(late.value)
    client.set_tag("0" * 32, "a", "b")


def test_a_server_that_is_away_is_not(monkeypatch):
    monkeypatch.setenv(mlflow.TIMEOUT, "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MlflowException) as away:
        mlflow.upload_client("http://127.0.0.1:9").set_tag("0" * 32, "a", "b")
    mlflow.allow_slow_answers(away.value)
    assert mlflow.os.environ[mlflow.TIMEOUT] == "1"
