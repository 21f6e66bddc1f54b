"""Training: pruned weights stay zero, a checkpoint changes nothing, nonsense stops it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from search_spaces import Trial
from trainables.datasets.batches import split_batch
from trainables.training import loop
from trainables.training.loop import Callbacks, StoppedError, TrainingData, TrainingError, TrainingState, train

CPU = torch.device("cpu")


def batches(epoch, skip=0):
    draw = torch.Generator().manual_seed(epoch)
    made = [(torch.randn(8, 5, generator=draw), torch.randint(3, (8,), generator=draw)) for _ in range(4)]
    return made[skip:]


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


def trial(**fields):
    return Trial(dataset="digits", architecture="mlp", **({"epochs": 4, "lr": 0.1} | fields))


def go(model, record, masks=None, state=None, saves=None, reports=None, batches=batches, until=None, **more):
    told = Callbacks(
        report=lambda metrics, epoch: None if reports is None else reports.append((epoch, metrics)),
        save=lambda state: None if saves is None else saves.append(copy(state)),
        stop=more.pop("stop", lambda: False),
        save_seconds=more.pop("save_seconds", 0),
    )
    fixed = {"evaluate": lambda: {"loss": 1.0, "top1": 0.5, "top5": 1.0}}
    tested = fixed | {name: more.pop(name) for name in ("evaluate", "validate") if name in more}
    training = TrainingState(model, masks or {}, record, 4, state=state, **more)
    return train(training, TrainingData(batches, **tested), told, until)


def copy(state):
    """As a file would: what is saved does not change afterwards."""
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_pruned_weights_stay_zero_under_momentum_and_decay(optimizer):
    model, mask = net(), torch.rand(16, 5) > 0.5
    go(model, trial(optimizer=optimizer, nesterov=optimizer == "sgd", weight_decay=0.01), {"0.weight": mask})
    assert (model[0].weight[~mask] == 0).all()
    assert (model[0].weight[mask] != 0).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
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


def same(one, other):
    parts = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in parts)


FULL = {"lr_schedule": "cosine", "warmup_epochs": 2, "accumulate": 3, "ema": 0.9, "label_smoothing": 0.1}


@pytest.mark.parametrize(
    "fields",
    [{}, {"optimizer": "adam"}, {"optimizer": "rmsprop"}, FULL],
    ids=["sgd", "adam", "rmsprop", "all refinements"],
)
@pytest.mark.parametrize("save", [0, 6, 14])  # after the first batch of all, of the second epoch, and the last but one
def test_going_on_in_the_middle_of_an_epoch_gives_the_same_bits(monkeypatch, fields, save):
    record, mask = trial(**fields), torch.rand(16, 5, generator=torch.Generator().manual_seed(0)) > 0.5
    whole, saves, reports = net(), [], []
    with monkeypatch.context() as patched:
        patched.setattr(loop, "LONG", 0)
        go(whole, record, {"0.weight": mask}, saves=saves, reports=reports)
    assert [state.get("begun", {}).get("batches", 0) for state in saves] == [1, 2, 3, 0] * 3 + [1, 2, 3]
    resumed, again = net(), []
    torch.manual_seed(5)
    go(resumed, record, {"0.weight": mask}, state=saves[save], reports=again)
    assert same(whole, resumed)
    assert (resumed[0].weight[~mask] == 0).all()
    losses = {epoch: (metrics["train/loss"], metrics["train/top1"]) for epoch, metrics in reports}
    assert {epoch: (metrics["train/loss"], metrics["train/top1"]) for epoch, metrics in again} == {
        epoch: found for epoch, found in losses.items() if epoch > save // 4
    }


def test_a_long_epoch_can_be_stopped_and_a_short_one_is_not_asked(monkeypatch):
    asked = []
    go(net(), trial(), stop=lambda: bool(asked.append(1)))
    assert len(asked) == 3
    monkeypatch.setattr(loop, "LONG", 0)
    stopped, whole, saves, answers = net(), net(), [], iter([False, True])
    with pytest.raises(StoppedError):
        go(stopped, trial(), saves=saves, stop=lambda: next(answers))
    assert (saves[-1]["progress"]["epoch"], saves[-1]["begun"]["batches"]) == (0, 2)
    go(stopped, trial(), state=saves[-1])
    go(whole, trial())
    assert same(stopped, whole)


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3)).double()


def doubles(epoch, skip=0):
    return [(x.double(), y) for x, y in batches(epoch, skip)]


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_micro_batches_make_the_step_of_the_whole_batch(parts):
    whole, divided, reports = plain(), plain(), ([], [])
    go(whole, trial(label_smoothing=0.1), batches=doubles, reports=reports[0])
    go(divided, trial(label_smoothing=0.1, accumulate=parts), batches=doubles, reports=reports[1])
    for one, other in zip(whole.parameters(), divided.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-10)
        assert not torch.equal(one, other)  # they were computed in parts
    for (_, one), (_, other) in zip(*reports, strict=True):
        assert one["train/loss"] == pytest.approx(other["train/loss"], abs=1e-10)
        assert one["train/top1"] == other["train/top1"]


def test_no_micro_batch_is_a_single_image():
    assert [len(part) for part in split_batch(torch.zeros(5), 4)] == [3, 2]
    assert [len(part) for part in split_batch(torch.zeros(1), 4)] == [1]


def test_smoothed_labels_are_mixed_with_even_ones():
    model, reports = plain(), []
    ((x, y),) = batch = doubles(1)[:1]
    likely = torch.log_softmax(model(x), 1)
    wanted = -(0.8 * likely.gather(1, y[:, None])[:, 0] + 0.2 * likely.mean(1)).mean()
    go(model, trial(epochs=1, label_smoothing=0.2), batches=lambda epoch, skip: batch, reports=reports)
    assert reports[0][1]["train/loss"] == pytest.approx(wanted.item(), abs=1e-12)


def test_averages_follow_the_weights_and_are_what_is_tested(monkeypatch):
    monkeypatch.setattr(loop, "LONG", 0)
    model, saves, tested = net(), [], []
    first, mask = model[4].weight.detach().clone(), torch.rand(16, 5) > 0.5

    def evaluate():
        tested.append(model[4].weight.detach().clone())
        return {"loss": 1.0, "top1": 0.5, "top5": 1.0}

    go(model, trial(epochs=2, ema=0.75), {"0.weight": mask}, saves=saves, evaluate=evaluate)
    mean = first
    for state in saves[:4]:
        mean = 0.75 * mean + 0.25 * state["model"]["4.weight"]
        assert torch.allclose(state["average"]["4.weight"], mean)
        assert (state["average"]["0.weight"][~mask] == 0).all()
    assert torch.equal(tested[0], saves[3]["average"]["4.weight"])
    assert not torch.equal(tested[0], saves[3]["model"]["4.weight"])
    assert torch.equal(tested[1], model[4].weight)


def test_bfloat16_trains_float32_weights_to_about_the_same():
    model, reports, exact = net(), [], []
    go(model, trial(precision="bfloat16"), reports=reports)
    go(net(), trial(), reports=exact)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    losses, wanted = ([metrics["train/loss"] for _, metrics in found] for found in (reports, exact))
    assert losses != wanted
    assert losses == pytest.approx(wanted, rel=0.02)


def test_the_process_random_state_plays_no_part_and_is_left_alone():
    first, second = net(), net()
    torch.manual_seed(1)
    go(first, trial())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    go(second, trial())
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first[0].weight, second[0].weight)


class LateNoise(nn.Module):
    """Adds noise from the third step of an epoch on, as a schedule might."""

    steps = 0

    def forward(self, x):
        self.steps += self.training
        return x + torch.randn_like(x) if self.training and self.steps % 4 > 2 else x


def test_what_is_drawn_in_later_steps_alone_comes_from_the_seed_too():
    models = [nn.Sequential(LateNoise(), *net()[:3], nn.Linear(16, 3)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    for seed, model in enumerate(models):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        go(model, trial())
        assert torch.equal(before, torch.get_rng_state())
    assert same(*models)


def test_each_epoch_reports_what_mlflow_calls_it():
    reports = []
    go(net(), trial(epochs=2), reports=reports)
    assert [epoch for epoch, _ in reports] == [1, 2]
    names = {"train/loss", "train/top1", "test/loss", "test/top1", "test/top5", "time/epoch_seconds"}
    assert all(metrics.keys() == names for _, metrics in reports)


def test_a_loss_that_is_not_finite_stops_the_trial():
    with pytest.raises(TrainingError, match=r"the training loss is (nan|inf) in epoch"):
        go(net(), trial(lr=1e20, optimizer="sgd"))


def test_a_layer_may_get_its_first_gradient_late():
    class Skipping(nn.Module):
        """Its second layer takes part from the third step on, as a layer of stochastic depth may."""

        def __init__(self):
            super().__init__()
            self.first, self.second, self.calls = nn.Linear(5, 3), nn.Linear(3, 3), 0

        def forward(self, x):
            self.calls += 1
            return self.second(self.first(x)) if self.calls > 2 else self.first(x)

    torch.manual_seed(0)
    ours, plain = Skipping().double(), Skipping().double()
    plain.load_state_dict(ours.state_dict())
    made = [(x.double(), y) for x, y in batches(1)]
    go(ours, trial(epochs=1, weight_decay=0.01), batches=lambda epoch, skip: made)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, foreach=False)
    for x, y in made:
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(x), y).backward()
        optimizer.step()
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
