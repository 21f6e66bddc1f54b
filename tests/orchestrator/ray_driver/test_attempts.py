"""Whose death counts."""

from __future__ import annotations

import pytest

from orchestrator.ray_driver.trial_queue import Attempts


@pytest.fixture
def attempts(monkeypatch):
    monkeypatch.setattr("orchestrator.ray_driver.trial_queue.answers", lambda node: node != "gone")
    return Attempts(1, {})


def test_deaths_on_nodes_that_are_there_count(attempts):
    assert [attempts.died("t", node) for node in ("a", "gone", "b", "")] == [1, 1, 2, 3]


def test_workers_lost_with_one_of_their_nodes_do_not_count(attempts):
    assert [attempts.died("t", nodes) for nodes in ("a,gone", "gone", "a,b")] == [0, 0, 1]


def test_the_death_of_one_trial_is_not_that_of_another(attempts):
    attempts.died("t", "a")
    assert attempts.died("other", "gone") == 0
