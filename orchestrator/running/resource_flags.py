"""Resources of each trial: from the command line, or defaults that fit the available nodes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from orchestrator.environment import prepare_ray
from orchestrator.planning.resources import (
    FRACTION,
    Resources,
    each_worker,
    require_legal,
    require_somewhere,
    room,
    this_machine,
    usual_share,
)
from orchestrator.running.request import Request
from search_spaces import SpaceError
from trainables.gpu.check import driver_fault
from trainables.gpu.memory import mps_runs, sharing

PACK = (
    "--pack: several trials no longer share a process; give for example --gpus-per-trial 0.125, and start NVIDIA's MPS "
    "daemon so that trials run at the same time (docs/gpus.md)"
)


def resources_of(request: Request) -> Resources:
    """Return the resources that the command line asks for each trial.

    Raises:
        SpaceError: in one sentence, if they are invalid, or if trials run here and this machine does not have them.
    """
    here = this_machine()
    auto = request.gpus_per_trial == "auto"
    gpus = 1.0 if auto else _number("--gpus-per-trial", request.gpus_per_trial or "0")
    if auto and (request.workers_per_trial or 1) > 1:
        raise SpaceError(
            f"--gpus-per-trial: auto is for trials of one worker, and {request.workers_per_trial} are asked for"
        )
    gpus, workers = each_worker(gpus, request.workers_per_trial)
    resources = Resources(request.cpus_per_trial, gpus, request.max_concurrent, auto and not request.local, workers)
    require_legal(resources)
    if request.address is None:  # the nodes of a cluster are not known yet
        resources = _usual(request, resources, [here])
        if resources.gpus and (fault := driver_fault()):
            raise SpaceError(f"--gpus-per-trial: {fault}; with --gpus-per-trial 0 trials run on CPUs")
        require_somewhere([here], resources)
    return resources


def _usual(request: Request, resources: Resources, nodes: Sequence[Mapping[str, float]]) -> Resources:
    """Return `resources` with the default number of GPUs on these `nodes`, unless the command line gives one."""
    if request.gpus_per_trial is None:
        share = usual_share(nodes)
        return replace(resources, gpus=share if resources.workers == 1 else math.ceil(share))
    return resources


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SpaceError(f"{flag}: '{text}' is not allowed; it must be auto, {FRACTION}") from None


def room_for(
    request: Request, resources: Resources, say: Callable[[str], object]
) -> tuple[list[dict[str, float]], Resources, str]:
    """Return the nodes that can run trials, the resources of a trial, and a line on how GPUs are shared, if known.

    `say` shows a line while nodes are waited for.
    """
    if request.address is None or request.local:
        here = this_machine()
        mps = {"here": mps_runs(os.environ)} if here["GPU"] and resources.sharing and not request.local else {}
        return [here], resources, sharing(mps)
    prepare_ray(request.address)
    from orchestrator.ray_driver import cluster_resources, ray_connection

    nodes, to_come = cluster_resources(request.address, resources, say)
    resources = _usual(request, resources, [*nodes, *to_come])
    told = ""
    if request.dry_run:  # a dry run must reject whatever the sweep would reject
        with ray_connection(
            request.address, resources, request.output, request.tracking_uri, request.data_root, request.storage
        ) as mps:
            told = sharing(mps) if resources.sharing else ""
    return [node for node in nodes if room(resources, node)] or to_come, resources, told
