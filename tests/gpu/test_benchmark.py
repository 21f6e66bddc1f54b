"""The benchmark of a GPU, run small on pretended ones."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.gpu
COMMAND = [sys.executable, "-m", "benchmarks.gpu", "--small"]


def verdicts(table: str) -> dict[str, str]:
    """Return the verdict of each row by its name, without what is told before and after the table."""
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert rows[0] == ["check", "verdict", "figures"]
    return {name: verdict for name, verdict, _ in rows[2:]}


def test_trials_are_as_they_are_to_be(pretended_gpu):
    found = verdicts(pretended_gpu.run([*COMMAND, "environment", "share", "faults", "masks", "graphs"]).stdout)
    skipped = {name for name, verdict in found.items() if verdict == "skipped"}
    # Only a real GPU knows the first; the small network has no batch norms for the second.
    assert skipped == {"environment: context", "masks: bn-scale"}
    assert found["share: a quarter of a GPU"] == "ok"
    assert [name for name in found if name.startswith("faults: ") and found[name] == "ok"] == [
        "faults: illegal access",
        "faults: next in that process",
        "faults: process beside it",
        "faults: new process",
    ]
    assert found["masks: snip"] == "ok" and found["masks: force"] == "reported"
    assert {name for name, verdict in found.items() if name.startswith("graphs: ") and verdict == "ok"} == {
        "graphs: dropout",
        "graphs: rigl",
        "graphs: compacted, Adam",
    }


def test_memory_is_as_it_is_to_be(pretended_gpu):
    found = verdicts(pretended_gpu.run([*COMMAND, "memory"]).stdout)
    held = [
        "memory: a graph's",
        "memory: too small a share",
        "memory: then the whole GPU",
        "memory: scoring, eval",
        "memory: scoring, train",
    ]
    assert {name: found[name] for name in held} == dict.fromkeys(held, "ok")


def test_speed_and_teams_are_as_they_are_to_be(pretended_gpu):
    chosen = ["speed", "launches", "compaction", "teams"]
    found = verdicts(pretended_gpu.run([*COMMAND, *chosen], memory="16GiB,16GiB").stdout)
    held = [
        "launches: graph",
        "launches: step by step",
        "compaction: conv",
        "teams: 2 workers as 1",
    ]
    assert {name: found[name] for name in held} == dict.fromkeys(held, "ok")
    assert found["speed: 2 processes"] == "reported"  # to be held on another GPU than this


def test_one_check_that_fails_stops_no_other(pretended_gpu, tmp_path):
    poison = f"poison@100:{tmp_path / 'once'}"  # the first process that gets there is the first check's
    done = pretended_gpu.run([*COMMAND, "share", "compaction"], check=False, faults=poison)
    assert done.returncode == 1
    found = verdicts(done.stdout)
    assert found["share: a quarter of a GPU"] == "FAIL" and found["compaction: conv"] == "ok"


def test_a_check_that_takes_too_long_is_ended(pretended_gpu):
    done = pretended_gpu.run([*COMMAND, "--seconds", "5.01", "share"], check=False)  # less than a process needs
    assert done.returncode == 1
    assert verdicts(done.stdout) == {"share": "FAIL"}
    assert "did not end within 5 s" in done.stdout


def test_an_unknown_check_is_refused_in_one_line(pretended_gpu):
    done = pretended_gpu.run([*COMMAND, "mask"], check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "gpu: mask is not a check; choose from environment, share, faults, masks, graphs, memory, speed, launches, "
        "compaction, teams"
    ]
