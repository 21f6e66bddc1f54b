"""A server that is away when the report is to be written: waited for, unless the user leaves."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from orchestrator.running import wait_for_server
from orchestrator.running.wait_for_server import came_back

SERVER = "http://127.0.0.1:9"


@pytest.fixture
def answers(monkeypatch):
    """Let the server answer as a test says, look by look."""

    def set_to(*looks):
        left = iter(looks)

        def answer(uri):
            look = next(left)
            if isinstance(look, BaseException):
                raise look
            return look

        monkeypatch.setattr(wait_for_server, "is_answering", answer)
        monkeypatch.setattr(wait_for_server, "LOOK_SECONDS", 0)

    return set_to


@pytest.mark.parametrize(
    ("looks", "back", "told"),
    [
        ((False, False, True), True, True),
        ((True,), False, False),  # it was not the server that failed
        ((False, KeyboardInterrupt()), False, True),
    ],
)
def test_it_is_waited_for_until_it_answers_or_the_user_leaves(answers, looks, back, told):
    answers(*looks)
    screen = StringIO()
    assert came_back(SERVER, 600, Console(file=screen, width=200)) is back
    assert ("waiting up to 10 min for it. Ctrl-C leaves" in screen.getvalue()) is told


def test_after_that_time_nobody_waits(answers):
    answers(False)
    assert not came_back(SERVER, 0, Console(file=StringIO()))


def test_a_file_is_not_waited_for(answers):
    answers()
    assert not came_back("sqlite:///mlflow.db", 600, Console(file=StringIO()))
