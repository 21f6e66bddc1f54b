import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

from pruners import PRUNERS, Pruner, PruningError, find, prunable, prune


def test_the_front_page(model, batches):
    masks = prune(
        model,
        "snip",
        compression=10,
        batches=batches,
        scope="global",
        schedule="oneshot",
        iterations=1,
        mode="train",
        seed=0,
    )
    assert list(masks) == ["first.weight", "grouped.weight", "head.weight"]
    assert sum(int(mask.sum()) for mask in masks.values()) == 75


def test_a_pruner_of_ones_own_with_options():
    def score(model, batches, *, mode, generator, power):
        return {name: weight.detach() ** power for name, weight in prunable(model).items()}

    layer = nn.Linear(4, 1)
    layer.weight.data = torch.tensor([[-4.0, -1.0, 2.0, 3.0]])
    mine = Pruner(score=score, summary="w to a power", paper="", options={"power": 1})
    assert prune(layer, mine, 2)["weight"].tolist() == [[False, False, True, True]]
    assert prune(layer, mine, 2, options={"power": 2})["weight"].tolist() == [[True, False, False, True]]
    with pytest.raises(PruningError, match=r"'powr'.*Did you mean 'power'"):
        prune(layer, mine, 2, options={"powr": 2})


def test_scores_are_the_last_iterations(model, batches):
    once = find(model, "snip", 4, batches, mode="eval")
    twice = find(model, "snip", 4, batches, mode="eval", iterations=2)
    pruned_first = {name: score == 0 for name, score in twice.scores.items()}
    assert sum(int(zero.sum()) for zero in pruned_first.values()) >= 375  # dead after iteration 1, not -inf
    assert not any(torch.equal(once.scores[name], twice.scores[name]) for name in once.scores)


def test_a_model_without_weights_to_prune():
    with pytest.raises(PruningError, match="no convolution, linear, attention or recurrent layer"):
        prune(nn.BatchNorm1d(3), "random", 2)


@pytest.mark.parametrize("compression", [0.5, 0, -3, math.inf, math.nan])
def test_compression_out_of_range(compression, model):
    with pytest.raises(PruningError, match=f"compression is {compression}"):
        prune(model, "random", compression)


def test_unknown_pruner_is_refused_not_trained_dense(model):
    with pytest.raises(PruningError, match=r"'synflw'.*random, magnitude, snip, grasp, synflow.*'synflow'"):
        prune(model, "synflw", 2)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, "to tensors, not a NoneType"),
        ({}, "only one of them has bias_free.weight"),
        ({"bias_free.weight": torch.ones(3, 1)}, r"the shape \[3, 1\]; it must be \[3, 4\], that of its weights"),
    ],
)
def test_what_is_no_score_per_weight_is_refused_before_others_share_it(scores, message):
    model = nn.Sequential(OrderedDict(bias_free=nn.Linear(4, 3, bias=False)))
    mine = Pruner(score=lambda *_, **__: scores, summary="mine", paper="")
    with pytest.raises(PruningError, match=message):
        prune(model, mine, 2)
    kept = []
    with pytest.raises(PruningError, match=message):
        find(model, mine, 2, share=lambda scoring: kept.append(scoring()) or kept[-1])
    assert not kept


def test_random_is_not_the_stream_of_the_weights():
    layer = nn.Linear(100, 100)
    for seed in (0, 1, 2):
        layer.weight.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(seed))
        scores = find(layer, "random", 2, seed=seed).scores["weight"]
        both = torch.stack([layer.weight.detach().flatten(), scores.flatten()])
        assert abs(float(both.corrcoef()[0, 1])) < 0.05


def test_registry_order_is_the_one_shown():
    assert list(PRUNERS)[:5] == ["random", "magnitude", "snip", "grasp", "synflow"]


def test_one_seed_is_one_stream_for_ever():
    """Results are found again by their record: its random numbers are those that it had in 2026."""
    scores = find(nn.Linear(3, 1), "random", 2).scores["weight"]  # of seed 0
    assert scores[0].tolist() == pytest.approx([0.0086, 0.2115, 0.8152], abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ({}, 1),
        ({"iterations": 3}, 0),  # the second scoring sees what the first pruned
        ({"alive": {"weight": torch.tensor([[True, True, True, False]])}}, 0),
    ],
)
def test_only_scores_that_no_compression_enters_are_shared(settings, shared):
    asked = []

    def share(scoring):
        asked.append(scoring())
        return asked[-1]

    batch = [(torch.eye(4), torch.zeros(4, dtype=torch.int64))]
    find(nn.Linear(4, 1), "synflow", 2, batch, share=share, **{"iterations": 1, **settings})
    assert len(asked) == shared


def test_masks_of_before_set_the_density_to_fall_from():
    alive = {"weight": torch.arange(8).view(1, 8) < 4}
    with pytest.raises(PruningError, match=r"Density 0\.625 was asked for, but only 0\.5"):
        prune(nn.Linear(8, 1), "random", 1.6, alive=alive)
    assert torch.equal(prune(nn.Linear(8, 1), "random", 2, alive=alive)["weight"], alive["weight"])
    assert int(prune(nn.Linear(8, 1), "magnitude", 4, alive=alive)["weight"][0, :4].sum()) == 2


def test_the_schedule_falls_from_what_is_alive():
    seen = []

    def score(model, batches, *, mode, generator):
        seen.append(int(model.weight.count_nonzero()))
        return {"weight": model.weight.detach().abs()}

    alive = {"weight": torch.arange(32).view(1, 32) < 16}
    mine = Pruner(score=score, summary="|w|", paper="")
    masks = prune(nn.Linear(32, 1), mine, 16, alive=alive, schedule="exponential", iterations=3)
    assert [*seen, int(masks["weight"].sum())] == [16, 8, 4, 2]  # from 1/2 to 1/16, halved each time


def test_a_forward_pass_leaves_a_module_of_two_names_as_it_was():
    from pruners.gradients import call, leaves

    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model.again, model.same = model[1], model[0]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    held = [*model.parameters(), *model.buffers()]
    call(model, leaves(model), torch.randn(8, 3))
    assert all(one is other for one, other in zip(held, [*model.parameters(), *model.buffers()], strict=True))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
