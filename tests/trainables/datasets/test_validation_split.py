"""Images held out to choose by: the same for all trials, balanced, never trained on, reported beside the test."""

from __future__ import annotations

import pytest
import torch

from search_spaces import Trial
from trainables.context import Place
from trainables.datasets import DatasetError, load, lookup, training_part
from trainables.datasets.split import split
from trainables.record.event_log import read
from trainables.run import run

TRIAL = Trial(dataset="digits", architecture="mlp", epochs=2, batch_size=64, lr=0.05, validation=0.2)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.333, 0.5])
@pytest.mark.parametrize("counts", [[50, 50, 50], [50, 70, 134]])
def test_of_each_class_the_share_is_held_out_rounded_up_or_down(share, counts):
    classes = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])[torch.randperm(sum(counts))]
    rows, held_out = split(classes, share)
    assert torch.equal(torch.cat([rows, held_out]).sort().values, torch.arange(sum(counts)))
    assert len(held_out) == round(share * sum(counts))
    exact = torch.tensor(counts) * len(held_out) / sum(counts)
    assert ((classes[held_out].bincount(minlength=3) - exact).abs() < 1).all()


def test_nothing_is_held_out_by_default(cache):
    data = load("digits", None, cache)
    assert torch.equal(data.rows, torch.arange(1437))
    assert list(data.validation_batches()) == []


def test_it_depends_on_the_dataset_alone_and_is_never_trained_on(cache):
    data = load("digits", None, cache, validation=0.2)
    assert torch.equal(data.held_out, load("digits", None, cache, validation=0.2).held_out)
    assert training_part(lookup("digits"), 0.2)[0] == len(data.rows)
    held = {tuple(x.flatten().tolist()) for x, _ in data.validation_batches() for x in x}
    seen = {tuple(x.flatten().tolist()) for x, _ in data.train_batches(0, 0, 64) for x in x}
    scored = {tuple(x.flatten().tolist()) for x, _ in data.scoring_batches(0, 50) for x in x}
    assert scored <= seen
    assert len(held & seen) <= 1  # of these tiny images some are alike


@pytest.mark.parametrize(("share", "left"), [(0.001, "none for validation"), (0.999, "none for training")])
def test_a_share_that_leaves_a_class_without_images_is_refused(cache, share, left):
    with pytest.raises(DatasetError, match=f"validation: {share} is not allowed; a class of 'digits' .* {left}"):
        load("digits", None, cache, validation=share)


@pytest.mark.parametrize("counts", [(5, 7, 300), (3, 3, 3)])
def test_what_is_allowed_leaves_every_class_on_both_sides(counts):
    from dataclasses import replace

    classes = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    spec = replace(lookup("digits"), num_classes=3, train_size=sum(counts), smallest_class=min(counts))
    for share in torch.linspace(0.01, 0.99, 99).tolist():
        rows, held_out = split(classes, share)
        sides = min(int(classes[side].bincount(minlength=3).min()) for side in (rows, held_out))
        try:
            images, per_class = training_part(spec, share)
        except DatasetError:
            continue
        assert sides >= 1
        assert images == len(rows)
        assert per_class <= int(classes[rows].bincount().min())


def numbers(trial, place):
    return {
        (key, event["step"]): value
        for event, _ in read(place.storage / trial.fingerprint)
        for key, value in event.get("metrics", {}).items()
        if key.split("/")[0] in ("train", "test", "validation", "final", "best")
    }


def test_a_trial_reports_it_beside_the_test_set(tmp_path, cache):
    place = Place(storage=tmp_path, cache=cache)
    assert run(TRIAL, place).end == "finished"
    found = numbers(TRIAL, place)
    for key in ("loss", "top1"):
        assert found[f"final/validation_{key}", 0] == found[f"validation/{key}", 2]
        assert found[f"final/{key}", 0] == found[f"test/{key}", 2]
    assert found["validation/top1", 1] != found["test/top1", 1]
    assert {key for key, _ in found} == {
        *("train/loss", "train/top1", "test/loss", "test/top1", "test/top5", "validation/loss", "validation/top1"),
        *("final/loss", "final/top1", "final/top5", "final/validation_loss", "final/validation_top1", "best/top1"),
    }


def test_an_untrained_network_has_final_numbers_too(tmp_path, cache):
    idle = TRIAL.model_copy(update={"epochs": 0})
    place = Place(storage=tmp_path, cache=cache)
    assert run(idle, place).end == "finished"
    assert ("final/validation_top1", 0) in numbers(idle, place)


def test_a_trial_that_was_stopped_ends_the_same(tmp_path, cache):
    whole, broken = (Place(storage=tmp_path / name, cache=cache, save_seconds=0) for name in ("whole", "broken"))
    run(TRIAL, whole)
    asked = iter([False, True])
    assert run(TRIAL, broken, stop=lambda: next(asked)).end == "interrupted"
    assert run(TRIAL, broken).end == "finished"
    assert numbers(TRIAL, broken) == numbers(TRIAL, whole)
