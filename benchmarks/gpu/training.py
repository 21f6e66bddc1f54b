"""A ResNet-20 trained on the GPU, epoch after epoch: alone, or as one of several processes.

    python -m benchmarks.gpu.training FOLDER PRECISION [--small]

As a command it trains until there is a file `stop` in the folder, and prints when each epoch began and ended.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.gpu.harness import Setting
from search_spaces import Trial
from trainables import datasets
from trainables.context import Place, make_ready
from trainables.datasets import AUGMENTATIONS
from trainables.datasets.memory import InMemory
from trainables.training.loop import StoppedError
from trainables.training.trainer import make_trainer

IMAGES = 50_000  # of an epoch, as CIFAR-10's
STOP = "stop"


@dataclass(frozen=True)
class Epoch:
    """One epoch of training, without the test after it; seconds are those of `time.monotonic`."""

    images: int
    began: float
    ended: float


def batch_size(setting: Setting) -> int:
    """Return the images of a step."""
    return 16 if setting.small else 128


def images_of(setting: Setting, images: int) -> InMemory:
    """Return so many made-up images, which are cropped and flipped as CIFAR-10's are."""
    data = datasets.load("synthetic-32", None, setting.cache)
    assert isinstance(data, InMemory)
    rows = torch.arange(images) % len(data.train_y)
    return replace(
        data,
        spec=replace(data.spec, train_size=images, augment=AUGMENTATIONS["pad4-flip"]),
        train_x=data.train_x[rows],
        train_y=data.train_y[rows],
        rows=torch.arange(images),
        test_x=data.test_x[: 50 if setting.small else None],
        test_y=data.test_y[: 50 if setting.small else None],
    )


def of_an_epoch(setting: Setting) -> InMemory:
    """Return the images on which speed is measured."""
    return images_of(setting, 6 * batch_size(setting) if setting.small else IMAGES)


def train(
    setting: Setting,
    data: InMemory,
    precision: str,
    epochs: int,
    tell: Callable[[Epoch], object],
    stop: Callable[[], bool] = lambda: False,
) -> str:
    """Train a ResNet-20, or less if small, that was pruned at random; return how it was stepped.

    `tell` hears of each epoch.
    """
    base = {"dataset": "synthetic-32", "architecture": setting.network, "pruner": "random", "compression": 10.0}
    trial = Trial.model_validate(
        base | {"batch_size": batch_size(setting), "epochs": epochs, "precision": precision, "lr": 0.01}
    )
    device = make_ready(Place(setting.folder, setting.cache, device="cuda"))
    on = make_trainer(trial, data, device, save_seconds=1e9, stop=stop)
    masks = on.find(trial.compression).masks
    last = time.monotonic()
    stepped: dict[str, str] = {}

    def report(metrics: dict[str, float], number: int) -> None:
        nonlocal last
        tell(Epoch(len(data.rows), last, last + metrics["time/epoch_seconds"]))
        last = time.monotonic()

    try:
        on.train(masks, state=None, save=lambda state: None, report=report, tell=stepped.__setitem__)
    except StoppedError:
        assert stop()
    return stepped.get("stepped", "")


def main() -> None:
    """Train until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("precision")
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    setting = Setting(args.folder, args.small)
    epochs = 0

    def tell(epoch: Epoch) -> None:
        nonlocal epochs
        epochs += 1
        print(json.dumps([epoch.images, epoch.began, epoch.ended]), flush=True)

    def stop() -> bool:
        return epochs > 1 and (setting.folder / STOP).exists()  # the first is warm-up

    train(setting, of_an_epoch(setting), args.precision, 10**6, tell, stop)


if __name__ == "__main__":
    main()
