"""Trials on a shared folder that shows late what other nodes have written: same numbers, nothing lost."""

from __future__ import annotations

from dataclasses import replace
from threading import Timer

import pytest
import torch
from safetensors.torch import save
from timed_metrics import TIMED
from torchvision.models import squeezenet1_1

from orchestrator.ray_driver.preflight import NodeCheck, _look
from search_spaces import SpaceError, Trial
from trainables.architectures import pretrained
from trainables.context import Place
from trainables.record import files
from trainables.record.checkpoint import CHECKPOINT, generations
from trainables.record.event_log import FILE, EventLog, read, snapshot
from trainables.run import run
from trainables.shared import masks
from trainables.shared.pretraining import WEIGHTS, trained_weights

TRIAL = Trial(dataset="digits", architecture="mlp", pruner="magnitude", compression=4, epochs=4, lr=0.05)
LEVELS = TRIAL.model_copy(update={"levels": 2, "schedule": "exponential", "pretrain_epochs": 1})


@pytest.fixture
def place(tmp_path):
    return Place(storage=tmp_path / "here", cache=tmp_path / "data", save_seconds=0)


def numbers(place, trial=TRIAL):
    """What must be equal to the last bit, after making sure that each metric has all of its points."""
    points = {}
    for event, _ in read(place.storage / trial.fingerprint):
        for key, value in event.get("metrics", {}).items():
            points.setdefault((key, event["step"]), value)
    assert {step for key, step in points if key == "train/loss"} == set(range(1, TRIAL.epochs + 1))
    return {key: n for key, n in points.items() if key[0] not in TIMED}


def after_two_epochs(place, trial=TRIAL):
    """Leave a trial that stopped after its second epoch, and return its folder."""
    folder = place.storage / trial.fingerprint
    assert run(trial, place, lambda: folder.exists() and snapshot(folder).metrics.get("test/loss") is not None).end
    assert snapshot(folder).end is None
    return folder


@pytest.mark.parametrize("patience", [60.0, 0.0])
def test_a_trial_that_another_node_goes_on_with_has_every_epoch(place, tmp_path, late, monkeypatch, patience):
    whole = replace(place, storage=tmp_path / "whole")
    assert run(TRIAL, whole).end == "finished"
    folder = after_two_epochs(place)
    first = next(offset for event, offset in read(folder) if "train/loss" in event.get("metrics", {}))
    monkeypatch.setattr(files, "LATE_SECONDS", patience)
    looks = 14 if patience else 10**6  # with no patience, as long as the trial runs
    late.show(folder / FILE, *[first - 40] * looks)
    assert run(TRIAL, place).end == "finished"
    late.show(folder / FILE)
    assert numbers(place) == numbers(whole)
    epochs = [e["step"] for e, _ in read(folder) if "train/loss" in e.get("metrics", {})]
    assert (len(epochs) == TRIAL.epochs) is bool(patience)  # seen in time, no epoch is computed twice


@pytest.mark.parametrize("seen", ["late", "never"])
@pytest.mark.parametrize("trial", [TRIAL, LEVELS], ids=["oneshot", "levels"])
def test_a_trial_whose_masks_another_node_sees_late_or_never_goes_on(place, tmp_path, late, monkeypatch, trial, seen):
    whole = replace(place, storage=tmp_path / "whole")
    assert run(trial, whole).end == "finished"
    masks_file = after_two_epochs(place, trial) / "masks.safetensors"
    monkeypatch.setattr(files, "LATE_SECONDS", 60.0 if seen == "late" else 0.0)
    late.show(masks_file, *[-1] * 2) if seen == "late" else masks_file.unlink()
    assert run(trial, place).end == "finished"
    assert numbers(place, trial) == numbers(whole, trial)


