"""What each trial gets of the machines: as the command line asks, else as is usual on what is there."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.costs.resources import (
    AS_MANY,
    FRACTION,
    Resources,
    each_worker,
    require_legal,
    require_somewhere,
    room,
    this_machine,
    usual_share,
)
from orchestrator.environment import prepare_ray
from search_spaces import SpaceError


def asked(args: argparse.Namespace) -> Resources:
    """The resources that the command line asks for each trial.

    Raises:
        SpaceError: in one sentence, if they cannot be, or not on this machine where trials are to run here.
    """
    here = this_machine()
    auto = args.gpus_per_trial == "auto"
    gpus = 1.0 if auto else _number("--gpus-per-trial", args.gpus_per_trial or "0")
    several = f"is for trials of one worker, and {args.workers_per_trial or f'{gpus:g}'} are asked for"
    if auto and (args.workers_per_trial or 1) > 1:
        raise SpaceError(f"--gpus-per-trial: auto {several}")
    gpus, workers = each_worker(gpus, args.workers_per_trial)
    if workers > 1 and args.pack is not None:
        raise SpaceError(f"--pack: {args.pack} {several}")
    resources = Resources(
        args.cpus_per_trial, gpus, args.max_concurrent, auto and not args.local, _pack(args.pack), workers
    )
    require_legal(resources)
    if args.address is None:  # else nothing is known yet
        resources = _usual(args, resources, [here])
        require_somewhere([here], resources)
    return resources


def _usual(args: argparse.Namespace, resources: Resources, nodes: Sequence[Mapping[str, float]]) -> Resources:
    """What a trial gets where nobody says otherwise, on such `nodes`."""
    if args.pack == "auto":
        if not any(node.get("GPU", 0) for node in nodes) or args.gpus_per_trial == "0":
            return resources  # on CPUs it does not pay
        if args.local:
            raise SpaceError("--pack: auto finds out on Ray how many fit; give a number with --local")
        if args.gpus_per_trial not in (None, "auto"):
            return replace(resources, pack=max(1, int(1 / resources.gpus)))
        return replace(resources, gpus=1.0, auto=True, pack=AS_MANY)
    if args.gpus_per_trial is None:
        share = usual_share(nodes, resources.pack)
        return replace(resources, gpus=share if resources.workers == 1 else math.ceil(share))
    return resources


def _pack(text: str | None) -> int:
    if text is None or text == "auto":
        return 1
    try:
        return int(text)
    except ValueError:
        raise SpaceError(f"--pack: '{text}' is not allowed; it must be auto or a whole number from 1") from None


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SpaceError(f"{flag}: '{text}' is not allowed; it must be auto, {FRACTION}") from None


def room_for(
    args: argparse.Namespace, resources: Resources, tracking_uri: str
) -> tuple[list[dict[str, float]], Resources]:
    """What there is to run on, and what a trial gets of it."""
    if args.address is None or args.local:
        return [this_machine()], resources
    prepare_ray(args.address)
    from orchestrator.driver import connected, survey

    nodes, to_come = survey(args.address)
    resources = _usual(args, resources, [*nodes, *to_come])
    if args.dry_run:  # what would be refused is refused now
        with connected(args.address, resources, args.output, tracking_uri, args.data_root, args.storage):
            pass
    return [node for node in nodes if room(resources, node)] or to_come, resources
