"""Liu et al. 2017: channels of the smallest |γ| go, all layers together."""

import pytest
import torch
from reference_networks import network
from torch import nn, tensor

from pruners import PruningError, compact, find, keep_dense, prune


def slim():
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    model[1].weight.data = tensor([0.9, -0.1, 0.5])
    model[4].weight.data = tensor([0.3, 0.0, -0.8, 0.2])
    return model


def test_the_smallest_scales_of_all_layers_go():
    # The published rule: sort |γ| of all norms, cut at the threshold. 3 of 7: 0.0, 0.1 and 0.2.
    masks = prune(slim(), "bn-scale", kappa=3 / 7, granularity="filter")
    assert masks["0.weight"].flatten(1).any(1).tolist() == [True, False, True]
    assert masks["3.weight"].flatten(1).any(1).tolist() == [True, False, True, False]
    assert masks["8.weight"].tolist() == [[True, False, True, False]] * 2


def test_the_size_of_a_filter_does_not_matter():
    model = slim()
    model[0].weight.data[1] *= 1e6
    scores = find(model, "bn-scale", kappa=1 / 7, granularity="filter").scores
    assert scores["0.weight"][:, 0, 0, 0].tolist() == pytest.approx([0.9, 0.1, 0.5])
    assert (scores["0.weight"] == scores["0.weight"][:, :1, :1, :1]).all()
    assert not scores["8.weight"].any()


def test_channels_that_are_added_up_share_the_mean_of_their_norms():
    model = network("residual")
    scores = find(model, "bn-scale", 2, granularity="filter").scores
    shared = (model.norm.weight.abs() + model.norm_b.weight.abs()) / 2
    for layer in ("stem.weight", "b.weight"):
        torch.testing.assert_close(scores[layer][:, 0, 0, 0], shared.detach() / 2)  # two layers write them
    torch.testing.assert_close(scores["a.weight"][:, 0, 0, 0], model.norm_a.weight.detach().abs())


def test_a_smaller_network_computes_the_same():
    model = network("residual")
    masks = prune(model, "bn-scale", 2, granularity="filter")
    small = compact(model, masks, (3, 6, 6))
    assert not small.reason and small.model.a.weight.shape[0] < 8


def test_a_channel_without_a_scale_is_refused_by_name():
    bare = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(PruningError, match=r"needs a batch norm .*, and those of 1\.weight have none"):
        prune(bare, "bn-scale", 2, granularity="filter")
    plain = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(PruningError, match=r"those of 0\.weight have none"):
        prune(plain, "bn-scale", 2, granularity="filter")


def test_a_layer_without_a_norm_may_stay_dense():
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2)
    )
    model[1].weight.data = tensor([0.5, 0.1, 0.4])
    keep_dense(model, ["3.weight"])
    with pytest.raises(PruningError, match="Unreachable"):  # the dense layer reads all channels
        prune(model, "bn-scale", 2, granularity="filter")


def test_attention_is_refused():
    with pytest.raises(PruningError, match='Granularity "filter" must follow channels'):
        prune(network("transformer"), "bn-scale", 2, granularity="filter")
