"""What the driver makes of a trial that it finds in other hands: it waits or leaves it, and tells no failure."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from listener import Listener

from orchestrator.driver.attempts import Attempts
from orchestrator.driver.handing import Handing
from orchestrator.driver.telling import TellWatch
from orchestrator.resources import Resources
from orchestrator.sources import Listed
from orchestrator.stopping import Stop
from search_spaces import Trial

TRIALS = [Trial(dataset="digits", architecture="mlp", seed=seed) for seed in range(3)]


@pytest.fixture
def driver():
    watch, stop = Listener(), Stop()
    handing = Handing(Listed(TRIALS), stop)
    assert handing.begin()
    return handing, watch, TellWatch(watch, handing, stop, None, Attempts(0, {}), Resources())


def end(driver, trial, how):
    """Tune says that a trial has returned."""
    _, watch, tell = driver
    watch.started(trial.fingerprint)
    point = {"fingerprint": trial.fingerprint}
    result = {"end": how, "error": "another process computes it", "epoch": 0}
    tell.on_trial_complete(1, [], SimpleNamespace(config={"point": point}, last_result=result))


def test_one_that_another_process_computes_comes_again_when_nothing_else_is_left(driver):
    handing, watch, _ = driver
    busy = handing.next(1)
    end(driver, busy, "elsewhere")
    others = [handing.next(1), handing.next(1)]
    assert others == TRIALS[1:]
    for _ in range(2):
        assert handing.next(1) == busy
        assert handing.next(1) is None
        end(driver, busy, "elsewhere")
    assert watch.notices == [f"{busy.fingerprint}: another process computes it"]  # once
    for trial in (*others, handing.next(1)):
        assert not handing.over
        end(driver, trial, "finished")
    assert handing.over
    assert watch.errors == {trial.fingerprint: None for trial in TRIALS}


def test_one_that_was_taken_over_is_left_and_has_not_failed(driver):
    handing, watch, _ = driver
    taken = handing.next(1)
    end(driver, taken, "superseded")
    assert watch.errors == {taken.fingerprint: None}
    assert len(watch.notices) == 1
    assert [handing.next(1) for _ in range(3)] == [*TRIALS[1:], None]
