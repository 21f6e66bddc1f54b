"""Connections to an MLflow store: checks of its address, bulk search of runs, and errors as one line."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces import SpaceError
from trainables.record import mlflow
from trainables.record.files import create_database

if TYPE_CHECKING:  # mlflow takes a second to import: only code that reads or writes it pays for that
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from sqlalchemy import Connection

WEB = ("http://", "https://")
LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
CONNECT_SECONDS = 5  # wait for a database; MLflow tries ten times, for 102 seconds
PACKAGES = {  # by the driver that they hold
    "psycopg2": "psycopg2-binary",
    "psycopg": "psycopg[binary]",
    "mysqldb": "mysqlclient",
    "pymysql": "pymysql",
}
PAGE = 250  # runs per answer: a busy server needs seconds for 1000, and the client times out after 10 seconds
NO_SUCH_RUN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the second: no run can have such an id


class ReportError(ValueError):
    """Error that prevents a report: one sentence that says what is missing and what there is."""


def require_answer(tracking_uri: str) -> None:
    """Check that a tracking store answers or has a valid address, without creating it.

    Raises:
        SpaceError: in one sentence.
    """
    if tracking_uri.startswith(WEB):
        try:
            with urllib.request.urlopen(f"{tracking_uri.rstrip('/')}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
                reason = f"HTTP {answer.status}"
        except (OSError, ValueError, HTTPException) as error:
            cause = getattr(error, "reason", error)
            reason = getattr(cause, "strerror", None) or str(cause)
        trouble = _error_of_mlflow(tracking_uri)
        if trouble is None:
            return
        if mlflow.http_status(trouble) == HTTPStatus.UNAUTHORIZED:
            raise SpaceError(f"tracking server: {public(tracking_uri)} does not accept the login; {LOGIN}")
        raise SpaceError(f"tracking server: {public(tracking_uri)} does not answer ({reason})")
    scheme, _, rest = tracking_uri.partition("://")
    if scheme.partition("+")[0] not in ("sqlite", "postgresql", "mysql", "mssql") or not rest.strip("/"):
        raise SpaceError(
            f"--tracking-uri: '{public(tracking_uri)}' is not a tracking store; give http://HOST:PORT or sqlite:///FILE"
        )
    if scheme != "sqlite":
        _schema(tracking_uri)


def is_empty(tracking_uri: str) -> bool:
    """Return True if the store is a database that MLflow has not written to, or a SQLite file that is missing.

    MLflow's client would create its tables there.

    Raises:
        SpaceError: if the database does not answer.
    """
    if (file := sqlite_file(tracking_uri)) is not None:
        return not file.exists()
    return not tracking_uri.startswith(WEB) and not _schema(tracking_uri)


def _schema(tracking_uri: str) -> str:
    """Return the version of MLflow's tables in a database; "" if it has none. Writes nothing.

    Raises:
        SpaceError: in one sentence, if the database cannot be used.
    """
    from sqlalchemy import inspect, text

    try:
        with database(tracking_uri) as connection:
            if not inspect(connection).has_table("alembic_version"):
                return ""
            return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")
    except ConnectionError as error:
        raise SpaceError(f"tracking store: {public(tracking_uri)}: {error}") from None


@contextmanager
def database(url: str) -> Iterator[Connection]:
    """Connect to a database, once and without retries, and yield the connection.

    Raises:
        ConnectionError: in one line, if its driver is missing, it does not answer in time, or it rejects us.
    """
    mlflow.set_environment()
    from mlflow.store.db.utils import create_sqlalchemy_engine  # with the certificates that MLflow is told of
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    driver = ""
    try:
        address = make_url(mlflow.with_driver(url))
        driver = address.get_dialect().driver
        address.get_dialect().import_dbapi()
        if driver in PACKAGES and "connect_timeout" not in address.query:
            address = address.update_query_dict({"connect_timeout": str(CONNECT_SECONDS)})
        engine = create_sqlalchemy_engine(address.render_as_string(hide_password=False))  # type: ignore[no-untyped-call]
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()
    except ModuleNotFoundError:
        package = PACKAGES.get(driver, driver)
        raise ConnectionError(f"its driver {driver} is not installed; run: pip install {package}") from None
    except SQLAlchemyError as error:  # of the driver's own words the first line, without SQLAlchemy's advice
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise ConnectionError(public(reason)[:300]) from None


def _error_of_mlflow(tracking_uri: str) -> Exception | None:
    """Return the error of MLflow's own client, which knows logins, certificates, proxies and prefixes; None if none."""
    mlflow.set_environment()
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
    from mlflow.exceptions import MlflowException

    once = {MLFLOW_HTTP_REQUEST_MAX_RETRIES.name: "0", MLFLOW_HTTP_REQUEST_TIMEOUT.name: "5"}
    before = {name: os.environ.get(name) for name in once}
    os.environ.update(once)
    try:
        mlflow.upload_client(tracking_uri).search_experiments(max_results=1)
    except MlflowException as error:
        return error
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return None


