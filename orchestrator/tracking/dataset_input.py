"""The images that a trial trains on, as MLflow's own "dataset" of its run: name, digest, source and sizes."""

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
    """Log what `trial` trains on; logged twice, it is there once."""
    client.log_inputs(run_id, [dataset_of(trial)])


def dataset_of(trial: Trial) -> DatasetInput:
    """The record: of published sets the facts that we know, of the user's own the digest of their files."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    spec = DATASETS.get(trial.dataset)
    facts = {
        "train": spec.train_size, "test": spec.test_size, "classes": spec.num_classes, "shape": spec.input_shape,
        "mean": spec.mean, "std": spec.std,
    } if spec else {}  # fmt: skip
    # A published set is known by its name, as its files are compared with those that were published.
    known = trial.data_digest or hashlib.sha256(json.dumps([trial.dataset, facts]).encode()).hexdigest()
    source = {"url": spec.url} if spec and spec.url else {"name": trial.dataset}
    return DatasetInput(
        dataset=Dataset(
            name=trial.dataset[-500:],  # the longest that MLflow takes; a folder's end tells more than its beginning
            digest=known[:36],
            source_type="http" if "url" in source else "local",
            source=json.dumps(source),
            profile=json.dumps(facts) if facts else None,
        ),
        tags=[InputTag("mlflow.data.context", "training")],
    )
