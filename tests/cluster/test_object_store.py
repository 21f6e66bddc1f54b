"""An object store in place of a shared folder: a node is lost, and what it had pushed is gone on from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import OPEN, Nodes, Server, Sweep, until

from tests.trainables.s3 import s3
from trainables.record.object_store import Bucket

pytestmark = pytest.mark.cluster
TRIALS, EPOCHS = 3, 60
GRID = ("digits", "--set", "architecture=conv", "--set", "pruner=random", "--set", "compression=[1, 4, 8]")
GRID += ("--set", f"epochs={EPOCHS}", "--checkpoint-every", "0.5s")


def test_a_lost_node_costs_only_what_it_had_not_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in OPEN.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "alone").mkdir()
    alone = Sweep(tmp_path / "alone", (*GRID, "--local"), EPOCHS)
    alone.finish()
    with s3() as bucket:
        nodes, server = Nodes(workers=2, cpus=1), Server(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")
        try:
            cluster = ("--address", nodes.address, "--tracking-uri", server.uri, "--storage", bucket)
            sweep = Sweep(tmp_path, (*GRID, *cluster), EPOCHS)
            with sweep.running() as driver:
                until(lambda: driver.poll() is not None or sweep.recorded() > 2, "two trials run, and have pushed")
                assert driver.poll() is None, driver.communicate()[0]
                nodes.kill()
                out, _ = driver.communicate(timeout=400)
            assert driver.returncode == 0, out  # the other node did it all
            results = sweep.results(server.uri, "digits")
        finally:
            server.kill()
            nodes.stop()
        assert results == alone.results(f"sqlite:///{alone.folder / 'out' / 'mlflow.db'}", "digits")
        assert sweep.recorded() == TRIALS * EPOCHS
        stored = Bucket(bucket).trials()
        assert sorted(stored) == sorted(results)
        assert {len(attempts) for attempts in stored.values()} == {1}  # what a lost attempt left is swept up
    assert not list((tmp_path / "out" / ".scratch").glob("*/outbox.jsonl"))  # and so is the nodes' disk
