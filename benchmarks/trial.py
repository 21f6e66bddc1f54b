"""One trial against the textbook's loop: whole epochs, evaluation, steps at high compression, collapsed trials.

    python -m benchmarks.trial [--rounds 5] [--networks resnet20 vgg16-bn]

Both sides take turns in one process on one thread, on the same images: made up, of CIFAR-10's shape, five that are
trained on for each that is tested. A ratio is theirs / ours, of CPU seconds, because the machine may be shared (worker
processes of theirs count, and of 0 and 2 workers the better is taken). The textbook's steps are dense ones: with masks
multiplied in they cost the same at any compression.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import textbook
from benchmarks.data import write_cache
from benchmarks.rows import row
from pruners import prune
from search_spaces import Trial
from trainables.architectures import build
from trainables.datasets import Dataset, load
from trainables.datasets.memory import InMemory
from trainables.gpu.memory import keep_freed_memory
from trainables.training.batch_norm import quick_norms
from trainables.training.compacted import smaller
from trainables.training.optimizer import make_optimizer
from trainables.training.step import Masked
from trainables.training.trainer import Trainer, make_trainer

BATCH = 128
STEPS = {1: (1.57, 1.0), 10: (1.75, 1.88), 100: (2.9, 4.5), 1000: (5.0, 16.6)}  # what a prototype reached
HELD = {"resnet20": {100: 2.7, 1000: 4.8}, "vgg16-bn": {100: 4.2, 1000: 15.0}}
NETWORKS = ("resnet20", "vgg16-bn")
ITERATIONS = 100  # of SynFlow, as published: with 20, VGG-16-bn has half as much again left at 100x
IMAGES = {"resnet20": 640, "vgg16-bn": 256}  # of an epoch, for the same reason; a fifth is tested
TESTS = {"resnet20": 1024, "vgg16-bn": 256}  # images to evaluate: so many that what is done once does not count


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of `work`, those of processes that it started and ended included."""
    before = os.times()
    work()
    return sum(os.times()[:4]) - sum(before[:4])


def take_turns(theirs: Callable[[], object], ours: Callable[[], object], rounds: int) -> list[float]:
    """Ratios of CPU seconds, theirs / ours, after a round that does not count; each with memory as in its own runs."""
    ratios = []
    for _ in range(rounds + 1):
        keep_freed_memory(False)
        left = cpu(theirs)
        keep_freed_memory()
        ratios.append(left / cpu(ours))
    return ratios[1:]


def told(name: str, ratios: list[float], predicted: float | None = None, held: float | None = None) -> None:
    """Print a row of the table."""
    print(row(name, ratios, predicted, held), flush=True)


