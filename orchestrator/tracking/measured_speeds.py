"""Training speeds measured in earlier runs of the store, in any experiment, on images of the same size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.planning.epoch_times import TrialShape, shape
from orchestrator.results.store import connect, is_empty, store_errors
from search_spaces import Network, Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRIC = "time/images_per_second"
ENOUGH = 50  # newest runs to read per shape: a store may hold thousands


def images_per_second(
    tracking_uri: str, trials: Iterable[Trial], on_gpu: bool
) -> tuple[dict[TrialShape, list[float]], set[str]]:
    """Return the images per second and worker of earlier trials, and the machines they ran on.

    The trials ran on GPUs, or on CPUs, with the networks of `trials` and images of the same size.

    Raises:
        SpaceError: if the store cannot be read.
    """
    speeds: dict[TrialShape, list[float]] = {}
    machines: set[str] = set()
    with _store(tracking_uri) as client:
        for key, trial in {shape(trial): trial for trial in trials}.items():
            for run in _runs(client, trial):
                machine = run.data.tags.get("machine", "")
                if on_gpu == on_a_gpu(machine):
                    speeds.setdefault(key, []).append(run.data.metrics[METRIC] / workers_of(run.data.tags))
                    machines.add(machine)
    return speeds, machines


def of_one_worker(tracking_uri: str, trials: Iterable[Trial]) -> dict[str, dict[str, float]]:
    """Return the images per second of one worker, by fingerprint and machine, where similar trials were measured.

    Raises:
        SpaceError: if the store cannot be read.
    """
    known: dict[str, dict[str, float]] = {}
    with _store(tracking_uri) as client:
        found: dict[TrialShape, list[Any]] = {}  # one request per shape, not per trial
        for trial in trials:
            asked = {key: str(getattr(trial, key)) for key in ("batch_size", "precision")}
            if shape(trial) not in found:
                found[shape(trial)] = _runs(client, trial)
            for run in found[shape(trial)]:
                if workers_of(run.data.tags) == 1 and asked.items() <= run.data.params.items():
                    machine = run.data.tags.get("machine", "")
                    known.setdefault(trial.fingerprint, {}).setdefault(machine, run.data.metrics[METRIC])  # the newest
    return known


@contextmanager
def _store(tracking_uri: str) -> Iterator[MlflowClient | None]:
    """Yield a client for the store, or None if nothing was written to it yet."""
    with store_errors(tracking_uri):
        yield None if is_empty(tracking_uri) else connect(tracking_uri)


def _runs(client: MlflowClient | None, trial: Trial) -> list[Any]:
    """Return finished runs, newest first, of any experiment with the network of `trial` on images of its size."""
    if client is None:
        return []
    (label, size), name = shape(trial), trial.architecture.replace("'", "")
    query = (
        f"params.architecture = '{name}' and tags.input_shape = '{size}' and metrics.`{METRIC}` > 0 "
        "and attributes.status = 'FINISHED'"
    )
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments, query, max_results=ENOUGH, order_by=["attributes.start_time DESC"])
    return [run for run in runs if label_of(run.data.params) == label]


def on_a_gpu(machine: str) -> bool:
    """Return True if the tag `machine` names a GPU; a CPU's looks like "AVX2 CPU, x86_64, threads=1"."""
    return " CPU, " not in machine


def workers_of(tags: Mapping[str, str]) -> int:
    """Return how many workers trained the trial of a run with these tags."""
    return int(tags.get("workers", "1"))


def label_of(params: Any) -> str:
    """Return the label of the network of a run with these params."""
    options = {key: value for key, value in params.items() if key.startswith("architecture_options.")}
    own = tuple(sorted((key.partition(".")[2], value) for key, value in options.items()))
    return Network(params["architecture"], own).label
