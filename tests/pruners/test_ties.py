"""Masks that positions decide: refused where all scores are equal, told where many tie."""

import warnings

import pytest
import torch
from torch import nn

from pruners import PRUNERS, Pruner, PruningError, PruningWarning, find, prunable, prune

X = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 4


def net(out=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, out))


def scoring(give):
    """A pruner whose scores are `give(weight)`."""

    def score(model, batches, *, mode, generator):
        return {name: give(weight.detach()) for name, weight in prunable(model).items()}

    return Pruner(score=score, summary="", paper="")


def dead():
    model = net()
    model[0].bias.data.fill_(-1e6)
    model[2].bias.data.zero_()
    return model


def constant():
    model = net()
    for weight in prunable(model).values():
        weight.data.fill_(0.1)
    return model


@pytest.mark.parametrize(
    ("model", "pruner", "message"),
    [
        (
            net(),
            scoring(torch.zeros_like),
            r"All 256 scores of pruner 'score' are 0, so a mask would be arbitrary\. No weight",
        ),
        (
            net(),
            scoring(torch.ones_like),
            r"are 1, so a mask would be arbitrary\. Look for layers whose weights are all equal",
        ),
        (net(), scoring(lambda w: torch.full(w.shape, 2**60)), "are 1.15292e[+]18"),
        (net(), scoring(lambda w: w != 9), "are True|are 1"),
        (dead(), "snip", "All 256 scores of pruner 'snip' are 0"),
        (dead(), "px", "'px' are 0"),
        (constant(), "magnitude", r"'magnitude' are 0\.1"),
        (nn.Sequential(nn.Linear(12, 16), nn.Linear(16, 4)).apply(lambda m: m.requires_grad_(False)), "random", None),
    ],
)
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_all_scores_equal(model, pruner, message, scope):
    if message is None:
        assert prune(model, pruner, 4, [(X, Y)], scope=scope)
        return
    with pytest.raises(PruningError, match=message) as refusal:
        prune(model, pruner, 4, [(X, Y)], scope=scope)
    assert "\n" not in str(refusal.value)
    assert all(mask.all() for mask in prune(model, pruner, 1, [(X, Y)], scope=scope).values())  # nothing to choose


@pytest.mark.parametrize("labels", [torch.full((16,), -100), Y])
def test_the_cause_is_named_where_it_is_known(labels):
    model = net() if (labels == -100).all() else net(1)
    for name in ("snip", "grasp", "force", "prospr"):
        with pytest.raises(PruningError, match=r"All labels of a batch are -100|one logit for each input"):
            prune(model, name, 4, [(X, labels if len(model[2].weight) > 1 else labels * 0)])


def test_many_ties_are_told():
    """256 weights, of which 40 have a score: 64 are kept, so 24 of them for their position."""

    def forty(weight):
        score = torch.zeros_like(weight)
        if len(weight) == 16:
            score.view(-1)[:40] = torch.arange(1.0, 41.0)
        return score

    with pytest.warns(PruningWarning, match=r"37\.5 % of the weights that pruner 'score' kept have scores that tie"):
        found = find(net(), scoring(forty), 4)
    assert found.tied == 24 / 64
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find(net(), scoring(forty), 6.4).tied == 0  # the forty alone
        assert find(net(), scoring(forty), 1).tied == 0


def test_the_dead_are_no_ties():
    """What an earlier iteration pruned scores 0 and cannot come back: nothing is exchanged for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("snip", "iter-snip", "synflow", "magnitude", "random", "grasp"):
            assert find(net(), name, 8, [(X, Y)], iterations=4 if PRUNERS[name].iterates else 1).tied < 0.05


def test_a_collapsed_network_goes_on():
    """One weight of 256 cuts every path: later iterations find zeros alone, and the collapse is for others to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PruningWarning)
        for name in ("snip", "synflow", "iter-snip"):
            masks = prune(net(), name, 256, [(X, Y)], iterations=5, schedule="exponential")
            assert sum(int(mask.sum()) for mask in masks.values()) == 1


def test_levels_of_an_earlier_pruning_may_tie():
    alive = {name: torch.arange(w.numel()).view(w.shape) < 20 for name, w in prunable(net()).items()}
    with pytest.warns(PruningWarning):
        masks = prune(net(), scoring(torch.ones_like), 16, alive=alive)
    assert sum(int(mask.sum()) for mask in masks.values()) == 16


def test_half_precision_does_not_underflow():
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 4)
    )
    x = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    scores = find(model.half(), "grasp", 4, [(x.half(), Y)]).scores
    assert sum(int((score == 0).sum()) for score in scores.values()) == 0


def test_ranks_are_compared_exactly():
    """The 64 highest of 256 ranks from 2**60 on, which float64 rounds by 256."""

    def ranks(model, batches, *, mode, generator):
        start, given = 2**60, {}
        for name, weight in prunable(model).items():
            given[name] = torch.arange(start, start + weight.numel()).view(weight.shape)
            start += weight.numel()
        return given

    mask = torch.cat([mask.flatten() for mask in prune(net(), ranks, 4).values()])
    assert mask.tolist() == [False] * 192 + [True] * 64