def require_name(experiment: str) -> None:
    """Reject experiment names that MLflow or a terminal cannot handle.

    Raises:
        SpaceError: in one sentence.
    """
    if not experiment.strip() or not experiment.isprintable() or len(experiment) > 200:
        raise SpaceError(f"experiment: {experiment[:60]!r} is not a name; it must be 1 to 200 printable characters")


@contextmanager
def store_errors(tracking_uri: str) -> Iterator[None]:
    """Turn every error while a store is opened into a SpaceError of one line.

    The errors are MLflow's own, those of its database driver, and a missing driver.
    """
    try:
        yield
    except SpaceError:
        raise
    except Exception as error:  # noqa: BLE001 - many kinds, all meaning that the store does not open
        raise SpaceError(f"tracking store: {public(tracking_uri)}: {public_reason(error)}") from None


def connect(tracking_uri: str) -> MlflowClient:
    """Return a client for a store that exists; opening a missing one would create it.

    Raises:
        ReportError: if the URI names no MLflow store.
    """
    path = sqlite_file(tracking_uri)
    if path is not None:
        if not path.is_file():
            raise ReportError(f"tracking URI {tracking_uri}: there is no file '{path}'")
        try:
            schema = _schema_of_file(path)
        except sqlite3.Error as error:
            raise ReportError(f"tracking URI {tracking_uri}: '{path}' {_trouble(path, error)}") from None
        _require_current(tracking_uri, schema)
    else:
        try:
            require_answer(tracking_uri)  # MLflow retries a server that does not answer for 20 seconds
            schema = "" if tracking_uri.startswith(WEB) else _schema(tracking_uri)
        except SpaceError as error:
            raise ReportError(str(error)) from None
        if not tracking_uri.startswith(WEB):
            if not schema:
                raise ReportError(f"tracking URI {public(tracking_uri)}: the database has no tables of MLflow yet")
            _require_current(tracking_uri, schema)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with mlflow_errors():
        return mlflow.upload_client(tracking_uri)


def _schema_of_file(path: Path) -> str:
    """Return the version of MLflow's tables in a SQLite file. Writes nothing, unless a killed process left it halfway.

    Raises:
        sqlite3.Error: if it is locked, or not a store.
    """
    for mode in ("ro", "rw"):
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True)) as opened:
                opened.execute("SELECT 1 FROM experiments LIMIT 1")
                found = opened.execute("SELECT version_num FROM alembic_version").fetchone()
                return str(found[0]) if found else ""
        except sqlite3.OperationalError as error:
            # SQLite takes back what a killed process had half written, which only a connection that may write can do.
            if mode == "rw" or "readonly" not in str(error):
                raise
    raise AssertionError("unreachable")


def create_store(tracking_uri: str) -> None:
    """Create the tables of a SQLite store that is missing. A process that is killed meanwhile leaves no half of it."""
    path = sqlite_file(tracking_uri)
    if path is None:
        return
    mlflow.set_environment()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # MLflow's client would name the current folder as the place of its default experiment, in SQL that fails if that
    # holds a quote.
    artifacts = (path.resolve().parent / "artifacts").as_uri()
    create_database(path, lambda new: SqlAlchemyStore(new, artifacts)._dispose_engine())  # type: ignore[no-untyped-call]


