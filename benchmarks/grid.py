"""The time of a whole grid against the textbook's loop over the same cells.

    python -m benchmarks.grid [--grids figure-6 cos598d] [--steps 1] [--rounds 2]

Grids on vgg16-bn and CIFAR-10 (made-up images): figure 6 of Tanaka 2020 at every half decade, 5 pruners × 7
compressions; and the assignment's, 5 × 6. Epochs are cut to a few steps, each with its share of the evaluation; what is
done once in a trial is left out on both sides, as it is lost in a real one (pruning, here with fewer iterations of
SynFlow; planning the compaction). The textbook trains each cell; we train 1x once for all pruners. Both take turns cell
by cell, in one process, on one thread. The ratio is ours / theirs, of CPU seconds over the grid.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import textbook
from benchmarks.data import write_cache
from benchmarks.trial import BATCH, cpu, dense, few, ours_of, stepping
from pruners import find, select
from trainables.allocation import keep_freed_memory
from trainables.compacted import smaller
from trainables.datasets import load
from trainables.datasets.memory import InMemory

NETWORK = "vgg16-bn"
PRUNERS = ("random", "magnitude", "snip", "grasp", "synflow")
GRIDS: dict[str, tuple[tuple[float, ...], float]] = {  # compressions, and what is to be held
    "figure-6": ((1, 3.16, 10, 31.6, 100, 316, 1000), 0.4),
    "cos598d": ((1, 2, 5, 10, 15, 20), 0.65),
}
ITERATIONS = 10  # of SynFlow


def masks_of(model: nn.Module, data: InMemory, pruner: str, compressions: list[float]) -> Iterator[dict[str, Tensor]]:
    """The masks of one pruner at all compressions; what scores once is asked once."""
    if pruner == "synflow":
        black = [(torch.zeros(1, *data.input_shape), torch.zeros(1, dtype=torch.int64))]
        for compression in compressions:
            yield find(model, pruner, compression, black, iterations=ITERATIONS).masks
        return
    scores = find(model, pruner, 2, data.scoring_batches(0, 3)).scores
    alive = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    for compression in compressions:
        yield select(scores, 1 / compression, alive, "global")


def cells(compressions: tuple[float, ...], data: InMemory) -> Iterator[tuple[str, float, dict[str, Tensor] | None]]:
    """Pruner, compression and masks of every cell; None for one that shares the dense trial of another."""
    model = ours_of(NETWORK, data).model
    for number, pruner in enumerate(PRUNERS):
        yield pruner, 1, None if number else {}
        pruned = [compression for compression in compressions if compression > 1]
        for compression, masks in zip(pruned, masks_of(model, data, pruner, pruned), strict=True):
            yield pruner, compression, masks


def measure(
    masks: dict[str, Tensor] | None, data: InMemory, steps: int, theirs: list[float], ours: list[float]
) -> None:
    """Add the CPU seconds of one cell to both sides'."""
    x, y = next(iter(data.train_batches(0, 1, BATCH)))
    model, optimizer = dense(NETWORK, data)
    tests = list(data.test_batches())

    def textbook_cell() -> None:
        for _ in range(steps):
            textbook.step(model.train(), optimizer, x, y)
        textbook.evaluate(model, tests)

    textbook.step(model.train(), optimizer, x, y)
    keep_freed_memory(False)
    theirs.append(cpu(textbook_cell))
    keep_freed_memory()
    if masks is None:
        return
    on = ours_of(NETWORK, data)
    instead = smaller(on.model, masks, data.input_shape)[0] if masks else None
    on = replace(on, model=instead or on.model)
    seen = x[:, :, :0, :0] if instead and instead.blind else x
    step = stepping(on.model, instead.masks if instead else masks, seen, y)
    step()
    on.test()

    def our_cell() -> None:
        on.model.train()
        for _ in range(steps):
            step()
        on.test()

    ours.append(cpu(our_cell))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", nargs="+", default=list(GRIDS), choices=list(GRIDS))
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--each", action="store_true", help="print every cell too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_cache(Path(folder))
        whole = load("cifar10", None, Path(folder))
        data = few(whole, 1280)
    short = few(data, BATCH * args.steps)
    short = replace(data, test_x=short.test_x, test_y=short.test_y)
    for grid in args.grids:
        compressions, held = GRIDS[grid]
        ratios = []
        for _ in range(args.rounds):
            theirs: list[float] = []
            ours: list[float] = []
            for pruner, compression, masks in cells(compressions, data):
                before = sum(ours)
                measure(masks, short, args.steps, theirs, ours)
                if args.each:
                    print(f"{pruner} {compression:g}x: {theirs[-1]:.2f} s and {sum(ours) - before:.2f} s", flush=True)
            ratios.append(sum(ours) / sum(theirs))
        middle = statistics.median(ratios)
        print(
            f"{grid}, {len(theirs)} cells: ours / textbook = {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f}, "
            f"n={len(ratios)}); at most {held:g} {'held' if middle <= held else 'missed'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
