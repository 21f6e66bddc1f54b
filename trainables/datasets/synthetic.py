"""Synthetic images for tests and for measuring throughput: no download, any size, and learnable."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from trainables.datasets.spec import Arrays, DatasetSpec
from trainables.randomness import derive

CELL = 4  # side, in pixels, of a pattern's squares, so that convolutions see edges
CONTRAST, NOISE = 24, 64  # of 255: hard enough that a pruned network does worse


def _read(spec: DatasetSpec, _: tuple[Path, ...] | None, scratch: Path) -> Arrays:
    channels, height, width = spec.input_shape
    draw = np.random.default_rng(derive(0, spec.name))
    squares = (spec.num_classes, channels, height // CELL, width // CELL)
    coarse = draw.choice(np.array([-CONTRAST, CONTRAST], np.int16), squares)
    parts = []
    for part, n in (("train", spec.train_size), ("test", spec.test_size)):
        y = np.arange(n, dtype=np.int64) % spec.num_classes
        x = np.lib.format.open_memmap(scratch / f"{part}.npy", "w+", np.uint8, (n, *spec.input_shape))
        for row, label in enumerate(y):
            pattern = coarse[label].repeat(CELL, axis=1).repeat(CELL, axis=2)
            noise = draw.integers(-NOISE, NOISE, spec.input_shape, dtype=np.int16, endpoint=True)
            x[row] = 128 + pattern + noise
        parts += [x, y]
    return Arrays(*parts)


def _spec(side: int, num_classes: int, train_size: int, test_size: int) -> DatasetSpec:
    spec = DatasetSpec(
        name=f"synthetic-{side}",
        summary=f"made-up patterns of {num_classes} classes in noise, {side}x{side} colour, no download",
        input_shape=(3, side, side),
        num_classes=num_classes,
        train_size=train_size,
        test_size=test_size,
        smallest_class=train_size // num_classes,
        mean=(0.5,) * 3,
        std=(0.17,) * 3,
    )
    return replace(spec, read=partial(_read, spec))


SYNTHETIC_32 = _spec(32, num_classes=10, train_size=2000, test_size=500)
SYNTHETIC_224 = _spec(224, num_classes=1000, train_size=2000, test_size=1000)