def test_a_checkpoint_that_is_listed_before_it_can_be_read_is_not_called_damaged(place, tmp_path, late):
    whole = replace(place, storage=tmp_path / "whole")
    assert run(TRIAL, whole).end == "finished"
    folder = after_two_epochs(place)
    late.show_for_ever(generations(folder / CHECKPOINT)[0], -1)
    assert run(TRIAL, place).end == "finished"
    assert numbers(place) == numbers(whole)
    assert not any("damaged" in event.get("tags", {}) for event, _ in read(folder))


def test_scores_that_appear_late_are_computed_again(place, tmp_path, late):
    first, second = (TRIAL.model_copy(update={"pruner": "snip", "compression": compression}) for compression in (4, 10))
    shared = replace(place, shared_scores=frozenset({first.scoring}))
    assert run(first, shared).end == "finished"
    late.show_for_ever(shared.scores / f"{first.scoring}-cpu.safetensors", -1)
    assert run(second, shared).end == "finished"
    whole = replace(place, storage=tmp_path / "whole")
    assert run(second, whole).end == "finished"
    assert numbers(shared, second) == numbers(whole, second)


def test_a_failure_that_is_not_seen_yet_leaves_the_checkpoint_to_the_next_attempt(place, tmp_path, late):
    whole = replace(place, storage=tmp_path / "whole")
    assert run(TRIAL, whole).end == "finished"
    folder = after_two_epochs(place)
    seen = (folder / FILE).stat().st_size
    outbox = EventLog(folder)
    outbox.end("failed")
    outbox.close()
    late.show(folder / FILE, *[seen] * 3)
    assert run(TRIAL, place).end == "finished"
    assert snapshot(folder).end == "finished"
    assert numbers(place) == numbers(whole)


def test_given_masks_that_appear_late_are_waited_for(place, late):
    content = save({"fc.weight": torch.tensor([True, False])})
    name = masks.digest(content)
    masks.provide(name, place, lambda: content)
    late.show(place.masks / f"{name}.safetensors", -1)
    assert masks.load(name, place, torch.device("cpu"))["fc.weight"].tolist() == [True, False]


def test_given_weights_that_appear_late_are_waited_for(tmp_path, late):
    file = tmp_path / "0123.safetensors"
    file.write_bytes(save({"fc.weight": torch.ones(2)}))
    late.show(file, -1)
    assert pretrained.state("sha256:0123.safetensors", "", tmp_path)["fc.weight"].tolist() == [1, 1]


def test_torchvisions_weights_that_appear_late_are_waited_for_without_internet(tmp_path, monkeypatch):
    def away(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "download_url_to_file", away)
    source, hidden = squeezenet1_1().state_dict(), tmp_path / "hidden"
    torch.save(source, hidden)
    file = pretrained.file("IMAGENET1K_V1", "squeezenet1_1", tmp_path)
    file.parent.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "LATE_SECONDS", 0.0)
        with pytest.raises(SpaceError, match="could not be downloaded"):
            pretrained.state("IMAGENET1K_V1", "squeezenet1_1", tmp_path)
    driver = Timer(1, hidden.rename, [file])
    driver.start()
    seen = pretrained.state("IMAGENET1K_V1", "squeezenet1_1", tmp_path)
    driver.join()
    assert torch.equal(seen["features.0.weight"], source["features.0.weight"])


def test_dense_weights_that_appear_late_are_not_trained_again(place, late):
    dense = TRIAL.model_copy(update={"pruner": "dense", "compression": 1})
    assert run(dense, place).end == "finished"
    late.show(place.storage / dense.fingerprint / WEIGHTS, -1)
    assert trained_weights(dense, place.storage, lambda stage: pytest.fail("trained again"))


def test_a_node_that_sees_the_drivers_file_late_is_not_refused(tmp_path):
    file = tmp_path / ".seen"
    file.write_text("token")
    looks = iter(["No such file or directory", ""])
    check = NodeCheck(file, "token", tmp_path, "", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.ray_driver.preflight._content", lambda path: next(looks, "token"))
        assert _look._function(check).read == "token"
