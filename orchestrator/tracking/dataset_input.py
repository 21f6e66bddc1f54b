"""Training images of a trial as the MLflow dataset of its run: name, digest, source and sizes."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from search_spaces import Trial
from trainables.datasets import DATASETS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput


def log_dataset(client: MlflowClient, run_id: str, trial: Trial) -> None:
    """Log the dataset of `trial` as an input of the run; logging it twice has no further effect."""
    client.log_inputs(run_id, [dataset_of(trial)])


def dataset_of(trial: Trial) -> DatasetInput:
    """Return the MLflow record of a trial's dataset: the registered facts, and the digest of a user's own files."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    spec = DATASETS.get(trial.dataset)
    facts = {
        "train": spec.train_size, "test": spec.test_size, "classes": spec.num_classes, "shape": spec.input_shape,
        "mean": spec.mean, "std": spec.std,
    } if spec else {}  # fmt: skip
    # A published dataset is identified by its name, because its files are compared with the published ones.
    known = trial.data_digest or hashlib.sha256(json.dumps([trial.dataset, facts]).encode()).hexdigest()
    source = {"url": spec.url} if spec and spec.url else {"name": trial.dataset}
    return DatasetInput(
        dataset=Dataset(
            name=trial.dataset[-500:],  # the most characters MLflow takes; a folder's end says more than its beginning
            digest=known[:36],
            source_type="http" if "url" in source else "local",
            source=json.dumps(source),
            profile=json.dumps(facts) if facts else None,
        ),
        tags=[InputTag("mlflow.data.context", "training")],
    )
