"""How fast networks were trained before: in any experiment of the store, on images of the same size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    """What each worker of finished trials reached, on GPUs or on CPUs, of the networks of `trials` on such images.

    And on which machines.
    """
    speeds: dict[Shape, list[float]] = {}
    machines: set[str] = set()
    for key, trial in {shape(trial): trial for trial in trials}.items():
        for run in _runs(client, trial):
            machine = run.data.tags.get("machine", "")
            if on_gpu != (" CPU, " in machine):
                speeds.setdefault(key, []).append(run.data.metrics[METRIC] / workers_of(run.data.tags))
                machines.add(machine)
    return speeds, machines


def of_one_worker(client: MlflowClient, trials: Iterable[Trial]) -> dict[str, dict[str, float]]:
    """Images per second of one worker in trials like these: by fingerprint and machine, where it is known."""
    known: dict[str, dict[str, float]] = {}
    for trial in trials:
        asked = {key: str(getattr(trial, key)) for key in ("batch_size", "precision")}
        for run in _runs(client, trial):
            if workers_of(run.data.tags) == 1 and asked.items() <= run.data.params.items():
                machine = run.data.tags.get("machine", "")
                known.setdefault(trial.fingerprint, {}).setdefault(machine, run.data.metrics[METRIC])  # the newest
    return known


def _runs(client: MlflowClient, trial: Trial) -> list[Any]:
    """Finished runs of any experiment with the network of `trial`, on images of its size; the newest first."""
    (label, size), name = shape(trial), trial.architecture.replace("'", "")
    query = (
        f"params.architecture = '{name}' and tags.input_shape = '{size}' and metrics.`{METRIC}` > 0 "
        "and attributes.status = 'FINISHED'"
    )
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments, query, max_results=ENOUGH, order_by=["attributes.start_time DESC"])
    return [run for run in runs if label_of(run.data.params) == label]


def workers_of(tags: Mapping[str, str]) -> int:
    """How many workers trained the trial of a run with these tags."""
    return int(tags.get("workers", "1"))


def label_of(params: Any) -> str:
    """How people call the network of a run with these params."""
    options = {key: value for key, value in params.items() if key.startswith("architecture_options.")}
    own = tuple(sorted((key.partition(".")[2], value) for key, value in options.items()))
    return Network(params["architecture"], own).label
