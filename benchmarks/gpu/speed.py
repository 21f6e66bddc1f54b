"""Images per second of one ResNet-20, and of sixteen processes that share the GPU, with NVIDIA's MPS and without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.gpu.harness import Result, Setting, judged, step_by_step, thousands
from benchmarks.gpu.training import STOP, Epoch, of_an_epoch, train

HELD_ON = "H200"
ONE, ALL = 60_000, 300_000  # images a second to hold there
MPS = "nvidia-cuda-mps-control"
WINDOW = 10.0  # seconds in which all of them train


def speed(setting: Setting) -> Iterator[Result]:
    """One trial in each precision, then as many as share a GPU, in the fastest of them."""
    data = of_an_epoch(setting)
    rates = {}
    for precision in ("float32", "tf32", "bfloat16"):
        epochs: list[Epoch] = []
        stepped = train(setting, data, precision, 2 if setting.small else 5, epochs.append)
        rates[precision] = _rate(epochs[1:])  # the first has warm-up and capture
        yield Result(f"speed: one, {precision}", "reported", f"{thousands(rates[precision])}, {stepped}")
    best = max(rates, key=lambda precision: rates[precision])
    with step_by_step():
        epochs = []
        train(setting, data, best, 2, epochs.append)
    yield Result(f"speed: one, {best}", "reported", f"{thousands(_rate(epochs[1:]))}, step by step")
    yield _held("speed: one trial", rates[best], ONE, best)
    torch.cuda.empty_cache()
    yield from _sharing(setting, best)


def _sharing(setting: Setting, precision: str) -> Iterator[Result]:
    """Processes that share the GPU, without MPS and with it; the better of both is to hold."""
    count, folder, found = 2 if setting.small else 16, setting.folder / "processes", dict[str, float]()
    for how, sharing in (("without MPS", _nowhere), ("with MPS", _mps)):
        row = f"speed: {count} {how}"
        try:
            with sharing(folder) as environment:
                found[how] = _together(setting, folder / how, count, precision, environment)
        except _NoDaemonError as error:
            yield Result(row, "skipped", str(error))
        except RuntimeError as error:
            yield Result(row, "FAIL", str(error))
        else:
            yield Result(row, "reported", f"{thousands(found[how])} in all, {precision}")
    if found:
        how = max(found, key=lambda name: found[name])
        yield _held(f"speed: {count} processes", found[how], ALL, f"{how}, {precision}")


def _held(row: str, rate: float, least: int, how: str) -> Result:
    name = torch.cuda.get_device_name()
    figures = f"{thousands(rate)}, {how}; to hold on an {HELD_ON}: {thousands(least)}"
    return judged(row, rate >= least, figures) if HELD_ON in name else Result(row, "reported", figures)


def _rate(epochs: list[Epoch]) -> float:
    return sum(epoch.images for epoch in epochs) / sum(epoch.ended - epoch.began for epoch in epochs)


def _together(setting: Setting, folder: Path, count: int, precision: str, environment: Mapping[str, str]) -> float:
    """Return images a second of so many processes, in a time in which all of them train.

    Raises:
        RuntimeError: if one of them fails.
    """
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(setting.cache)
    command = [sys.executable, "-m", "benchmarks.gpu.training", str(folder), precision]
    command += ["--small"] if setting.small else []
    errors = folder / "errors"
    with errors.open("w", encoding="utf-8") as file:
        them = [
            subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=file, text=True)
            for _ in range(count)
        ]
        try:
            for each in them:
                assert each.stdout is not None
                if not each.stdout.readline():  # which comes after its first epoch
                    raise RuntimeError(f"one of {count} processes failed: {_last(errors)}")
            time.sleep(1 if setting.small else WINDOW)
            (folder / STOP).touch()
            said = [each.communicate()[0] for each in them]
        finally:
            for each in them:
                each.kill()
    if failed := [each.returncode for each in them if each.returncode]:
        raise RuntimeError(f"{len(failed)} of {count} processes failed: {_last(errors)}")
    trained = [[Epoch(*json.loads(line)) for line in lines.splitlines()] for lines in said]
    start = max(epochs[0].began for epochs in trained)
    end = min(epochs[-1].ended for epochs in trained)
    return sum(_within(epoch, start, end) for epochs in trained for epoch in epochs) / (end - start)


def _within(epoch: Epoch, start: float, end: float) -> float:
    """Return how many of an epoch's images fall between two moments."""
    inside = max(0.0, min(epoch.ended, end) - max(epoch.began, start))
    return epoch.images * inside / (epoch.ended - epoch.began)


def _last(errors: Path) -> str:
    return (errors.read_text(encoding="utf-8").strip().splitlines() or ["no word"])[-1][:200]


class _NoDaemonError(Exception):
    """NVIDIA's MPS cannot be had here; the message says why."""


@contextmanager
def _nowhere(folder: Path) -> Iterator[dict[str, str]]:
    """Give an environment in which processes find no daemon, even if the machine has one."""
    (folder / "none").mkdir(parents=True)
    yield {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "none")}


@contextmanager
def _mps(folder: Path) -> Iterator[dict[str, str]]:
    """Run a daemon of our own; give the environment in which processes find it.

    Raises:
        _NoDaemonError: if there is none, or it does not start.
    """
    if shutil.which(MPS) is None:
        raise _NoDaemonError(f"there is no {MPS} here")
    environment = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
    for path in environment.values():
        Path(path).mkdir(parents=True)
    try:
        _control(environment, "-d", check=True)
    except (subprocess.SubprocessError, OSError) as error:
        raise _NoDaemonError(f"{MPS} does not start: {error}") from error
    try:
        yield environment
    finally:
        _control(environment, told="quit\n", check=False)


def _control(environment: Mapping[str, str], *arguments: str, told: str = "", check: bool) -> None:
    """Call the daemon's program. It keeps what it was started with open, so that nobody may read its output."""
    subprocess.run(
        [MPS, *arguments],
        env=os.environ | environment,
        input=told,
        text=True,
        check=check,
        timeout=30,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