def _require_current(tracking_uri: str, schema: str) -> None:
    """Raise ReportError unless a store has the tables of this MLflow, which may change others without asking."""
    mlflow.set_environment()
    from mlflow.store.db.utils import _get_latest_schema_revision

    if schema != (expected := _get_latest_schema_revision()):  # type: ignore[no-untyped-call]
        raise ReportError(
            f"tracking URI {public(tracking_uri)}: written by another version of MLflow (tables "
            f"{schema or 'unknown'}, expected {expected}); make a copy, then run: mlflow db upgrade "
            f"{public(tracking_uri)}"
        )


def _trouble(path: Path, error: sqlite3.Error) -> str:
    """Return what is wrong with a SQLite file, as the end of a sentence about it."""
    if "locked" in str(error):
        return "is locked by another program; try again when that is done"
    if not os.access(path, os.R_OK):
        return "cannot be read by this user"
    if isinstance(error, sqlite3.OperationalError) and "no such table" not in str(error):
        return f"cannot be read ({error})"
    return "is not an MLflow database"


def run_of(client: MlflowClient, run_id: str) -> Run | None:
    """Return the run with that id, deleted runs included; None if the store has none."""
    from mlflow.exceptions import MlflowException

    try:
        with mlflow_errors():
            return client.get_run(run_id)
    except ReportError as error:
        cause = error.__cause__
        if isinstance(cause, MlflowException) and cause.error_code in NO_SUCH_RUN:
            return None
        raise


def runs(client: MlflowClient, experiment_id: str, query: str) -> Iterator[Run]:
    """Yield all runs of an experiment for which `query` holds, newest first, page by page."""
    token = None
    while True:
        page = client.search_runs([experiment_id], query, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def sqlite_file(tracking_uri: str) -> Path | None:
    """Return the file behind a SQLite URI, or None for any other URI."""
    return Path(tracking_uri.partition("///")[2].partition("?")[0]) if tracking_uri.startswith("sqlite:") else None


# The part of an address before its host. A password for a web server cannot contain a slash. One for a database may
# contain anything but @; in a command line it ends before the next option.
_LOGINS = (
    re.compile(r"(https?://)[^/\s'\"]*@"),
    re.compile(r"((?!https?:)\b[\w+.-]+://)(?:[^:/@\s'\"]*:(?:(?! --)[^@'\"])*|[^/@\s'\"]+)@"),
)
_SECRETS = re.compile(
    r"([?&](?:[\w-]*(?:password|passwd|pwd|token|secret)[\w-]*|(?:[\w-]*(?:api|access|account|private)[\w-]*)?key)=)"
    r"[^&\s'\"]*",  # not every key: MLflow's viewStateShareKey names a view
    re.IGNORECASE,
)


def public(text: str) -> str:
    """Return the text without the passwords of URIs: pages, tags and terminals are shown to others."""
    for login in (*_LOGINS, *_LOGINS):  # twice, because a password may contain an @ by mistake
        text = login.sub(r"\1", text)
    return _SECRETS.sub(r"\1***", text)


def public_reason(error: BaseException) -> str:
    """Return why a store or a server refused, in one line of at most 300 characters, without SQL and passwords."""
    return public(mlflow.reason_of(error))[:300]


def sqlite_uri(file: Path) -> str:
    """Return the address of a SQLite file.

    Raises:
        SpaceError: if no address can hold the path: ? would begin the options of the address, %20 would become a space.
    """
    path = str(file.resolve())
    if found := re.search(r"\?|%[0-9A-Fa-f]{2}", path):
        raise SpaceError(
            f"--output: '{file.parent}' contains '{found[0]}', which is not allowed in a database's address; rename it"
        )
    return f"sqlite:///{path}"


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """Turn MLflow's errors into a ReportError of one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise ReportError(f"MLflow: {public_reason(error)}") from error
