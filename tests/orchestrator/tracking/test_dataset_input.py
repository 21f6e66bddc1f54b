"""What a trial trains on, as MLflow shows it."""

from __future__ import annotations

import json

import pytest
from invented_sweep import Store
from mlflow import MlflowClient

from orchestrator.tracking.dataset_input import dataset_of, log_dataset
from search_spaces import Trial


def test_logged_twice_it_is_there_once(store: Store) -> None:
    client = MlflowClient(store.uri)
    run_id = client.create_run(client.create_experiment("inputs")).info.run_id
    for _ in range(2):
        log_dataset(client, run_id, Trial(dataset="cifar10", architecture="mlp"))
    (found,) = client.get_run(run_id).inputs.dataset_inputs
    assert found.dataset.name == "cifar10"
    assert json.loads(found.dataset.profile)["train"] == 50_000
    assert json.loads(found.dataset.source)["url"].endswith("cifar-10-python.tar.gz")
    assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]


@pytest.mark.parametrize("name", ["folder:" + "a/" * 400 + "mine", "hf:somebody/something"])
def test_sets_of_ones_own_are_known_by_their_digest(name: str, store: Store) -> None:
    client = MlflowClient(store.uri)
    run_id = client.create_run("0").info.run_id
    log_dataset(client, run_id, Trial(dataset=name, architecture="mlp", data_digest="0123" * 16))
    (found,) = client.get_run(run_id).inputs.dataset_inputs
    assert found.dataset.digest == ("0123" * 16)[:36]
    assert name.endswith(found.dataset.name)


def test_other_images_have_another_digest() -> None:
    cifar10, digits = (Trial(dataset=name, architecture="mlp") for name in ("cifar10", "digits"))
    assert dataset_of(cifar10).dataset.digest != dataset_of(digits).dataset.digest
    assert dataset_of(cifar10).dataset.digest == dataset_of(cifar10.model_copy(update={"seed": 1})).dataset.digest
