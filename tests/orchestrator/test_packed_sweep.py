"""`--pack`: several trials in one process, through the whole command."""

from __future__ import annotations

import os

import pytest
from listener import Listener

from orchestrator.costs.resources import AS_MANY, Resources, spread
from orchestrator.execution.local import run_here
from orchestrator.live.sources import Listed
from orchestrator.live.stopping import Stop
from orchestrator.sweep import main
from search_spaces import Trial
from trainables.outbox import ended
from trainables.place import Place


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pack", "0"], "--pack: 0 is not allowed; it must be auto or a whole number from 1"),
        (["--pack", "many"], "--pack: 'many' is not allowed; it must be auto or a whole number from 1"),
        (["--pack", "2", "--gpus-per-trial", "2"], "--pack: 2 is for trials of one worker, and 2 are asked for"),
        (["--pack", "4", "--gpus-per-trial", "0.5"], "leave --gpus-per-trial out, or give at most 0.25"),
        (["--pack", "4", "--max-concurrent", "2"], "--pack: 4 in one process are more than --max-concurrent 2"),
        (["--pack", "2", "--cpus-per-trial", f"{os.cpu_count()}"], "asked for in one process, but no node has more"),
    ],
)
def test_what_cannot_be_packed_is_refused_in_one_line(arguments, said, tmp_path, capsys):
    assert main(["digits", "--output", str(tmp_path / "out"), *arguments]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_auto_leaves_no_gpu_idle():
    assert spread(Resources(gpus=1, pack=AS_MANY, auto=True), 12, [{"GPU": 2}, {"GPU": 2}]).pack == 3
    assert spread(Resources(gpus=1, pack=AS_MANY, auto=True, max_concurrent=4), 100, [{"GPU": 4}]).pack == 1
    assert spread(Resources(), 12, [{"CPU": 2}]).pack == 1


def test_a_packed_sweep_here(tmp_path):
    """Without Ray: a trial that fails among others, and the place of each that ends is taken."""
    broken = {"pruner": "own.py:broken", "code": "def broken(model, batches, **_): raise KeyError(1)"}
    more = ({"pruner": "random"}, broken, {"pruner": "snip"}, broken | {"seed": 1}, {"pruner": "grasp"})
    trials = [Trial(dataset="digits", architecture="mlp", compression=4, epochs=1, **fields) for fields in more]
    watch, place = Listener(), Place(tmp_path / "checkpoints", tmp_path / "data")
    assert run_here(Listed(trials), place, watch, Stop(), 2)
    failed = {trial.fingerprint for trial in trials if trial.code}
    assert watch.over == {trial.fingerprint for trial in trials}
    assert {fingerprint for fingerprint, error in watch.errors.items() if error == "KeyError: 1"} == failed
    assert all(ended(place.storage / name) == ("failed" if name in failed else "finished") for name in watch.over)


def test_the_plan_says_how_many_are_packed(tmp_path, capsys):
    more = ["--local", "--pack", "3", "--cpus-per-trial", "0.25", "--dry-run"]
    assert main(["digits", "--output", str(tmp_path / "out"), *more]) == 0
    assert "0.25 CPUs and no GPU, up to 3 in one process" in capsys.readouterr().out