def few(data: Dataset, images: int) -> InMemory:
    """Of a dataset in memory so many training images, and a fifth as many to test on."""
    assert isinstance(data, InMemory)
    train, test = slice(images), slice(images // 5)
    return replace(
        data,
        train_x=data.train_x[train],
        train_y=data.train_y[train],
        rows=torch.arange(images),
        test_x=data.test_x[test],
        test_y=data.test_y[test],
    )


def ours_of(network: str, data: InMemory) -> Trainer:
    """Our side: the model and the data of a trial."""
    trial = Trial(dataset="cifar10", architecture=network, epochs=1, batch_size=BATCH)
    return make_trainer(trial, data, torch.device("cpu"), save_seconds=1e9)


def dense(network: str, data: InMemory) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Their side, before any training."""
    model = textbook.masked(build(network, data.input_shape, data.num_classes, seed=0), {})
    return model, textbook.optimizer_of(model)


def evaluation(network: str, data: InMemory, rounds: int) -> None:
    """The evaluation alone, on pictures that both have already: their loop and ours."""
    model, _ = dense(network, data)
    test = textbook.Pictures(data.spec, data.test_x.numpy(), data.test_y.tolist(), augment=False)
    pixels = list(textbook.loader(test, textbook.TEST_BATCH, 0, shuffle=False))
    ratios = take_turns(lambda: textbook.evaluate(model, pixels), ours_of(network, data).test, rounds)
    told(f"{network}, evaluation", ratios, *((1.9, 1.8) if network == "resnet20" else (1.13, None)))


def epochs(network: str, data: InMemory, rounds: int) -> None:
    """A whole epoch with its evaluation."""
    model, optimizer = dense(network, data)
    train = textbook.Pictures(data.spec, data.train_x.numpy(), data.train_y.tolist(), augment=True)
    test = textbook.Pictures(data.spec, data.test_x.numpy(), data.test_y.tolist(), augment=False)
    on = ours_of(network, data)

    def tested(workers: int) -> object:
        return textbook.evaluate(model, textbook.loader(test, textbook.TEST_BATCH, workers, shuffle=False))

    def epoch(workers: int) -> None:
        textbook.epoch(model, optimizer, textbook.loader(train, BATCH, workers))
        tested(workers)

    def ours() -> None:
        on.train({}, state=None, save=lambda state: None)

    whole = {workers: take_turns(lambda workers=workers: epoch(workers), ours, rounds) for workers in (0, 2)}  # type: ignore[misc]
    best = min(whole.values(), key=statistics.median)
    told(f"{network}, whole epochs", best, *((1.55, 1.8) if network == "resnet20" else (1.0, None)))


def stepping(model: nn.Module, masks: dict[str, Tensor], x: Tensor, y: Tensor) -> Callable[[], None]:
    """A training step of ours."""
    model.train()
    optimizer = make_optimizer(model, Trial(dataset="cifar10", architecture="resnet20"))
    masked = Masked(model, optimizer, masks, None, 0)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with quick_norms(model):
            F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        masked.after_step()

    return step


def steps(network: str, data: InMemory, compressions: list[float], rounds: int, repeats: int = 2) -> None:
    """Training steps at compressions of SynFlow, each against the textbook's dense one; and one that collapsed."""
    model, optimizer = dense(network, data)
    x, y = next(iter(data.train_batches(0, 1, BATCH)))
    theirs = lambda: [textbook.step(model.train(), optimizer, x, y) for _ in range(repeats)]  # noqa: E731
    shape, which = data.input_shape, NETWORKS.index(network)
    black = [(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64))]
    for compression in compressions:
        ours = ours_of(network, data).model
        masks = prune(ours, "synflow", compression, black, iterations=ITERATIONS)
        instead = smaller(ours, masks, shape)[0]
        step = stepping(instead or ours, instead.masks if instead else masks, x, y)
        # As many of ours as take about as long, so that a clock's grain and a neighbour's burst weigh alike on both.
        more = repeats * max(1, round(STEPS[int(compression)][which]))
        ratios = take_turns(theirs, lambda: [step() for _ in range(more)], rounds)  # noqa: B023
        held = HELD[network].get(int(compression))
        name = f"{network}, step at SynFlow {compression:g}x"
        told(name, [ratio * more / repeats for ratio in ratios], STEPS[int(compression)][which], held)
    ours = ours_of(network, data).model
    masks = {name: torch.zeros_like(mask) for name, mask in prune(ours, "random", 1).items()}
    instead = smaller(ours, masks, shape)[0]
    assert instead is not None and instead.blind
    step = stepping(instead, instead.masks, x[:, :, :0, :0], y)
    ratios = take_turns(theirs, lambda: [step() for _ in range(100)], rounds)
    told(
        f"{network}, step of a collapsed trial", [ratio * 100 / repeats for ratio in ratios], 139 if not which else 592
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--compressions", nargs="+", default=[1.0, 10.0, 100.0, 1000.0], type=float)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_cache(Path(folder))
        whole = load("cifar10", None, Path(folder))
        for network in args.networks:
            data = few(whole, IMAGES[network])
            evaluation(network, few(whole, 5 * TESTS[network]), args.rounds)
            epochs(network, data, args.rounds)
            steps(network, data, args.compressions, args.rounds)


if __name__ == "__main__":
    main()
