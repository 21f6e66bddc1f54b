"""Ending early: a time budget, Ctrl-C once and twice, with the plain executor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from queue import Queue

import pytest
from test_sweep_local import trial_runs

from orchestrator.live.interrupt import Stop, length, on_signals, sigterm_as_ctrl_c
from orchestrator.sweep import main
from search_spaces import SpaceError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("2h30m", 9000), ("1d", 86400), ("1.5h", 5400), ("1h1m1s", 3661), ("0.5", 0.5)]
)
def test_lengths_of_time(text, seconds):
    assert length(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "2h30", "h", "-5", "5x", "0", "0h", "2 h", "1e3"])
def test_what_is_no_length_of_time(text):
    with pytest.raises(SpaceError, match=r"--time-budget: '.*' is not a duration; give seconds, or a duration such as"):
        length(text)


def test_without_a_reason_it_goes_on():
    stop = Stop()
    assert not stop()
    assert not stop.impatient


def test_a_budget_waits_for_epochs_and_an_interruption_not_for_ever():
    stop = Stop(budget=0)
    assert stop()
    assert stop.reason == "The time budget is used up."
    assert not stop.impatient
    stop.request("Interrupted.", grace=0)
    assert stop()
    assert stop.impatient


def test_the_first_signal_asks():
    stop, before, said = Stop(), signal.getsignal(signal.SIGINT), Queue[str]()
    with on_signals(stop, said.put):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.reason == "Interrupted."
    assert "Ctrl-C again" in said.get(timeout=60)  # else people wait without knowing for what
    assert signal.getsignal(signal.SIGINT) is before


def test_what_a_kill_must_not_prevent_is_done_at_once_and_before_the_block_ends():
    done = []
    with on_signals(Stop(), len, lambda: done.append("marked")):
        os.kill(os.getpid(), signal.SIGTERM)
    assert done == ["marked"]
    with on_signals(Stop(), len, lambda: done.append("again")):
        pass
    assert done == ["marked"]


def test_sigterm_ends_what_is_open_as_ctrl_c_does():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_second_signal_ends_the_program():
    program = (
        "import os, signal; from orchestrator.live.interrupt import Stop, on_signals\n"
        "with on_signals(Stop(), len):\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('still there')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")


@pytest.mark.slow
def test_after_the_budget_the_same_command_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    grid = ["digits", "--local", "--set", "architecture=mlp", "--set", "epochs=3", "--set", "pruner=snip"]
    grid += ["--set", "compression=[1, 4]"]
    assert main([*grid, "--time-budget", "0.000001"]) == 130
    out = capsys.readouterr().out
    assert "The time budget is used up. The same command continues where this one stopped." in out
    assert "0 of 2 trials finished, 2 not done" in out
    assert main([*grid, "--time-budget", "1d"]) == 0
    assert {run.info.status for run in trial_runs()[1]} == {"FINISHED"}
