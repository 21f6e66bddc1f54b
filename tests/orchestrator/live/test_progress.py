"""What people see of a sweep of five trials and of five thousand."""

from __future__ import annotations

from io import StringIO
from itertools import islice, product

import pytest
from rich.console import Console

from orchestrator.live.progress import LINES, Progress, best
from search_spaces import Trial

PRUNERS = ("random", "magnitude", "snip", "synflow", "grasp")
COMPRESSIONS = (2, 3, 4, 5, 6, 8, 10, 15, 20, 50, 100, 200, 500)
ARCHITECTURES = ("vgg16-bn", "resnet20", "mobilenet-v2-cifar", "resnet18-cifar")


def trials(count: int) -> list[Trial]:
    grid = product(range(20), ARCHITECTURES, PRUNERS, COMPRESSIONS)
    made = (
        Trial(dataset="cifar10", architecture=a, pruner=p, compression=c, seed=s, epochs=160) for s, a, p, c in grid
    )
    return list(islice(made, count))


def console(terminal: bool, width: int = 100, height: int = 24) -> Console:
    return Console(file=StringIO(), force_terminal=terminal, width=width, height=height, color_system=None)


def finish(progress: Progress, trial: Trial, top1: float = 0.5) -> None:
    progress.event(trial.fingerprint, {"metrics": {"final/top1": top1}, "step": 0})
    progress.event(trial.fingerprint, {"end": "finished"})


def fail(progress: Progress, trial: Trial, reason: str) -> None:
    progress.event(trial.fingerprint, {"tags": {"error": reason}})
    progress.event(trial.fingerprint, {"end": "failed"})


def shown(progress: Progress, on: Console) -> list[str]:
    """The panel as it would stand on the terminal now."""
    with on.capture() as capture:
        on.print(progress._panel())
    return [line.rstrip() for line in capture.get().splitlines()]


def begun(count: int, on: Console) -> Progress:
    made = trials(count)
    progress = Progress(made, {trial.fingerprint: 60.0 for trial in made}, 0, on)
    for trial in made[: count * 3 // 5]:
        finish(progress, trial)
    for trial in made[count * 3 // 5 :][:64]:
        progress.event(trial.fingerprint, {"metrics": {"train/loss": 1.0}, "step": 16})
    return progress


@pytest.mark.parametrize("size", [(80, 24), (100, 24), (160, 45), (60, 20)])
def test_five_thousand_trials_fit_the_terminal(size: tuple[int, int]) -> None:
    on = console(True, *size)
    lines = shown(begun(5000, on), on)
    assert len(lines) < size[1]
    assert max(map(len, lines)) <= size[0]
    assert "3000/5000 done, 64 running" in " ".join(lines)
    running = sum("epoch 16/160" in line for line in lines)
    assert running >= 3
    assert f"and {64 - running} more" in lines


def test_before_the_first_trial_it_starts() -> None:
    on = console(True)
    assert shown(Progress(trials(5), {}, 0, on), on)[0].endswith("0/5 done, starting")


def test_five_trials_are_all_there() -> None:
    on = console(True)
    lines = shown(begun(5, on), on)
    assert "3/5 done, 2 running" in lines[0]
    assert sum("epoch 16/160" in line for line in lines) == 2
    assert [line.split()[0] for line in lines if "50.00 % random" in line] == ["2x", "3x", "4x"]


def test_the_best_of_all_seeds_and_pruners_stands_in_the_table() -> None:
    alike = [t for t in trials(200) if (t.architecture, t.compression) == ("vgg16-bn", 10)]
    low, high = alike[:2]
    table = best([(low, 0.3), (high, 0.8)], 100, 10)
    assert table is not None
    on = console(False)
    on.print(table)
    text = on.file.getvalue()  # type: ignore[attr-defined]
    assert f"80.00 % {high.pruner}" in text
    assert "30.00" not in text


def test_plain_lines_are_few_and_whole() -> None:
    on = console(False)
    made = trials(5000)
    with Progress(made, {trial.fingerprint: 60.0 for trial in made}, 0, on) as progress:
        for trial in made:
            finish(progress, trial)
    lines = on.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == LINES
    assert lines[-1] == f"5000/5000 done  |  {made[-1].name}: top-1 50.00 %"
    assert not any("\x1b" in line for line in lines)


def test_trials_of_one_name_are_told_apart() -> None:
    on = console(False)
    made = [
        Trial(dataset="digits", architecture="conv", pruner="synflow", compression=10, iterations=i) for i in (1, 20)
    ]
    made.append(Trial(dataset="digits", architecture="conv", pruner="snip", compression=10))
    with Progress(made, {trial.fingerprint: 60.0 for trial in made}, 0, on) as progress:
        for trial in made:
            finish(progress, trial)
    names = [line.split("  |  ")[1].split(":")[0] for line in on.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    name = "conv digits synflow 10x s0 iterations="
    assert names == [name + "1", name + "20", "conv digits snip 10x s0"]


def test_versions_of_an_own_file_have_the_six_digits_that_pages_have() -> None:
    on = console(False)
    made = [
        Trial(dataset="digits", architecture="net.py:build", architecture_code=code, pruner="snip") for code in "ab"
    ]
    with Progress(made, {trial.fingerprint: 60.0 for trial in made}, 0, on) as progress:
        for trial in made:
            finish(progress, trial)
    names = [line.split("  |  ")[1].split(": top-1")[0] for line in on.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    digits = [trial.params()["architecture_code"][:6] for trial in made]
    assert names == [f"{made[0].name} architecture_code={six}" for six in digits]


def test_one_reason_for_thousands_is_a_few_lines() -> None:
    on = console(False)
    made = trials(2000)
    with Progress(made, {trial.fingerprint: 60.0 for trial in made}, 0, on) as progress:
        for number, trial in enumerate(made):
            fail(progress, trial, f"RuntimeError: the loss is not finite in epoch {number}")
        fail(progress, made[0], "OSError: the disk is full")
    lines = on.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split(":")[0] for line in lines] == [
        *(f"failed  {trial.name}" for trial in made[:3]),
        *(f"failed  {count} trials in this way so far, the last {made[count - 1].name}" for count in (10, 100, 1000)),
        f"failed  {made[0].name}",
    ]


def test_what_is_left_is_not_guessed_from_the_first_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    on = console(False)
    made = trials(1000)
    with Progress(made, {trial.fingerprint: 60.0 for trial in made}, 0, on) as progress:
        for trial in made[:5]:
            finish(progress, trial)
        assert progress._left() is None
        monkeypatch.setattr("orchestrator.live.progress.PATIENCE", 0.0)
        assert progress._left() is not None


@pytest.mark.parametrize("terminal", [True, False])
def test_each_end_is_shown_however_little_of_the_trial_was_seen_before(terminal: bool) -> None:
    on = console(terminal)
    told, untold, again, reasonless = made = trials(4)
    progress = Progress(made, {trial.fingerprint: 60.0 for trial in made}, 0, on)
    finish(progress, told)
    progress.event(untold.fingerprint, {"end": "finished"})  # an earlier sweep saw its metric
    progress.event(reasonless.fingerprint, {"end": "failed"})
    progress.event(again.fingerprint, {"metrics": {"final/top1": 0.5}, "step": 0})
    fail(progress, again, "OSError: no space left")
    progress.event(again.fingerprint, {"params": {}})
    progress.event(again.fingerprint, {"end": "finished"})
    assert "3/4 done" in shown(progress, on)[0]
    assert "1 failed" in shown(progress, on)[0]
