"""The in-memory pipeline against torchvision's: images a second with crop and flip, and memory per process.

    python -m benchmarks.data [--runs 5]

Images are made up, of CIFAR-10's shape. torchvision's pipeline is the usual one (ToTensor, RandomCrop,
RandomHorizontalFlip, Normalize on PIL images, in a DataLoader), with the better of 0 and 2 workers; the two take turns.
Memory is what only one process has (private pages), of processes that run at once: before the dataset is loaded, and
the most while an epoch passes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rows import cost, row
from trainables.datasets import DATASETS, Dataset, load

ROOT = Path(__file__).parents[1]
BATCH = 128
IMAGES = DATASETS["cifar10"].train_size
PICTURES = 10_000  # of them go through torchvision, which takes as long for each
MB = 2**20


def write_cache(cache: Path) -> None:
    """A decoded CIFAR-10 of made-up images: what `load` finds it takes."""
    draw = np.random.default_rng(0)
    folder = cache / "cifar10"
    folder.mkdir(parents=True)
    for part, n in (("train", IMAGES), ("test", DATASETS["cifar10"].test_size)):
        np.save(folder / f"{part}_x.npy", draw.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8))
        np.save(folder / f"{part}_y.npy", np.arange(n, dtype=np.int64) % 10)


def passed(batches: Iterable[Any]) -> float:
    """Images a second of one epoch."""
    started = time.perf_counter()
    seen = sum(len(y) for _, y in batches)
    return seen / (time.perf_counter() - started)


class Pictures(torch.utils.data.Dataset[tuple[Any, int]]):
    """The same images as torchvision's CIFAR10 gives them."""

    def __init__(self, data: Dataset, images: np.ndarray[Any, Any]) -> None:
        from torchvision import transforms

        self.images, self.classes = images, data.train_y.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.spec.mean, data.spec.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), self.classes[index]


def rates(cache: Path, runs: int) -> None:
    """Print images a second of both, and their ratio."""
    data = load("cifar10", None, cache)
    whole = np.load(cache / "cifar10" / "train_x.npy")[:PICTURES].transpose(0, 2, 3, 1)
    pictures = Pictures(data, np.ascontiguousarray(whole))
    loaders = {n: torch.utils.data.DataLoader(pictures, BATCH, shuffle=True, num_workers=n) for n in (0, 2)}
    measured: dict[str, list[float]] = {"ours": [], "torchvision, 0 workers": [], "torchvision, 2 workers": []}
    ratios = []
    passed(data.train_batches(0, 0, BATCH))  # brings the file into memory
    for epoch in range(1, runs + 1):
        ours = passed(data.train_batches(0, epoch, BATCH))
        theirs = [passed(loader) for loader in loaders.values()]
        for record, value in zip(measured.values(), (ours, *theirs), strict=True):
            record.append(value)
        ratios.append(ours / max(theirs))
    middles = {name: f"{statistics.median(values):,.0f}" for name, values in measured.items()}
    print(row(f"data, images/s ({', '.join(f'{name}: {rate}' for name, rate in middles.items())})", ratios, 20.7, 20))


def private_mb() -> float:
    """Memory that this process shares with no other, in MiB."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def one_process(cache: Path) -> None:
    """Load and pass an epoch when told to; say what memory that took. Ends when its input does."""
    torch.set_num_threads(1)
    before = private_mb()
    data = load("cifar10", None, cache)
    for _, y in data.train_batches(0, 0, BATCH):
        assert len(y)
    print("ready", flush=True)
    sys.stdin.readline()  # until all others have the images too: what one alone maps counts as its own
    most = 0.0
    for step, _ in enumerate(data.train_batches(0, 1, BATCH)):
        if step % 20 == 0:
            most = max(most, private_mb())
    print(json.dumps({"before": before, "most": most}), flush=True)
    sys.stdin.readline()


def memory(cache: Path, processes: int = 3) -> list[dict[str, float]]:
    """What each of several processes at once takes for itself (MiB): `before` it loads the images, and at `most`."""
    command = [sys.executable, "-m", "benchmarks.data", "--process", str(cache)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(processes)
    ]
    try:
        pipes = [(process.stdin, process.stdout) for process in running]
        for _, told in pipes:
            assert told is not None and told.readline() == "ready\n"
        found = []
        for tell, told in pipes:
            assert tell is not None and told is not None
            tell.write("\n")
            tell.flush()
            found.append(json.loads(told.readline()))
        return found
    finally:
        for process in running:
            process.communicate()  # closes its input


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--process", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.process:
        one_process(args.process)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_cache(Path(folder))
        rates(Path(folder), args.runs)
        found = memory(Path(folder))
    images = IMAGES * 3 * 32 * 32 / MB
    more = [(values["most"] - values["before"]) / images for values in found]
    print(cost(f"data, private memory of a process / the images ({images:.0f} MiB)", more))


if __name__ == "__main__":
    main()
