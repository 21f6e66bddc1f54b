"""The GPUs of the connected cluster, tried before any trial is."""

from __future__ import annotations

from dataclasses import dataclass

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search_spaces import SpaceError
from trainables.gpu_check import Tried, driver_fault, try_gpus

ANSWER_SECONDS = 180.0  # a node's first: it fetches our code and imports torch; one whose GPUs are busy gives none


@dataclass(frozen=True)
class Seen:
    """What a node says of its GPUs."""

    driver: str  # why none can be used; "" if nothing is known
    tried: Tried | None = None


def require_gpus() -> list[str]:
    """Try the GPUs of all nodes that have some; return a line for each that does not work, where others do.

    Raises:
        SpaceError: if the driver of a node is too old for its torch, or no GPU works.
    """
    nodes = {
        node["NodeID"]: (node["NodeManagerAddress"], node["Resources"]["GPU"])
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"] and node["Resources"].get("GPU", 0) >= 1
    }
    answers = {
        node: _see.options(
            num_gpus=int(count), scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote()
        for node, (_, count) in nodes.items()
    }
    ready, busy = (
        ray.wait(list(answers.values()), num_returns=len(answers), timeout=ANSWER_SECONDS) if answers else ([], [])
    )
    for answer in busy:
        ray.cancel(answer, force=True)
    faults, works = [], bool(busy)
    for node, answer in answers.items():
        if answer not in ready:
            continue
        name = nodes[node][0]
        try:
            seen: Seen = ray.get(answer)
        except ray.exceptions.RayError as error:
            faults.append(f"the GPUs of node {name} could not be tried ({' '.join(str(error).split())[:200]})")
            continue
        if seen.driver:
            raise SpaceError(f"--gpus-per-trial: on node {name} {seen.driver}")
        assert seen.tried is not None
        works = works or len(seen.tried.faults) < seen.tried.count
        faults += [f"GPU {number} of node {name} does not work: {why}" for number, why in seen.tried.faults.items()]
    if answers and not works:
        raise SpaceError(f"--gpus-per-trial: {'; '.join(faults) or 'no GPU is seen by torch'}")
    return faults


@ray.remote(num_cpus=0, max_retries=0, max_calls=1)
def _see() -> Seen:
    """Done on a node, with all of its GPUs."""
    fault = driver_fault()
    return Seen(fault) if fault else Seen("", try_gpus())
