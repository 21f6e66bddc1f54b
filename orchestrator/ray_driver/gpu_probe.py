"""`--gpus-per-trial auto`: measurement of one trial of each kind on a GPU of the cluster, before the sweep runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ray
import torch

from orchestrator.planning.epoch_times import TrialKind, trial_kind
from orchestrator.planning.resources import Resources
from orchestrator.ray_driver.nodes import alive
from search_spaces import SpaceError, Trial
from trainables.gpu_probe import peak_bytes

MARGIN = 0.15  # added to a trial's peak: fragmentation, larger batches while scoring, other kernels chosen by cuDNN


@dataclass(frozen=True)
class GpuMeasurement:
    """Memory of one trial alone on a GPU, and the node's CPUs per GPU."""

    peak_bytes: int  # of GPU memory that the process took
    total_bytes: int
    cpus_per_gpu: float

    def __str__(self) -> str:
        return f"{self.peak_bytes / 2**30:.1f} of {self.total_bytes / 2**30:.0f} GiB"


def packed(measured: GpuMeasurement, cpus_per_trial: float) -> int:
    """Return how many such trials fit on a GPU at once, by its memory and by its share of CPUs; at least one."""
    fit = measured.total_bytes / (measured.peak_bytes * (1 + MARGIN))
    fed = measured.cpus_per_gpu / cpus_per_trial
    return max(1, int(min(fit, fed)))


def share(measured: GpuMeasurement, cpus_per_trial: float) -> float:
    """Return the fraction of a GPU per trial, rounded down to the four decimals that Ray accepts, so that all fit."""
    return max(1, 10_000 // packed(measured, cpus_per_trial)) / 10_000


def measured_shares(trials: Sequence[Trial], resources: Resources, say: Callable[[str], None]) -> dict[str, float]:
    """Return the share of a GPU for each trial, by fingerprint. Waits if the cluster has yet to start a GPU node.

    Raises:
        SpaceError: if the measurement fails, for example because torch finds no CUDA on the node that has the GPU.
    """
    kinds: dict[TrialKind, list[Trial]] = {}
    for trial in trials:
        kinds.setdefault(trial_kind(trial), []).append(trial)
    asked = {key: _measure.options(num_cpus=resources.cpus).remote(alike) for key, alike in kinds.items()}
    shares: dict[str, float] = {}
    for (dataset, network, batch), alike in kinds.items():
        try:
            node, peak, total = ray.get(asked[dataset, network, batch])
        except (RuntimeError, AssertionError, ray.exceptions.RayError) as error:
            why = str(getattr(error, "cause", error)).strip().splitlines()[-1][:200]
            raise SpaceError(f"--gpus-per-trial: auto could not measure {network} on a GPU ({why})") from None
        has = alive().get(node, {})
        measured = GpuMeasurement(peak, total, has.get("CPU", 1) / max(1, has.get("GPU", 1)))
        say(f"{network} on {dataset}, batch {batch}: {measured}, {packed(measured, resources.cpus)} on each GPU")
        shares |= {trial.fingerprint: share(measured, resources.cpus) for trial in alike}
    return shares


@ray.remote(num_gpus=1, max_calls=1)  # a fresh process for each measurement, because torch keeps memory reserved
def _measure(alike: list[Trial]) -> tuple[str, int, int]:
    """Measure on a GPU node; return the node's id, the peak in bytes, and the GPU's memory in bytes."""
    device = torch.device("cuda", 0)
    peak = peak_bytes(alike, device)
    return ray.get_runtime_context().get_node_id(), peak, torch.cuda.get_device_properties(device).total_memory
