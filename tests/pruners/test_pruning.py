import math

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
    with pytest.raises(PruningError, match="no convolution or linear layer"):
        prune(nn.BatchNorm1d(3), "random", 2)


@pytest.mark.parametrize("compression", [0.5, 0, -3, math.inf, math.nan])
def test_compression_out_of_range(compression, model):
    with pytest.raises(PruningError, match=f"compression is {compression}"):
        prune(model, "random", compression)


def test_unknown_pruner_is_refused_not_trained_dense(model):
    with pytest.raises(PruningError, match=r"'synflw'.*random, magnitude, snip, grasp, synflow.*'synflow'"):
        prune(model, "synflw", 2)


def test_a_layer_left_out_by_a_score_is_refused(model):
    partial = Pruner(score=lambda *_, **__: {"first.weight": torch.ones(6, 3, 3, 3)}, summary="partial", paper="")
    with pytest.raises(PruningError, match=r"grouped\.weight, head\.weight"):
        prune(model, partial, 2)


def test_random_is_not_the_stream_of_the_weights():
    layer = nn.Linear(100, 100)
    for seed in (0, 1, 2):
        layer.weight.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(seed))
        scores = find(layer, "random", 2, seed=seed).scores["weight"]
        both = torch.stack([layer.weight.detach().flatten(), scores.flatten()])
        assert abs(float(both.corrcoef()[0, 1])) < 0.05


def test_registry_order_is_the_one_shown():
    assert list(PRUNERS)[:5] == ["random", "magnitude", "snip", "grasp", "synflow"]
