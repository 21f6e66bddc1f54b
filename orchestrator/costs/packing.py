"""How many trials a GPU holds: from the memory that one was seen to take."""

from __future__ import annotations

from dataclasses import dataclass

MARGIN = 0.15  # of a trial's peak: fragmentation, larger batches of scores, cuDNN choosing other kernels


@dataclass(frozen=True)
class Measured:
    """One trial alone on one GPU, and the node it ran on."""

    peak_bytes: int  # all that its process took of the GPU's memory
    total_bytes: int
    cpus_per_gpu: float  # of the node

    def __str__(self) -> str:
        return f"{self.peak_bytes / 2**30:.1f} of {self.total_bytes / 2**30:.0f} GiB"


def packed(measured: Measured, cpus_per_trial: float) -> int:
    """How many such trials run on a GPU at once: as many as its memory holds and its CPUs feed; at least one."""
    fit = measured.total_bytes / (measured.peak_bytes * (1 + MARGIN))
    fed = measured.cpus_per_gpu / cpus_per_trial
    return max(1, int(min(fit, fed)))


def share(measured: Measured, cpus_per_trial: float) -> float:
    """The part of a GPU that each gets: rounded down to the four decimals that Ray takes, so that all fit."""
    return max(1, 10_000 // packed(measured, cpus_per_trial)) / 10_000
