"""Trials packed into one process, against the same trials alone: on a GPU if there is one, else on CPUs.

    python -m benchmarks.packing [--trials 16] [--rounds 5] [--images 50000] [--epochs 4]

ResNet-20 on images of CIFAR-10's shape (made up: what they show costs no time), batches of 128. On a GPU: the
textbook's steps, one trial, and `--trials` packed ones take turns, and thousands of training images per second are
printed, for packed ones those of all together; epochs after the first count, with their tests. On CPUs, of the wall
time of two trials with one thread each: packed ones, one after the other, and in two processes, as Ray has them.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

import torch
from torch import Tensor

from benchmarks import textbook
from benchmarks.rows import row
from pruners import turns
from search_spaces import Trial
from trainables.architectures import build
from trainables.bench import bench
from trainables.datasets import lookup
from trainables.datasets.memory import InMemory
from trainables.gpu_share import own_stream
from trainables.packed import together

BATCH = 128
TESTED = 2000  # images
BASE_STEPS = 100
PREDICTED_ONE, PREDICTED_ALL = 130, 450  # thousands of images per second; from published figures, never measured
HELD_ONE, HELD_ALL = 60, 300


def trials(count: int, epochs: int) -> list[Trial]:
    """So many that differ in their seed."""
    common = {"dataset": "cifar10", "architecture": "resnet20", "batch_size": BATCH, "epochs": epochs}
    return [Trial.model_validate(common | {"seed": seed}) for seed in range(count)]


def made_up(images: int) -> InMemory:
    """So many random images to train on, of CIFAR-10's shape."""
    spec, draw = lookup("cifar10"), torch.Generator().manual_seed(0)

    def some(count: int) -> tuple[Tensor, Tensor]:
        shape = (count, *spec.input_shape)
        return torch.randint(256, shape, dtype=torch.uint8, generator=draw), torch.arange(count) % spec.num_classes

    (train_x, train_y), (test_x, test_y) = some(images), some(min(images, TESTED))
    return InMemory(
        spec=spec, train_y=train_y, test_y=test_y, rows=torch.arange(images), held_out=torch.arange(0),
        train_x=train_x, test_x=test_x,
    )  # fmt: skip


def trained(asked: Sequence[Trial], data: InMemory, device: str, lanes: int) -> tuple[float, set[str]]:
    """Seconds from when all `lanes` have made their first epoch until the end; and how their steps were made."""
    left, how, started = list(asked), set(), [0.0]
    begun = threading.Barrier(lanes, action=lambda: started.__setitem__(0, time.perf_counter()))

    def report(metrics: dict[str, float], epoch: int) -> None:
        if epoch == 1:
            with turns.away():
                begun.wait()

    def do(trial: Trial) -> None:
        torch.set_num_threads(1)
        with own_stream(device):
            on = bench(trial, data, torch.device(device), save_seconds=1e9)
            on.train({}, state=None, save=lambda state: None, report=report, tell=lambda what, said: how.add(said))

    together(lanes, lambda: left.pop() if left else None, do, lambda trial, nothing: None)
    return time.perf_counter() - started[0], how


def base(data: InMemory, device: str, workers: int) -> float:
    """Images per second of the textbook's dense steps, with its loader."""
    torch.backends.cudnn.deterministic = False  # as it comes
    model = textbook.masked(build("resnet20", data.input_shape, data.num_classes, seed=0), {}).to(device).train()
    optimizer = textbook.optimizer_of(model)
    pictures = textbook.Pictures(data.spec, data.train_x.numpy(), data.train_y.tolist(), augment=True)
    batches: Iterator[tuple[Tensor, Tensor]] = iter(textbook.loader(pictures, BATCH, workers))
    for x, y in islice(batches, 5):
        textbook.step(model, optimizer, x.to(device), y.to(device))
    started, seen = time.perf_counter(), 0
    for x, y in islice(batches, BASE_STEPS):
        textbook.step(model, optimizer, x.to(device), y.to(device))
        seen += len(y)
    return seen / (time.perf_counter() - started)


def on_gpu(count: int, rounds: int, images: int, epochs: int) -> None:
    """Print a row for each rate and each ratio."""
    data, rates = made_up(images), []
    torch.backends.cudnn.deterministic = True
    for _ in range(rounds):
        textbooks = max(base(data, "cuda", workers) for workers in (4, 8))
        torch.backends.cudnn.deterministic = True
        counted = images * (epochs - 1)
        one, how = trained(trials(1, epochs), data, "cuda", 1)
        seconds, hows = trained(trials(count, epochs), data, "cuda", count)
        rates.append((textbooks, counted / one, count * counted / seconds))
    name = f"ResNet-20 on {torch.cuda.get_device_name()}"
    print(f"<!-- steps: {', '.join(sorted(how | hows))} -->")
    print(row(f"{name}, textbook, 1000 images/s", [a / 1000 for a, _, _ in rates]))
    print(row(f"{name}, one trial, 1000 images/s", [b / 1000 for _, b, _ in rates], PREDICTED_ONE, HELD_ONE))
    print(row(f"{name}, {count} packed, 1000 images/s", [c / 1000 for _, _, c in rates], PREDICTED_ALL, HELD_ALL))
    print(row(f"{name}, one trial / textbook", [b / a for a, b, _ in rates]))
    print(row(f"{name}, {count} packed / one trial", [c / b for _, b, c in rates], PREDICTED_ALL / PREDICTED_ONE))


def on_cpus(rounds: int, images: int, epochs: int) -> None:
    """Print how long two packed ones take, against one after the other and against two processes."""
    asked, data = trials(2, epochs), made_up(images)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_other, asked, [images] * 2))  # they import torch and touch what they need
        ratios = []
        for _ in range(rounds):
            seconds, _ = trained(asked, data, "cpu", 2)
            alone = sum(trained([trial], data, "cpu", 1)[0] for trial in asked)
            beside = max(pool.map(_other, asked, [images] * 2))
            ratios.append((alone / seconds, beside / seconds))
    print(row("packing on CPUs, two one after the other / two packed", [a for a, _ in ratios]))
    print(row("packing on CPUs, two in two processes / two packed", [b for _, b in ratios], 0.9))


def _other(trial: Trial, images: int) -> float:
    return trained([trial], made_up(images), "cpu", 1)[0]


def main() -> None:
    """Run and print rows of the table in Markdown."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16, metavar="K")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--images", type=int, default=50_000 if gpu else 256, metavar="N")
    parser.add_argument("--epochs", type=int, default=4 if gpu else 2, metavar="N")
    args = parser.parse_args()
    if gpu:
        on_gpu(args.trials, args.rounds, args.images, args.epochs)
    else:
        on_cpus(args.rounds, args.images, args.epochs)


if __name__ == "__main__":
    main()
