"""Three nodes of two GPUs, four trials on each GPU: twenty-four at once, and no slot ever waits for work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import ray
from harness import OPEN, Nodes

from orchestrator.environment import ALWAYS
from orchestrator.live.interrupt import Stop
from orchestrator.live.trial_sources import TrialList
from orchestrator.planning.resources import Resources
from orchestrator.ray_driver import run_on_ray, tune
from search_spaces import Trial
from tests.orchestrator.listener import Listener

pytestmark = pytest.mark.cluster
NODES, GPUS, SHARE = 3, 2, 0.25
SLOTS = int(NODES * GPUS / SHARE)
TRIALS = 3 * SLOTS
PATIENCE = 240.0  # seconds without any trial that begins: the first 24 wait for as many processes


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    for key, value in (ALWAYS | OPEN).items():  # as the command does
        monkeypatch.setenv(key, value)
    nodes = Nodes(workers=NODES, cpus=2, gpus=GPUS)
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.stop()


def test_all_slots_are_busy_until_the_queue_is_empty(nodes, tmp_path, monkeypatch):
    """No clock is asked: the first trial ends when all 24 slots are taken, the second when that of the first is taken
    again, and so on. Were one slot left empty, nothing would end any more.
    """

    # Made-up trials: real ones would want CUDA, and 24 processes with torch 12 GB. Nested, so that Ray sends the
    # function itself: of our code its processes import nothing.
    def made_up(point, book, *_):
        import time

        from ray import get_runtime_context, tune

        def begun():
            with open(book) as file:  # noqa: PTH123
                return [line.split()[0] for line in file]

        name = point["fingerprint"]
        node, (gpu,) = get_runtime_context().get_node_id(), get_runtime_context().get_accelerator_ids()["GPU"]
        with open(book, "a") as file:  # noqa: PTH123 - a short line in append mode: nobody else's comes between
            file.write(f"{name} {node} {gpu}\n")
        needed = min(begun().index(name) + SLOTS, TRIALS)
        there, since = 0, time.monotonic()
        while there < needed:
            time.sleep(0.05)
            if len(begun()) > there:
                there, since = len(begun()), time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                told = f"a slot stays empty when {there} have begun"
                return tune.report({"fingerprint": name, "end": "failed", "error": told, "epoch": 0})
        return tune.report({"fingerprint": name, "end": "finished", "error": "", "epoch": 0})

    monkeypatch.setattr(tune, "ray_trial", made_up)
    monkeypatch.setattr(tune, "is_up", lambda flag: False)
    trials = [Trial(dataset="digits", architecture="mlp", seed=seed) for seed in range(TRIALS)]
    book, listener = tmp_path / "begun", Listener()
    assert run_on_ray(TrialList(trials), book, Resources(SHARE, SHARE), listener, tmp_path / ".tune", Stop())
    assert listener.errors == {trial.fingerprint: None for trial in trials}

    begun = [line.split() for line in book.read_text().splitlines()]
    assert len({name for name, *_ in begun}) == len(begun) == TRIALS
    for last in range(SLOTS, TRIALS + 1):  # the 24 that ran when the last of them began
        gpus = Counter((node, gpu) for _, node, gpu in begun[last - SLOTS : last])
        assert list(gpus.values()) == [1 / SHARE] * NODES * GPUS
