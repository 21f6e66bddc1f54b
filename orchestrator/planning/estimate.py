"""Cost estimate of a sweep before it runs: hours of CPU or GPU, and the duration on a number of nodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from rich.console import Console
from rich.table import Table

from orchestrator.planning.epoch_times import wall_seconds
from orchestrator.planning.plan import Plan
from orchestrator.planning.resources import Resources, concurrency
from orchestrator.terminal import duration
from search_spaces import Trial

NODES = (1, 2, 4, 8)
EACH = 1.0  # seconds of a small trial that are not training: scores, profiles, figures, its event log


@dataclass(frozen=True)
class Estimate:
    """Trials to do, their expected lengths, and the nodes that could run them.

    `measured` is the number of lengths that come from earlier trials, on `machines`; the others were timed here.
    """

    stages: tuple[Trial, ...]  # run before the other trials
    trials: tuple[Trial, ...]
    seconds: Mapping[str, float]  # of training, by fingerprint
    measured: int
    machines: Collection[str]
    nodes: Sequence[Mapping[str, float]]  # resources of each existing node
    resources: Resources
    alone: bool  # the trials run one after the other, in this process

    @property
    def total(self) -> float:
        """Return the seconds of training of all stages and trials together."""
        return sum(self.seconds[trial.fingerprint] for trial in (*self.stages, *self.trials))

    def at_once(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """Return how many trials run at once on `nodes`."""
        slots = 1 if self.alone else concurrency(self.resources, *nodes)
        return max(1, min(slots, self.resources.max_concurrent or slots))

    def wall(self, nodes: Sequence[Mapping[str, float]]) -> float:
        """Return the seconds from the first trial to the last on `nodes`: stages first, then the longest trials."""
        slots = self.at_once(nodes)
        parts = [[self.seconds[trial.fingerprint] + EACH for trial in part] for part in (self.stages, self.trials)]
        return sum(wall_seconds(sorted(part, reverse=True), slots) for part in parts)

    @property
    def known_on_gpu(self) -> bool:
        """Return True if the lengths hold where the trials run. Lengths timed here, on a CPU, do not hold for GPUs."""
        return not self.resources.gpus or self.all_measured

    @property
    def all_measured(self) -> bool:
        """Return True if all lengths were measured in earlier trials."""
        return self.measured == len(self.stages) + len(self.trials)


def estimate(
    plan: Plan,
    seconds: Mapping[str, float],
    measured: int,
    machines: Collection[str],
    nodes: Sequence[Mapping[str, float]],
    resources: Resources,
    alone: bool,
) -> Estimate:
    """Return the estimate for the trials to do in `plan`."""
    stages = {stage.fingerprint: stage for stage in plan.pretraining}
    trials = tuple(trial for trial in plan.todo if trial.fingerprint not in stages)
    trials += tuple(islice(cycle(plan.examples), plan.to_choose))  # a search will choose trials like these
    return Estimate(tuple(stages.values()), trials, seconds, measured, machines, nodes, resources, alone)


def show(cost: Estimate, console: Console, in_full: bool, here: bool = True, most: Estimate | None = None) -> None:
    """Print the estimate in one line; in two if it is the least and there is a `most`.

    With `in_full`, also its sources and the duration on more nodes like these; `here` is False if the nodes are a
    cluster's.
    """
    if most is None:
        console.print(_line(cost, in_full, here), highlight=False)
    else:
        console.print(f"at least {_line(cost, in_full, here)}", highlight=False)
        console.print(f"at most {_line(most, in_full, here)}", highlight=False)
        cost = most
    if in_full and cost.known_on_gpu:
        seen = f"the speed of earlier trials on {', '.join(sorted(cost.machines))}" if cost.measured else ""
        tried = "one training step of each kind, on one CPU thread"
        sources = filter(None, (seen, "" if cost.all_measured else tried))
        console.print(f"  from {', and '.join(sources)}", style="dim", highlight=False, soft_wrap=True)
        console.print(_on_more(cost))


def _line(cost: Estimate, in_full: bool, here: bool) -> str:
    """Return the estimate in one line."""
    each, workers = cost.resources, cost.resources.workers
    gpus = each.gpus * workers
    amount = f"about {duration(cost.total)} of training"
    if not cost.known_on_gpu:
        return f"{amount} on one CPU thread; GPUs are faster; the first trials show by how much"
    if gpus:
        amount += f", {_hours(cost.total * gpus)} GPU-hours"
    elif in_full:
        amount += f", {_hours(cost.total * each.cpus * workers)} CPU-hours"
    if cost.nodes:
        count = len(cost.nodes)
        there = "this machine" if here else f"{count} node{'s' * (count > 1)} of the cluster"
        amount += f"; {duration(cost.wall(cost.nodes))} on {there} with {cost.at_once(cost.nodes)} at once"
    return amount


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}" if hours >= 0.01 else "under 0.01"


def _on_more(cost: Estimate) -> Table:
    """Return a table of durations on 1, 2, 4, 8 nodes like the one that runs most trials at once."""
    node = max(cost.nodes, key=lambda node: cost.at_once([node]))
    table = Table(box=None, padding=(0, 2), header_style="bold", pad_edge=True)
    what = ", ".join(f"{node[kind]:g} {kind}{'s' * (node[kind] != 1)}" for kind in ("CPU", "GPU") if node.get(kind))
    table.add_column(f"nodes of {what}", justify="right")
    table.add_column("trials at once", justify="right")
    table.add_column("takes", justify="right")
    for count in NODES:
        nodes = [node] * count
        table.add_row(f"{count}", f"{cost.at_once(nodes)}", duration(cost.wall(nodes)))
        if cost.alone or cost.at_once(nodes) >= len(cost.trials):
            break
    return table
