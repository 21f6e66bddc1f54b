"""Whatever is killed, and whenever: the same command again ends with every trial finished, and the same numbers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness import OPEN, Nodes, Server, Sweep, until

pytestmark = pytest.mark.cluster

EPOCHS = 30
GRID = ("digits", "--set", "architecture=conv", "--set", "pruner=[random, snip]", "--set", "compression=[1, 4]")
GRID += ("--set", f"epochs={EPOCHS}", "--checkpoint-every", "0.5s")
TRIALS = 3
VICTIMS = ("node", "trial", "driver", "server")
MOMENTS = ("early", "saving", "late")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """What the plain executor computes, in one process, one trial after the other."""
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"), (*GRID, "--local"), EPOCHS)
    sweep.finish()
    return sweep.results(f"sqlite:///{sweep.folder / 'out' / 'mlflow.db'}", "digits")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder, f"sqlite:///{folder / 'mlflow.db'}")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        for key, value in OPEN.items():
            patch.setenv(key, value)
        nodes = Nodes(workers=2)
        yield nodes
        nodes.stop()


def moment(name: str, sweep: Sweep) -> tuple[Callable[[], bool], float]:
    """When to strike, and how often to look, in seconds: a checkpoint is written in a thousandth."""
    total = TRIALS * EPOCHS
    return {
        "early": (lambda: sweep.recorded() >= 1, 0.02),
        "saving": (sweep.saving, 0.0),
        "late": (lambda: sweep.recorded() >= total - 4, 0.02),
    }[name]


@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_is_lost_and_nothing_is_doubled(
    victim: str,
    when: str,
    tmp_path: Path,
    nodes: Nodes,
    server: Server,
    undisturbed: dict[str, dict[str, float]],
    record_property: Callable[[str, object], None],
) -> None:
    record_property("victim", victim)
    record_property("moment", when)
    experiment = f"{victim}-{when}"
    cluster = ("--address", nodes.address, "--tracking-uri", server.uri, "--experiment", experiment)
    sweep = Sweep(tmp_path, (*GRID, *cluster), EPOCHS)
    with sweep.running() as driver:
        come, pause = moment(when, sweep)
        until(lambda: driver.poll() is not None or come(), f"the moment '{when}'", 400, pause)
        assert driver.poll() is None, driver.communicate()[0]
        match victim:
            case "node":
                nodes.kill()
                record_property("again", sweep.unsaved())
                nodes.join()
            case "trial":
                for pid in nodes.trials():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                record_property("again", sweep.unsaved())
            case "driver":
                driver.kill()
                record_property("again", sweep.unsaved())
            case "server":
                server.kill()
                record_property("again", 0)
                until(
                    lambda: driver.poll() is not None or sweep.recorded() == TRIALS * EPOCHS, "trials go on without it"
                )
                server.start()
        driver.communicate(timeout=400)
    sweep.finish()
    assert sweep.results(server.uri, experiment) == undisturbed
    assert sweep.recorded() == TRIALS * EPOCHS  # an epoch before the last checkpoint is not even recorded twice
    assert not list(sweep.records.glob("*/.checkpoint.*"))  # nor is half a checkpoint left
