"""A trial by two workers with a GPU each, against the same by one."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.gpu.harness import WEIGHTS_MB, Result, Setting, judged, unequal
from trainables.context import Place
from trainables.run import run_together

ROUNDING = 1e-3  # of the loss after an epoch: sums are taken in another order


def teams(setting: Setting) -> Iterator[Result]:
    """Masks equal, loss to rounding."""
    row = "teams: 2 workers as 1"
    if torch.cuda.device_count() < 2:
        yield Result(row, "skipped", "there is one GPU, and NCCL takes one for each worker")
        return
    trial = setting.trial(epochs=1, lr=0.01)
    alone = setting.run(trial, "alone")
    outcome = run_together(
        trial, Place(setting.folder / "both", setting.cache, device="cuda", workers=2, weights_mb=WEIGHTS_MB)
    )
    both = setting.run(trial, "both")  # is finished: its record is read
    if {outcome.end, alone.outcome.end} != {"finished"}:
        yield Result(row, "FAIL", f"one worker: {alone.end}; two: {outcome.end} {outcome.error[:150]}")
        return
    losses = alone.metrics["final/loss"], both.metrics["final/loss"]
    masks = unequal(alone.tensors("masks.safetensors"), both.tensors("masks.safetensors"))
    good = masks == 0 and abs(losses[0] - losses[1]) <= ROUNDING * losses[0]
    speeds = f"{alone.speed} and {both.speed}"
    yield judged(row, good, f"loss {losses[0]:.5f} and {losses[1]:.5f}, mask bits that differ {masks}; {speeds}")
