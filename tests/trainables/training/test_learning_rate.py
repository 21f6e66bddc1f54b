"""Learning rates: schedules, the warm-up before them, and both from where a checkpoint left them."""

from __future__ import annotations

import pytest
from torch import nn

from search_spaces import Trial
from trainables.training.optimizer import LearningRate, make_optimizer


def trial(**fields):
    return Trial(dataset="digits", architecture="mlp", **({"epochs": 4, "lr": 0.1} | fields))


def rates(record, steps=2, resumed_after=None):
    """The learning rate of each step, going on from a checkpoint in between if asked."""
    model, seen = nn.Linear(2, 2), []

    def start():
        optimizer = make_optimizer(model, record)
        return optimizer, LearningRate(optimizer, record, steps)

    optimizer, rate = start()
    for epoch in range(1, record.epochs + 1):
        for done in range(steps):
            if (epoch, done) == resumed_after:
                old, state = optimizer.state_dict(), rate.state_dict()
                optimizer, rate = start()
                optimizer.load_state_dict(old)
                rate.load_state_dict(state)
            rate.before_step(epoch, done)
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
        rate.after_epoch(epoch)
    return seen


STEP = {"lr_schedule": "step", "lr_drops": [2, 3], "lr_factor": 0.1}


def test_step_and_cosine_schedules():
    assert rates(trial(**STEP), steps=1) == pytest.approx([0.1, 0.1, 0.01, 0.001])
    assert rates(trial(lr_schedule="cosine"), steps=1) == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], rel=1e-5)


def test_a_warm_up_is_linear_and_leaves_the_schedule_what_it_was():
    assert rates(trial(**STEP, warmup_epochs=2)) == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert rates(trial(lr_schedule="cosine", warmup_epochs=2)) == pytest.approx(
        [0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.05, 0.05]
    )
    assert rates(trial(warmup_epochs=1)) == pytest.approx([0.05, *[0.1] * 7])


@pytest.mark.parametrize("fields", [STEP, {"lr_schedule": "cosine"}, {}], ids=["step", "cosine", "constant"])
@pytest.mark.parametrize("after", [(1, 1), (3, 0), (3, 1)])
def test_a_learning_rate_goes_on_where_it_was(fields, after):
    record = trial(**fields, warmup_epochs=2)
    assert rates(record, resumed_after=after) == rates(record)
