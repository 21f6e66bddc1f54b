"""Databases that cannot be used are one line within seconds, and are asked once."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from threading import Thread

import pytest

from orchestrator.results import store
from orchestrator.results.store import ReportError, connect, database
from orchestrator.running.resume_studies import require_storage
from orchestrator.sweep import main
from search_spaces import SpaceError
from trainables.record import mlflow

WRONG_PASSWORD = b'SFATAL\0C28P01\0Mpassword authentication failed for user "ann"\0\0'


@contextmanager
def listening(answer: bytes | None):
    """A port that answers the first message of each connection, or stays silent; yields it and the connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted = []

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                accepted.append(connection)
                if answer is not None:
                    connection.recv(1024)
                    connection.sendall(b"E" + (len(answer) + 4).to_bytes(4, "big") + answer)
                    connection.close()

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], accepted
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("command", [[], ["--dry-run"]])
def test_a_wrong_password_is_one_line_and_not_tried_again(command, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with listening(WRONG_PASSWORD) as (port, accepted):
        url = f"postgresql://ann:secret@127.0.0.1:{port}/runs?sslmode=disable&gssencmode=disable"
        assert main(["digits", "--local", "--set", "architecture=mlp", "--tracking-uri", url, *command]) == 2
    out, err = capfd.readouterr()
    assert 'password authentication failed for user "ann"' in err
    assert len(err.strip().splitlines()) == 1
    assert "secret" not in out + err
    assert len(accepted) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["127.0.0.1:9", "no-such.host"])
def test_a_host_that_is_not_there_is_one_line(place):
    url = f"postgresql://ann:secret@{place}/runs"
    with pytest.raises(ReportError) as refused:
        connect(url)
    with pytest.raises(SpaceError) as storage_refused:
        require_storage(url)
    said = str(refused.value), str(storage_refused.value)
    assert said[0].startswith(f"tracking store: postgresql://{place}/runs: ")
    assert said[1].startswith(f"search: storage: 'postgresql://{place}/runs' cannot be used (")
    assert not any("secret" in text or "\n" in text for text in said)


def test_a_database_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(store, "CONNECT_SECONDS", 2)  # the least that its driver takes
    with (
        listening(None) as (port, accepted),
        pytest.raises(ConnectionError, match="timeout expired"),
        database(f"postgresql://127.0.0.1:{port}/runs"),
    ):
        pytest.fail("it was reached")
    assert len(accepted) == 1


@pytest.mark.parametrize(
    ("url", "installed", "used"),
    [
        ("postgresql://h/db", {"psycopg2", "psycopg"}, "postgresql+psycopg2://h/db"),
        ("postgresql://h/db", {"psycopg"}, "postgresql+psycopg://h/db"),
        ("postgresql://h/db", set(), "postgresql+psycopg2://h/db"),
        ("postgresql+psycopg://h/db", {"psycopg2"}, "postgresql+psycopg://h/db"),
        ("mysql://h/db", {"pymysql"}, "mysql+pymysql://h/db"),
        ("sqlite:///x.db", set(), "sqlite:///x.db"),
    ],
)
def test_the_driver_that_is_installed_is_used(url, installed, used, monkeypatch):
    monkeypatch.setattr(mlflow, "find_spec", lambda module: module in installed or None)
    assert mlflow.with_driver(url) == used


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("mysql://h/db", "its driver mysqldb is not installed; run: pip install mysqlclient"),
        ("mssql+pyodbc://h/db", "its driver pyodbc is not installed; run: pip install pyodbc"),
        ("postgresql+psycopg://h/db", r"its driver psycopg is not installed; run: pip install psycopg\[binary\]"),
    ],
)
def test_a_driver_that_is_missing_is_named(url, advice):
    with pytest.raises(ConnectionError, match=advice), database(url):
        pytest.fail("it was reached")
