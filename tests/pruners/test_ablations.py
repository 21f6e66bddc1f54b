"""The sanity checks do what their names say (Frankle et al. 2021, section 5)."""

import pytest
import torch
from by_hand import OF_WEIGHTS, kept
from torch import nn

from pruners import ABLATIONS, PRUNERS, PruningError, find, prune

every_pruner = pytest.mark.parametrize("name", [name for name in OF_WEIGHTS if PRUNERS[name].update is None])


@every_pruner
def test_shuffle_keeps_the_layers_densities_and_nothing_else(name, model, batches):
    plain = prune(model, name, 5, batches)
    mixed = prune(model, name, 5, batches, ablation="shuffle")
    assert [int(mask.sum()) for mask in plain.values()] == [int(mask.sum()) for mask in mixed.values()]
    assert any(not torch.equal(plain[key], mixed[key]) for key in plain)


def test_shuffle_depends_on_the_seed_alone(model):
    first, again, other = (prune(model, "magnitude", 5, seed=seed, ablation="shuffle") for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_shuffle_reaches_every_place_about_equally():
    layer = nn.Linear(20, 5, bias=False)
    hits = sum(prune(layer, "magnitude", 4, seed=seed, ablation="shuffle")["weight"].double() for seed in range(400))
    assert abs(float(hits.mean()) - 100) < 1e-9
    assert float(hits.min()) > 50 and float(hits.max()) < 150


def test_invert_keeps_the_lowest():
    layer = nn.Linear(4, 1)
    layer.weight.data = torch.tensor([[-4.0, 1.0, 2.0, -3.0]])
    pruning = find(layer, "magnitude", 2, ablation="invert")
    assert pruning.masks["weight"].tolist() == [[False, True, True, False]]
    assert pruning.scores["weight"].tolist() == [[4.0, 1.0, 2.0, 3.0]]  # the scores are not turned round


@every_pruner
@pytest.mark.parametrize("compression", [2, 50])
def test_iterated_invert_is_exact_and_never_dense(name, compression, model, batches):
    pruning = find(model, name, compression, batches, iterations=7, ablation="invert", scope="global")
    assert kept(pruning.masks) == 750 // compression
    assert all(score.isfinite().all() for score in pruning.scores.values())


def test_iterated_invert_is_nested(model, batches):
    pruning = find(model, "synflow", 20, batches, iterations=10, ablation="invert")
    wider = find(model, "synflow", 20 ** (9 / 10), batches, iterations=9, ablation="invert").masks
    assert not any((mask & ~wider[key]).any() for key, mask in pruning.masks.items())


def test_reinitialize_changes_no_mask_and_unknown_names_are_refused(model):
    assert ABLATIONS == ("none", "shuffle", "reinitialize", "invert")
    plain, other = (prune(model, "random", 5, ablation=ablation) for ablation in ("none", "reinitialize"))
    assert all(torch.equal(plain[key], other[key]) for key in plain)
    with pytest.raises(PruningError, match=r"ablation 'shufle'.*Did you mean 'shuffle'"):
        prune(model, "random", 5, ablation="shufle")
