"""How fast networks were trained before: in any experiment of the store, on images of the same size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.cost import Shape, shape
from search_spaces import Network, Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRIC = "time/images_per_second"
ENOUGH = 50  # runs of each shape, the newest: a store may hold thousands


def images_per_second(
    client: MlflowClient, trials: Iterable[Trial], on_gpu: bool
) -> tuple[dict[Shape, list[float]], set[str]]:
    """What finished trials reached, on GPUs or on CPUs, of the networks of `trials` on images of their size.

    And on which machines.
    """
    wanted = {shape(trial): trial for trial in trials}
    experiments = [found.experiment_id for found in client.search_experiments()] if wanted else []
    speeds: dict[Shape, list[float]] = {}
    machines: set[str] = set()
    for (label, size), trial in wanted.items():
        name = trial.architecture.replace("'", "")
        query = (
            f"params.architecture = '{name}' and tags.input_shape = '{size}' and metrics.`{METRIC}` > 0 "
            "and attributes.status = 'FINISHED'"
        )
        runs = client.search_runs(experiments, query, max_results=ENOUGH, order_by=["attributes.start_time DESC"])
        for run in runs:
            machine = run.data.tags.get("machine", "")
            if label_of(run.data.params) == label and on_gpu != (" CPU, " in machine):
                speeds.setdefault((label, size), []).append(run.data.metrics[METRIC])
                machines.add(machine)
    return speeds, machines


def label_of(params: Any) -> str:
    """How people call the network of a run with these params."""
    options = {key: value for key, value in params.items() if key.startswith("architecture_options.")}
    own = tuple(sorted((key.partition(".")[2], value) for key, value in options.items()))
    return Network(params["architecture"], own).label
