"""Eight trials at once, tracked by `mlflow server` on PostgreSQL, each of the two killed while they run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import postgres
import pytest
from harness import Server, Sweep, until
from mlflow import MlflowClient
from postgres import Postgres
from sqlalchemy import inspect, text

from orchestrator.results.store import ReportError, connect
from orchestrator.results.store import database as reach
from orchestrator.running.execute import DONE, FAILED
from orchestrator.tracking.experiment import create, existing

pytestmark = [pytest.mark.cluster, postgres.installed]
TRIALS, EPOCHS = 8, 150
# A score of the user's own that is given when all trials are there: from then on they all train, on any machine.
MEET = """
import time
from pathlib import Path

def together(model, batches, *, mode, generator):
    Path("FOLDER", str(time.time_ns())).touch()
    deadline = time.monotonic() + 240
    while len(list(Path("FOLDER").iterdir())) < TRIALS:
        assert time.monotonic() < deadline, "not all trials run at once"
        time.sleep(0.05)
    return {name: p.detach().abs() for name, p in model.named_parameters() if p.dim() > 1}
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Postgres]:
    database = Postgres(tmp_path / "db")
    yield database
    database.stop()


@pytest.fixture
def server(tmp_path: Path, database: Postgres) -> Iterator[Server]:
    server = Server(tmp_path, database.uri)
    yield server
    server.kill()


def test_no_point_is_lost_or_doubled_when_both_are_killed(tmp_path, database, server):
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    file = tmp_path / "score.py"
    file.write_text(MEET.replace("FOLDER", str(meeting)).replace("TRIALS", str(TRIALS)))
    grid = ("digits", "--set", "architecture=mlp", "--set", f"pruner={file}:together", "--set", "compression=4")
    grid += ("--set", f"seed={list(range(TRIALS))}", "--set", f"epochs={EPOCHS}")
    sweep = Sweep(tmp_path, (*grid, "--cpus-per-trial", "0.25", "--tracking-uri", server.uri), EPOCHS)

    def more(epochs: int) -> None:
        """Trials go on, whatever is away; and there is something left that they could lose."""
        goal = sweep.recorded() + epochs
        until(lambda: driver.poll() is not None or sweep.recorded() >= goal, f"epoch {goal} of all trials together")
        assert driver.poll() is None, driver.communicate()[0]
        assert sweep.recorded() < TRIALS * EPOCHS

    client = MlflowClient(server.uri)

    def delivered() -> float:
        """The sum of the last epochs that MLflow knows."""
        found = client.get_experiment_by_name("digits")
        runs = client.search_runs([found.experiment_id], "tags.kind = 'trial'") if found else []
        key = "train/loss"
        histories = [client.get_metric_history(run.info.run_id, key) for run in runs if key in run.data.metrics]
        return sum(max(point.step for point in history) for history in histories)

    with sweep.running() as driver:
        more(TRIALS)
        assert len(list(meeting.iterdir())) == TRIALS
        database.kill()
        more(TRIALS)
        database.start()
        before = delivered()
        until(lambda: driver.poll() is not None or delivered() > before, "the server finds its database again")
        more(1)
        server.kill()
        more(TRIALS)
        server.start()
        out, _ = driver.communicate(timeout=400)
        assert driver.returncode in (DONE, FAILED), out  # FAILED: the server was away until the end
    sweep.finish()
    assert len(sweep.results(server.uri, "digits")) == TRIALS
    assert len(list(meeting.iterdir())) == TRIALS  # nothing began twice
    assert sweep.recorded() == TRIALS * EPOCHS


def test_a_look_at_an_empty_database_makes_no_tables(tmp_path, database):
    plain = database.uri.replace("+psycopg2", "")  # the driver that is installed is found
    assert existing(plain, "digits") is None
    with pytest.raises(ReportError, match="the database has no tables of MLflow yet"):
        connect(plain)
    with reach(plain) as connection:
        assert inspect(connection).get_table_names() == []
    book = create(plain, "digits", tmp_path / "artifacts")
    found = existing(plain, "digits")
    assert found is not None
    assert found.experiment_id == book.experiment_id
    with reach(plain) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0a8213491aaa'"))
        connection.commit()
    with pytest.raises(ReportError, match=r"written by another version of MLflow \(tables 0a8213491aaa"):
        connect(plain)
