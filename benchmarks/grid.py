"""The time of a whole grid against the textbook's loop over the same cells.

    python -m benchmarks.grid [--grids figure-6 cos598d] [--steps 1] [--rounds 1] [--each]

Grids on vgg16-bn and images of CIFAR-10's shape (made-up patterns in noise): figure 6 of Tanaka 2020 at every half
decade, 5 pruners x 7 compressions; and the assignment's, 5 x 6. Of every cell a training step and the evaluation of a
few images are measured, and make up an epoch as CIFAR-10 has it: 50,000 images to train on, 10,000 to test. What is
done once in a trial is left out on both sides, as it is lost in a real one (pruning; planning the compaction), and so
are the textbook's PIL images. The textbook trains each cell, each alike: masks that are multiplied in cost the same at
any compression, so that its time is taken once for each compression, in turn with ours. We train 1x once for all
pruners, and cells that both grids have are measured once. The ratio is ours / theirs, of CPU seconds over the grid, on
one thread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import textbook
from benchmarks.rows import cost
from benchmarks.trial import BATCH, cpu, dense, few, ours_of, stepping
from pruners import find, select
from search_spaces.density import density_of
from trainables.datasets import load
from trainables.datasets.memory import InMemory
from trainables.gpu.memory import keep_freed_memory
from trainables.training.compacted import smaller

NETWORK = "vgg16-bn"
PRUNERS = ("random", "magnitude", "snip", "grasp", "synflow")
GRIDS: dict[str, tuple[tuple[float, ...], float, float]] = {  # compressions, what is predicted, what is to be held
    "figure-6": ((1, 3.16, 10, 31.6, 100, 316, 1000), 0.37, 0.4),  # 1 / 2.7, of a prototype's steps
    "cos598d": ((1, 2, 5, 10, 15, 20), 0.7, 0.65),  # of the multiply-accumulates that are left, and 1x trained once
}
ITERATIONS = 20  # of SynFlow: with the hundred of the paper less is left of a network, and pruning takes minutes
IMAGES = 1280  # that pruners score on (30 of them) and that are trained on; a fifth is tested
TRAIN, TEST = 50_000, 10_000  # images of an epoch
COLLAPSED = 5.0  # seconds of an epoch: below, no image is looked at


def masks_of(data: InMemory, pruner: str, compressions: list[float]) -> Iterator[dict[str, Tensor]]:
    """The masks of one pruner at all compressions; what scores once is asked once."""
    model = ours_of(NETWORK, data).model
    if pruner == "synflow":
        black = [(torch.zeros(1, *data.input_shape), torch.zeros(1, dtype=torch.int64))]
        for compression in compressions:
            yield find(model, pruner, compression, black, iterations=ITERATIONS).masks
        return
    scores = find(model, pruner, 2, data.scoring_batches(0, 3)).scores
    alive = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    for compression in compressions:
        yield select(scores, density_of(compression), alive, "global")


def textbook_epoch(data: InMemory, steps: int) -> float:
    """CPU seconds of an epoch of theirs, in any cell."""
    x, y = next(iter(data.train_batches(0, 1, BATCH)))
    model, optimizer = dense(NETWORK, data)
    tests = list(data.test_batches())
    keep_freed_memory(False)
    textbook.step(model.train(), optimizer, x, y)
    stepped = cpu(lambda: [textbook.step(model.train(), optimizer, x, y) for _ in range(steps)])
    return _epoch(stepped / steps, cpu(lambda: textbook.evaluate(model, tests)), data)


def our_epoch(masks: dict[str, Tensor], data: InMemory, steps: int) -> float:
    """CPU seconds of an epoch of ours under `masks`; the dense one without any."""
    x, y = next(iter(data.train_batches(0, 1, BATCH)))
    on = ours_of(NETWORK, data)
    instead = smaller(on.model, masks, data.input_shape)[0] if masks else None
    on = replace(on, model=instead or on.model)
    seen = x[:, :, :0, :0] if instead and instead.blind else x
    step = stepping(on.model, instead.masks if instead else masks, seen, y)
    keep_freed_memory()
    step()
    stepped = cpu(lambda: [step() for _ in range(steps)])
    return _epoch(stepped / steps, cpu(on.test), data)


def _epoch(of_step: float, of_tests: float, data: InMemory) -> float:
    return TRAIN / BATCH * of_step + TEST / len(data.test_y) * of_tests


def measured(
    compressions: list[float], data: InMemory, steps: int, each: bool
) -> tuple[list[float], dict[tuple[str, float], float]]:
    """CPU seconds of an epoch: theirs, as often as it was taken, and ours in every cell; of 1x only the first."""
    theirs, ours = [textbook_epoch(data, steps)], {(PRUNERS[0], 1.0): our_epoch({}, data, steps)}
    for number, pruner in enumerate(PRUNERS):
        for place, (compression, masks) in enumerate(
            zip(compressions, masks_of(data, pruner, compressions), strict=True)
        ):
            if place % len(PRUNERS) == number:
                theirs.append(textbook_epoch(data, steps))
            ours[pruner, compression] = our_epoch(masks, data, steps)
            if each:
                print(
                    f"{pruner} {compression:g}x: {ours[pruner, compression]:.0f} s, theirs {theirs[-1]:.0f} s",
                    flush=True,
                )
    return theirs, ours


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", nargs="+", default=list(GRIDS), choices=list(GRIDS))
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--each", action="store_true", help="also print every cell")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = few(load("synthetic-32", None, Path(folder)), IMAGES)
    compressions = sorted({c for grid in args.grids for c in GRIDS[grid][0] if c > 1})
    ratios: dict[str, list[float]] = {grid: [] for grid in args.grids}
    for _ in range(args.rounds):
        theirs, ours = measured(compressions, data, args.steps, args.each)
        for grid, found in ratios.items():
            asked, *_ = GRIDS[grid]
            total = sum(seconds for (_, compression), seconds in ours.items() if compression in asked)
            found.append(total / (statistics.mean(theirs) * len(PRUNERS) * len(asked)))
    for grid, found in ratios.items():
        asked, predicted, held = GRIDS[grid]
        gone = sum(cell[1] in asked and seconds < COLLAPSED for cell, seconds in ours.items())
        name = f"grid, {grid}, {len(PRUNERS) * len(asked)} cells of which {gone} collapsed: ours / textbook"
        print(cost(name, found, predicted, held), flush=True)


if __name__ == "__main__":
    main()
