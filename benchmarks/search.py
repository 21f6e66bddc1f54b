"""Does a search that learns find more than chance? TPE against random search at equal trials, seed by seed.

    python -m benchmarks.search [--seeds 10] [--trials 50] [--epochs 3] [--only digits] [--objective validation/loss]

Four settings are searched over wide ranges, by the seeker and the studies of a sweep. "formula" is a bowl in them: the
best accuracy is 1 and the least loss 0, at lr 0.02, weight_decay 0.0003, momentum 0.9, batch_size 64. "digits" trains a
small network, pruned to a quarter. A seed is of the search, and on digits also of the weights and the data's order.
What a search reached is the best value of its trials, by which it chose.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from optuna.storages import InMemoryStorage

from orchestrator.planning.catalog import catalog
from orchestrator.results.objectives import Objective
from orchestrator.search.optuna_study import Result, StudySearcher
from search_spaces import Grid, Trial, load, studies
from trainables.context import Place
from trainables.metrics import PER_EPOCH
from trainables.record.event_log import read
from trainables.run import run

SPACE = {
    "dataset": "digits",
    "architecture": {"name": "mlp", "depth": 3, "width": 50},
    "pruner": "snip",
    "compression": 4,
    "validation": 0.2,
    "lr": {"low": 1e-5, "high": 10.0, "log": True},
    "weight_decay": {"low": 1e-6, "high": 1.0, "log": True},
    "momentum": {"low": 0.0, "high": 0.99},
    "batch_size": {"low": 16, "high": 512, "log": True},
}


def formula(trial: Trial) -> Result:
    """One minus the squared distance from the optimum, a unit being a decade, a quarter in momentum, two octaves."""
    away = (
        math.log10(trial.lr / 0.02),
        math.log10(trial.weight_decay / 0.0003),
        (trial.momentum - 0.9) / 0.25,
        math.log2(trial.batch_size / 64) / 2,
    )
    loss = sum(one**2 for one in away)
    return {"final/validation_top1": 1 - loss, "final/validation_loss": loss}


def trained(place: Place, trial: Trial) -> Result:
    """What a real trial recorded, as a sweep with --local computes it; nothing if it failed."""
    run(trial, place)
    last: dict[str, float] = {}
    for event, _ in read(place.storage / trial.fingerprint):
        last |= event.get("metrics", {})
    return last


def reached(search: dict[str, object], seed: int, epochs: int, compute: Callable[[Trial], Result]) -> float:
    """The best value of a study: one trial after the other, each asked for when the last is told."""
    grid = Grid(load({**SPACE, "seed": seed, "epochs": epochs, "search": search}), catalog())
    results: dict[str, Result] = {}
    seeker = StudySearcher(grid, studies(grid.space, grid.catalog), InMemoryStorage(), results.get)
    while (trial := seeker.next(1)) is not None:
        results[trial.fingerprint] = compute(trial)
        seeker.ended(trial.fingerprint)
    return seeker.studies[0].optuna.best_value


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--objective", choices=PER_EPOCH, default="validation/top1")
    parser.add_argument("--only", nargs="*", choices=("formula", "digits"), default=("formula", "digits"))
    args = parser.parse_args()
    better = Objective(args.objective).sign
    with tempfile.TemporaryDirectory() as folder:
        place = Place(storage=Path(folder), cache=Path(folder) / "data", weights_mb=0)
        computes = {"formula": formula, "digits": partial(trained, place)}
        print(f"best {args.objective} of {args.trials} trials, {args.seeds} seeds: median (from, to)")
        for name in args.only:
            found: dict[str, list[float]] = {}
            for sampler in ("tpe", "random"):
                search = {"trials": args.trials, "sampler": sampler, "objective": args.objective}
                best = [reached(search, seed, args.epochs, computes[name]) for seed in range(args.seeds)]
                print(f"{name:8} {sampler:7} {median(best):.4f} ({min(best):.4f}, {max(best):.4f})", flush=True)
                found[sampler] = best
            gaps = [better * (one - other) for one, other in zip(found["tpe"], found["random"], strict=True)]
            wins, ties = sum(gap > 0 for gap in gaps), sum(gap == 0 for gap in gaps)
            print(f"{name:8} tpe is better by {median(gaps):+.4f}; in {wins} seeds of {len(gaps)}, equal in {ties}")


if __name__ == "__main__":
    main()
