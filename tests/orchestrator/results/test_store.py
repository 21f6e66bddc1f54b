"""Addresses of stores: no password is shown, and whatever is wrong with a file is said as it is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from orchestrator.results.store import ReportError, connect, create_store, public, require_answer, sqlite_uri
from orchestrator.sweep import main
from search_spaces import SpaceError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg2://u:pa/ss@h/db", "postgresql+psycopg2://h/db"),
        ("postgresql+psycopg2://u:pa ss@h/db", "postgresql+psycopg2://h/db"),
        ("postgresql://u:p@ss@h:5432/db", "postgresql://h:5432/db"),
        ("postgresql://:pw@h/db", "postgresql://h/db"),
        ("mysql+pymysql://u@h/db?password=hunter2", "mysql+pymysql://h/db?password=***"),
        ("mssql+pyodbc://u:p%40@h/db?driver=ODBC&Password=zz&x=1", "mssql+pyodbc://h/db?driver=ODBC&Password=***&x=1"),
        ("http://ann:p@ss@h:5000", "http://h:5000"),
        ("https://token@h", "https://h"),
        ("https://h/x?key=zz&api_key=zz&AccountKey=z&page=1", "https://h/x?key=***&api_key=***&AccountKey=***&page=1"),
        ("a --tracking-uri 'postgresql://u:pa ss@h/db' --open", "a --tracking-uri 'postgresql://h/db' --open"),
        (
            "cannot reach postgresql://u:12/34@h/db (postgresql://u:12/34@h)",
            "cannot reach postgresql://h/db (postgresql://h)",
        ),
    ],
)
def test_passwords_are_not_shown(text, shown):
    assert public(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "digits --tracking-uri http://h:5000 --set architecture=a@b",
        "x --tracking-uri postgresql://h:5432/db --set pruner=b@c",
        "s3://bucket/me@lab/x",
        "sqlite:////home/me@lab/results/mlflow.db",
        "https://h/a@b",
        "http://h:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=pruning-sweep",
    ],
)
def test_what_is_no_password_stays(text):
    assert public(text) == text


@pytest.mark.parametrize("name", ["w?b", "a%20b"])
def test_a_folder_that_no_address_can_hold_is_refused(name, tmp_path):
    with pytest.raises(SpaceError, match=r"--output: '.*' contains '(\?|%20)', which is not allowed"):
        sqlite_uri(tmp_path / name / "mlflow.db")


@pytest.mark.parametrize("name", ["a b", "größe", "p%q", "x#y", "quote'd"])
def test_other_folders_hold_their_store(name, tmp_path):
    from mlflow import MlflowClient

    (tmp_path / name).mkdir()
    MlflowClient(sqlite_uri(tmp_path / name / "mlflow.db")).search_experiments()
    assert [path.name for path in tmp_path.rglob("*.db")] == ["mlflow.db"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_locked_store_is_said_to_be_locked(tmp_path, monkeypatch):
    file = tmp_path / "mlflow.db"
    real = sqlite3.connect
    held = real(file, isolation_level=None)
    held.execute("CREATE TABLE experiments (id)")
    held.execute("CREATE TABLE alembic_version (version_num)")
    held.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **k, timeout=0.01))
    with pytest.raises(ReportError, match="is locked by another program"):
        connect(f"sqlite:///{file}")
    held.close()


@pytest.mark.parametrize("command", [["--dry-run"], []])
def test_a_store_of_another_mlflow_is_refused_and_left_alone(command, tmp_path, capsys):
    from mlflow import MlflowClient

    file = tmp_path / "mlflow.db"
    MlflowClient(sqlite_uri(file)).search_experiments()
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = '0a8213491aaa'")
        database.execute("DROP TABLE webhooks")
    before = file.read_bytes()
    assert main(["digits", "--local", "--output", str(tmp_path), *command]) == 2
    assert "written by another version of MLflow (tables 0a8213491aaa, expected " in capsys.readouterr().err
    with pytest.raises(ReportError, match="mlflow db upgrade sqlite"):
        connect(sqlite_uri(file))
    assert file.read_bytes() == before


def test_another_file_is_no_store(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to have a header" * 20)
    with pytest.raises(ReportError, match="is not an MLflow database"):
        connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    sqlite3.connect(tmp_path / "empty.db").close()
    (tmp_path / "empty.db").touch()
    with pytest.raises(ReportError, match="is not an MLflow database"):
        connect(f"sqlite:///{tmp_path / 'empty.db'}")


class Guarded(BaseHTTPRequestHandler):
    """An MLflow server that answers ann alone, whose password is pw."""

    def do_GET(self):
        allowed = self.headers.get("Authorization") == f"Basic {b64encode(b'ann:pw').decode()}"
        body = b'{"experiments": []}' if allowed else b""
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server asks for

    def log_message(self, *_):
        """Print nothing."""


def test_a_server_that_asks_for_a_login_is_reached_with_one_and_only_then(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        require_answer(f"http://ann:pw@{address}")
        with pytest.raises(SpaceError, match="does not accept the login; set MLFLOW_TRACKING_USERNAME and"):
            require_answer(f"http://{address}")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pw")
        require_answer(f"http://{address}")
        server.shutdown()


def test_a_store_that_was_left_in_the_middle_of_a_write_is_read(tmp_path):
    """A killed process leaves a journal, which only those who may write can take back."""
    from mlflow import MlflowClient

    file = tmp_path / "mlflow.db"
    create_store(sqlite_uri(file))
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    writer = (
        "import os, sqlite3, sys; database = sqlite3.connect(sys.argv[1]); database.execute('PRAGMA cache_size = 1');"
        "database.execute('UPDATE experiments SET name = name');"
        "database.executemany('INSERT INTO tags VALUES (?, ?, ?)', [(str(n), 'x' * 500, 'r') for n in range(2000)]);"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", writer, file], check=True)
    assert (tmp_path / "mlflow.db-journal").exists()
    assert connect(sqlite_uri(file)).get_experiment("0").name == "Default"
    assert MlflowClient(sqlite_uri(file)).search_runs(["0"]) == []
