"""`--gpus-per-trial auto`: one trial of each kind tried out on a GPU of the cluster, before any is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ray
import torch

from orchestrator.costs.cost import Kind, kind
from orchestrator.costs.packing import Measured, packed, share
from orchestrator.costs.resources import Resources
from orchestrator.driver.nodes import alive
from search_spaces import SpaceError, Trial
from trainables.gpu_probe import peak_bytes


def measured_shares(trials: Sequence[Trial], resources: Resources, say: Callable[[str], None]) -> dict[str, float]:
    """The share of a GPU for each trial, by fingerprint. Waits for a GPU, should the cluster have yet to start one.

    Raises:
        SpaceError: if torch finds no CUDA on the node that has the GPU.
    """
    kinds: dict[Kind, list[Trial]] = {}
    for trial in trials:
        kinds.setdefault(kind(trial), []).append(trial)
    asked = {key: _measure.options(num_cpus=resources.cpus).remote(alike) for key, alike in kinds.items()}
    shares: dict[str, float] = {}
    for (dataset, network, batch), alike in kinds.items():
        try:
            node, peak, total = ray.get(asked[dataset, network, batch])
        except (RuntimeError, AssertionError, ray.exceptions.RayError) as error:
            why = str(getattr(error, "cause", error)).strip().splitlines()[-1][:200]
            raise SpaceError(f"--gpus-per-trial: auto could not try out {network} on a GPU ({why})") from None
        has = alive().get(node, {})
        measured = Measured(peak, total, has.get("CPU", 1) / max(1, has.get("GPU", 1)))
        say(f"{network} on {dataset}, batch {batch}: {measured}, {packed(measured, resources.cpus)} on each GPU")
        shares |= {trial.fingerprint: share(measured, resources.cpus) for trial in alike}
    return shares


@ray.remote(num_gpus=1, max_calls=1)  # a process of its own: what the one before had reserved is gone
def _measure(alike: list[Trial]) -> tuple[str, int, int]:
    """On a GPU node: its id, the peak in bytes, and what the GPU has."""
    device = torch.device("cuda", 0)
    peak = peak_bytes(alike, device)
    return ray.get_runtime_context().get_node_id(), peak, torch.cuda.get_device_properties(device).total_memory
