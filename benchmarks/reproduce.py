"""What each recipe of a paper costs: trials, epochs, on one H200 and on two CPU cores. Trains nothing; takes minutes.

    python -m benchmarks.reproduce [PRESET ...]

The cores: a training step of each kind is tried out, as `--dry-run` does it. The H200: nothing was measured there. It
is taken to train 50,000 images of `resnet18-cifar` a second and others in proportion to their multiply-accumulates,
but none faster than 60,000 (small networks wait for the CPU). Scoring is not counted, nor what reading images costs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console

import search_spaces
from orchestrator.planning.catalog import catalog
from orchestrator.planning.check_networks import outline
from orchestrator.planning.epoch_times import SLACK, trial_seconds
from orchestrator.terminal import duration
from search_spaces import Trial, expand, load, stage
from trainables.datasets import lookup
from trainables.profiling import macs

FASTEST, ANCHOR = 60_000, 50_000 * 556e6  # images a second; multiply-accumulates of images a second, forward
CORES = 2
# Masks that only the user has: at any compression a trial costs the same.
YOURS = SimpleNamespace(fields={"mask": "0" * 64, "pruner": "ntk-sap", "compression": 10.0})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*")
    console = Console(width=120, highlight=False)
    console.print("| preset | trials | epochs in all | one H200 | 2 cores |")
    papers = sorted(file.stem for file in (Path(search_spaces.__file__).parent / "papers").glob("*.yaml"))
    for name in parser.parse_args().presets or papers:
        _, trials = expand(load(name), catalog(mask=lambda asked: YOURS))
        stages = {dense.fingerprint: dense for trial in trials if (dense := stage(trial))}
        every = tuple(({trial.fingerprint: trial for trial in trials} | stages).values())
        seconds = sum(trial_seconds(every, {}).values()) / CORES
        epochs = sum(trial.epochs_to_train for trial in every)
        console.print(f"| {name} | {len(trials):,} | {epochs:,} | {duration(_on_gpu(every))} | {duration(seconds)} |")


def _on_gpu(trials: tuple[Trial, ...]) -> float:
    """Seconds of training on one H200 by the rule above."""
    return sum(SLACK * t.epochs_to_train * lookup(t.dataset).train_size / _images_a_second(t) for t in trials)


def _images_a_second(trial: Trial) -> float:
    shape = lookup(trial.dataset).input_shape
    return min(FASTEST, ANCHOR / sum(map(sum, macs(outline(trial.network, trial.dataset), shape).values())))


if __name__ == "__main__":
    main()
