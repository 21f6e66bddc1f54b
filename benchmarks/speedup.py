"""Whether `model/speedup` is the same on a busy machine: a compacted ResNet-20, measured quiet and under load in turn.

    python -m benchmarks.speedup [--processes 8] [--repeats 5] [--compression 100]

The load is processes that multiply matrices. Beside the pairs' CPU times, which trials use, the table has pairs of wall
times and wall times of each network alone, 15 passes of one and then 15 of the other.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from pruners import compact, prune
from trainables.architectures import build
from trainables.profiling import BATCH, latency
from trainables.training.fast_paths import laid_out

SHAPE = (3, 32, 32)
HELD = 0.1  # largest difference between the medians quiet and under load


class Load:
    """Processes that multiply matrices while `busy`, and are paused otherwise, so that they start only once."""

    WORK = """
import numpy, os
a, parent = numpy.random.rand(256, 256), os.getppid()
while os.getppid() == parent:  # it ends with the benchmark, however that ends
    a @ a
"""

    def __init__(self, processes: int) -> None:
        """Start the processes, paused."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        command = [sys.executable, "-c", self.WORK]
        self._processes = [subprocess.Popen(command, env=os.environ | threads) for _ in range(processes)]
        self._send(signal.SIGSTOP)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let the processes run inside the block."""
        self._send(signal.SIGCONT)
        try:
            yield
        finally:
            self._send(signal.SIGSTOP)

    def end(self) -> None:
        """Kill the processes."""
        self._send(signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def _send(self, what: signal.Signals) -> None:
        for process in self._processes:
            process.send_signal(what)


def networks(compression: float) -> tuple[nn.Module, nn.Module]:
    """The dense ResNet-20 and its compacted form after SynFlow."""
    dense = laid_out(build("resnet20", SHAPE, 10, seed=0), SHAPE)
    example = [(torch.zeros(1, *SHAPE), torch.zeros(1, dtype=torch.int64))]
    compacted = compact(dense, prune(dense, "synflow", compression, example, iterations=10), SHAPE)
    assert not compacted.reason
    return dense, compacted.model


def one_after_the_other(dense: nn.Module, small: nn.Module) -> float:
    """The ratio of two median wall times, each network measured by itself."""
    x, medians = torch.zeros(BATCH, *SHAPE), []
    for model in (dense.eval(), small.eval()):
        times = []
        with torch.inference_mode():
            for _ in range(18):
                started = time.perf_counter()
                model(x)
                times.append(time.perf_counter() - started)
        medians.append(statistics.median(times[3:]))
    return medians[0] / medians[1]


METHODS: dict[str, Callable[[nn.Module, nn.Module], float]] = {
    "pairs, CPU time (`model/speedup`)": lambda dense, small: latency(dense, small, SHAPE).speedup,
    "pairs, wall time": lambda dense, small: latency(dense, small, SHAPE, time.perf_counter).speedup,
    "one after the other, wall time": one_after_the_other,
}


def _words(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}, n={len(values)})"


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8, help="that are busy beside the measurement")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement, quiet and under load")
    parser.add_argument("--compression", type=float, default=100.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    dense, small = networks(args.compression)
    found: dict[str, dict[int, list[float]]] = {name: {0: [], args.processes: []} for name in METHODS}
    print(f"{os.cpu_count()} cores; load of others at the start {os.getloadavg()[0]:.1f}\n", flush=True)
    others = Load(args.processes)
    try:
        for _ in range(args.repeats):
            for name, method in METHODS.items():
                for processes in (0, args.processes):
                    with others.busy() if processes else nullcontext():
                        found[name][processes].append(method(dense, small))
                    print(f"{name}, {processes} busy: {found[name][processes][-1]:.3f}", file=sys.stderr, flush=True)
    finally:
        others.end()
        report(found, args.processes, args.compression)  # of what there is, if it was interrupted


def report(found: dict[str, dict[int, list[float]]], processes: int, compression: float) -> None:
    """Print the table: medians, least to most, number of measurements."""
    print(f"| speedup of ResNet-20 at {compression:g}x | quiet | {processes} busy processes | difference | |")
    print("| --- | --- | --- | --- | --- |")
    for name, by_load in found.items():
        quiet, busy = by_load[0], by_load[processes]
        if not (quiet and busy):
            continue
        difference = statistics.median(busy) / statistics.median(quiet) - 1
        verdict = f"at most {HELD:.0%}: {'held' if abs(difference) <= HELD else 'missed'}"
        print(f"| {name} | {_words(quiet)} | {_words(busy)} | {difference:+.1%} | {verdict} |")


if __name__ == "__main__":
    main()
