"""Blocks of the inverse empirical Fisher: scores and updates as WoodFisher and oBERT compute them."""

import copy

import pytest
import torch
from reference_networks import NETWORKS, data, flat, highest, loss_of, network
from test_obd import slopes_of
from torch import nn

from pruners import PRUNERS, PruningError, apply_masks, find, prunable, prune, put_weights

DAMP = 1e-4
OPTIONS = {"block": 7, "damp": DAMP}


def inverses(model, batches, masks=None):
    """The inverse of every block, one rank after the other, as sparseml 1c04a01 does (EmpiricalBlockFisherInverse)."""
    images = [(x[i : i + 1], y[i : i + 1]) for x, y in batches for i in range(len(x))]
    found = {}
    slopes = [slopes_of(model, x, y) for x, y in images]
    for name, weight in prunable(model).items():
        blocks = []
        for start in range(0, weight.numel(), 7):
            rows = [
                (each[name] * (1 if masks is None else masks[name])).flatten()[start : start + 7] for each in slopes
            ]
            inverse = torch.eye(len(rows[0]), dtype=torch.float64) / DAMP
            for g in rows:
                along = inverse @ g
                inverse = inverse - torch.outer(along, along) / (len(rows) + g @ along)
            blocks.append(inverse)
        found[name] = blocks
    return found


def expected(model, batches, compression):
    """Scores, masks and updated weights, block by block and weight by weight."""
    inverse = inverses(model, batches)
    scores = {}
    for name, weight in prunable(model).items():
        diagonal = torch.cat([block.diagonal() for block in inverse[name]])
        scores[name] = (weight.detach().flatten() ** 2 / (2 * diagonal)).view(weight.shape)
    masks = highest(scores, compression)
    weights = {}
    for name, weight in prunable(model).items():
        old = weight.detach().flatten()
        new = old.clone()
        for number, block in enumerate(inverse[name]):
            for q in range(len(block)):
                place = 7 * number + q
                if not masks[name][place]:
                    new[7 * number : 7 * number + len(block)] -= old[place] / block[q, q] * block[:, q]
        weights[name] = (new * torch.tensor(masks[name])).view(weight.shape)
    return scores, masks, weights


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("compression", [2, 10])
def test_equals_ranks_one_by_one(name, compression):
    batches = data()
    scores, masks, weights = expected(network(name), batches, compression)
    model = network(name)
    found = find(model, "obs", compression, batches, options=OPTIONS, iterations=1)
    for layer, score in scores.items():
        torch.testing.assert_close(found.scores[layer], score, rtol=1e-7, atol=1e-12)
        torch.testing.assert_close(found.weights[layer], weights[layer], rtol=1e-6, atol=1e-9)
        assert torch.equal(prunable(model)[layer], prunable(network(name))[layer])
    assert flat(found.masks) == masks


def test_a_single_weight_is_made_up_for_exactly():
    """The minimum of the quadratic with one weight at zero: its slope is zero along all others of the block."""
    model, batches = network("plain"), data()
    inverse = inverses(model, batches)["head.weight"][0]
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}
    masks["head.weight"].view(-1)[2] = False
    before = {name: torch.ones_like(mask) for name, mask in masks.items()}
    settings = PRUNERS["obs"].settings(options=OPTIONS)
    asked = {"before": before, "generator": torch.Generator(), "settings": settings}
    same, weights = PRUNERS["obs"].update(model, batches, masks, **asked)
    assert all(torch.equal(same[name], mask) for name, mask in masks.items())
    change = (weights["head.weight"] - model.head.weight.detach()).flatten()
    slope = torch.linalg.solve(inverse, change[:7])
    assert float(slope[[0, 1, 3, 4, 5, 6]].abs().max()) < 1e-9 * float(slope[2].abs())
    assert not change[7:].any()
    rise = float(change[:7] @ slope) / 2
    score = find(model, "obs", 2, batches, options=OPTIONS, iterations=1).scores["head.weight"].flatten()[2]
    assert rise == pytest.approx(float(score), rel=1e-9)


def test_iterations_update_what_is_left():
    model, batches = network("residual"), data()
    found = find(model, "obs", 4, batches, options=OPTIONS, schedule="linear", iterations=2)
    half = find(model, "obs", 1 / (1 - 3 / 8), batches, options=OPTIONS, iterations=1)
    put_weights(model, half.weights)
    again = find(model, "obs", 4, batches, options=OPTIONS, iterations=1, alive=half.masks)
    for layer, mask in found.masks.items():
        assert torch.equal(mask, again.masks[layer]) and not (mask & ~half.masks[layer]).any()
        torch.testing.assert_close(found.weights[layer], again.weights[layer])
        assert not found.weights[layer][~mask].any()


def test_the_update_lowers_the_loss_of_a_trained_network():
    batches = data(24, 1)
    model = network("plain")
    descent = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        descent.zero_grad()
        loss_of(model, *batches[0]).backward()
        descent.step()
    found = find(model, "obs", 1.5, batches, options={"damp": 1e-5}, schedule="linear", iterations=4)
    plain, updated = copy.deepcopy(model), copy.deepcopy(model)
    apply_masks(plain, prune(model, "obs", 1.5, batches, options={"damp": 1e-5}))
    put_weights(updated, found.weights)
    assert bool(loss_of(updated, *batches[0]) < loss_of(plain, *batches[0]))


def test_what_does_not_go_with_updates_is_refused(model, batches):
    for ablation in ("shuffle", "invert"):
        with pytest.raises(PruningError, match=f"Ablation '{ablation}' is not for pruner 'obs', which updates weights"):
            prune(model, "obs", 2, batches, ablation=ablation)
    nn.utils.parametrizations.weight_norm(model.head)
    with pytest.raises(PruningError, match="'obs' updates weights, so it needs a model without parametrizations"):
        prune(model, "obs", 2, batches)
    assert find(network("plain"), "obs", 1, data()).weights == {}


def test_half_precision_gets_its_weights_back_in_its_own_type():
    model = network("plain").bfloat16()
    found = find(model, "obs", 2, [(x.float(), y) for x, y in data()])
    assert {weight.dtype for weight in found.weights.values()} == {torch.bfloat16}


def test_large_gradients_do_not_make_scores_negative():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    batch = 30 * torch.rand(20, 1, 8, 8), torch.randint(10, (20,))
    for scores in find(model, "obs", 2, batches=[batch], iterations=1).scores.values():
        assert float(scores.min()) >= 0
