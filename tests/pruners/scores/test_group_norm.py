"""Fang et al. 2023: what writes and reads a channel counts together, relative to its layer."""

import pytest
import torch
from reference_networks import network
from torch import nn, tensor

from pruners import compact, find, prune


def rows(layer):
    return layer.weight.detach().flatten(1).square().sum(1)


def columns(layer):
    return layer.weight.detach().transpose(0, 1).flatten(1).square().sum(1)


def scales(norm):
    return norm.weight.detach().square()


def first(score):
    return score.flatten(1)[:, 0]


def test_equals_the_groups_written_out():
    """As Torch-Pruning e80127d: sums of squares of filters, inputs and γ, over the mean of the group."""
    model = network("residual")
    scores = find(model, "group-norm", 2, granularity="filter").scores
    inner = rows(model.a) + scales(model.norm_a) + columns(model.b)
    torch.testing.assert_close(first(scores["a.weight"]), inner / inner.mean())
    stem = rows(model.stem) + scales(model.norm) + rows(model.b) + scales(model.norm_b)
    stem += columns(model.a) + columns(model.c) + columns(model.short)
    for layer in ("stem.weight", "b.weight"):  # two filters write a channel: half of its score each
        torch.testing.assert_close(first(scores[layer]), stem / stem.mean() / 2)
    last = rows(model.c) + scales(model.norm_c) + rows(model.short) + scales(model.norm_short) + columns(model.head)
    torch.testing.assert_close(first(scores["c.weight"]), last / last.mean() / 2)


@pytest.mark.parametrize("kappa", [0.25, 0.5])
def test_the_channels_of_lowest_importance_go(kappa):
    model = network("residual")
    scores = find(model, "group-norm", kappa=kappa, granularity="filter").scores
    whole = {name: first(score) for name, score in scores.items()}
    # Every channel once with its number of filters: a alone, stem and b together, c and short together.
    ranked = [(float(whole["a.weight"][i]), 1, "a.weight", i) for i in range(8)]
    ranked += [(2 * float(whole["stem.weight"][i]), 2, "stem.weight", i) for i in range(4)]
    ranked += [(2 * float(whole["c.weight"][i]), 2, "c.weight", i) for i in range(8)]
    spare, gone = int(kappa * 32), set()
    for _, size, layer, i in sorted(ranked):
        if size <= spare and len([each for each in gone if each[0] == layer]) < len(whole[layer]) - 1:
            gone.add((layer, i))
            spare -= size
    masks = prune(model, "group-norm", kappa=kappa, granularity="filter")
    found = {
        (layer, i)
        for layer in ("a.weight", "stem.weight", "c.weight")
        for i, kept in enumerate(masks[layer].flatten(1).any(1).tolist())
        if not kept
    }
    assert found == gone
    assert not compact(model, masks, (3, 6, 6)).reason


def test_flattened_maps_and_grouped_convolutions_are_read_place_by_place():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)
        ).double()
    conv, grouped, head = model[0], model[2], model[5]
    scores = find(model, "group-norm", kappa=0.2, granularity="filter").scores
    weight = grouped.weight.detach()[:, :, 0, 0].square()
    read = torch.cat([weight[:3].sum(0), weight[3:].sum(0)])
    of_maps = head.weight.detach().square().sum(0).view(6, 4).sum(1)
    # The channels of one group of a convolution can only be removed together: two groups, four and six filters in all.
    size = (rows(conv) + read).view(2, 2).sum(1) + (rows(grouped) + of_maps).view(2, 3).sum(1)
    torch.testing.assert_close(first(scores["0.weight"]), (size / size.mean() / 5).repeat_interleave(2))
    torch.testing.assert_close(first(scores["2.weight"]), (size / size.mean() / 5).repeat_interleave(3))


def test_by_hand_a_depthwise_filter_counts_once():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 2, 1, groups=2, bias=False), nn.Flatten(), nn.Linear(2, 1)
    ).double()
    model[0].weight.data = tensor([1.0, 2.0], dtype=torch.float64).view(2, 1, 1, 1)
    model[1].weight.data = tensor([3.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    model[3].weight.data = tensor([[0.0, 1.0]], dtype=torch.float64)
    scores = find(model, "group-norm", kappa=0.5, granularity="filter").scores
    # 1 + 9 + 0 = 10 and 4 + 1 + 1 = 6, over their mean 8, for two filters each.
    assert first(scores["0.weight"]).tolist() == pytest.approx([10 / 16, 6 / 16])
