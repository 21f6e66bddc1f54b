"""Training: pruned weights stay zero, a checkpoint changes nothing, nonsense stops it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from search_spaces import Trial
from trainables.training import TrainingError, make_optimizer, make_scheduler, train

CPU = torch.device("cpu")


def batches(epoch):
    draw = torch.Generator().manual_seed(epoch)
    return [(torch.randn(8, 5, generator=draw), torch.randint(3, (8,), generator=draw)) for _ in range(4)]


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


def trial(**fields):
    return Trial(dataset="digits", architecture="mlp", **({"epochs": 4, "lr": 0.1} | fields))


def go(model, record, masks=None, state=None, saves=None, reports=None):
    return train(
        model,
        masks or {},
        record,
        batches=batches,
        evaluate=lambda: {"loss": 1.0, "top1": 0.5, "top5": 1.0},
        report=lambda metrics, epoch: None if reports is None else reports.append((epoch, metrics)),
        state=state,
        save=lambda state: None if saves is None else saves.append(copy(state)),
        save_seconds=0,
    )


def copy(state):
    """As a file would: what is saved does not change afterwards."""
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_pruned_weights_stay_zero_under_momentum_and_decay(optimizer):
    model, mask = net(), torch.rand(16, 5) > 0.5
    go(model, trial(optimizer=optimizer, nesterov=optimizer == "sgd", weight_decay=0.01), {"0.weight": mask})
    assert (model[0].weight[~mask] == 0).all()
    assert (model[0].weight[mask] != 0).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("stop", [1, 3])
def test_going_on_from_a_checkpoint_gives_the_same_bits(optimizer, stop):
    record = trial(optimizer=optimizer, lr_schedule="cosine")
    whole, saves, reports = net(), [], []
    go(whole, record, saves=saves, reports=reports)
    assert len(saves) == 3  # the last epoch needs none
    resumed, again = net(), []
    progress = go(resumed, record, state=saves[stop - 1], reports=again)
    assert progress.epoch == 4
    assert [epoch for epoch, _ in again] == list(range(stop + 1, 5))
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    losses = {epoch: metrics["train/loss"] for epoch, metrics in reports}
    assert all(metrics["train/loss"] == losses[epoch] for epoch, metrics in again)


def test_the_process_random_state_plays_no_part_and_is_left_alone():
    first, second = net(), net()
    torch.manual_seed(1)
    go(first, trial())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    go(second, trial())
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first[0].weight, second[0].weight)


def test_each_epoch_reports_what_mlflow_calls_it():
    reports = []
    go(net(), trial(epochs=2), reports=reports)
    assert [epoch for epoch, _ in reports] == [1, 2]
    names = {"train/loss", "train/top1", "test/loss", "test/top1", "test/top5", "time/epoch_seconds"}
    assert all(metrics.keys() == names for _, metrics in reports)


def test_a_loss_that_is_not_finite_stops_the_trial():
    with pytest.raises(TrainingError, match=r"the training loss is (nan|inf) in epoch"):
        go(net(), trial(lr=1e20, optimizer="sgd"))


def test_step_and_cosine_schedules():
    model = net()
    step = trial(lr_schedule="step", lr_drops=[2, 3], lr_factor=0.1, epochs=4)
    optimizer = make_optimizer(model, step)
    scheduler = make_scheduler(optimizer, step)
    seen = []
    for _ in range(4):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx([0.1, 0.1, 0.01, 0.001])
    cosine = make_scheduler(make_optimizer(model, trial(lr_schedule="cosine")), trial(lr_schedule="cosine"))
    assert cosine.T_max == 4
