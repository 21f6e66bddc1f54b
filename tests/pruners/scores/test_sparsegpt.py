"""Frantar and Alistarh 2023, algorithm 1, against one inverse per column."""

import pytest
import torch
from reference_networks import NETWORKS, data, network
from test_wanda import inputs_of
from torch import nn

from pruners import PRUNERS, PruningError, find, prunable, prune
from pruners.scores.sparsegpt import _shares


def pieces(model, batches):
    """(layer, its rows, 2 X Xᵀ / images + 0.01 of its mean diagonal, dead columns): groups and q, k, v apart."""
    rows = [inputs_of(model, x) for x, _ in batches]
    for name, weight in prunable(model).items():
        inputs = torch.cat([each[name] for each in rows])
        parts = 3 if "in_proj" in name else inputs.shape[1]
        each = len(weight) // parts
        for i in range(parts):
            x = inputs[:, 0 if "in_proj" in name else i]
            h = 2 * x.T @ x / sum(len(x) for x, _ in batches)
            dead = h.diagonal() == 0
            h = h + torch.diag(dead.double())
            h = h + 0.01 * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
            yield name, slice(i * each, (i + 1) * each), h, dead


def merit(values, h, column):
    inverse = torch.linalg.inv(h[column:, column:])
    return values[:, column] ** 2 / inverse[0, 0]


def reference(weight, h, block, gone_of_block, m=0, pruned=0):
    """Prune as the published loop does (IST-DASLab/sparsegpt 147d215), with a fresh inverse for each column."""
    w = weight.detach().clone().flatten(1)
    gone = torch.zeros_like(w, dtype=torch.bool)
    for column in range(w.shape[1]):
        if m and column % m == 0:
            merits = torch.stack([merit(w, h, j) for j in range(column, column + m)], 1)
            gone[:, column : column + m].scatter_(1, merits.topk(pruned, largest=False)[1], True)
        elif not m and column % block == 0:
            end = min(column + block, w.shape[1])
            merits = torch.stack([merit(w, h, j) for j in range(column, end)], 1)
            lowest = merits.flatten().argsort(stable=True)[: gone_of_block(end, end - column)]
            flat = torch.zeros(merits.numel(), dtype=torch.bool)
            flat[lowest] = True
            gone[:, column:end] = flat.view(merits.shape)
        inverse = torch.linalg.inv(h[column:, column:])
        error = torch.where(gone[:, column], w[:, column], 0) / inverse[0, 0]
        w[:, column:] -= torch.outer(error, inverse[0])
    return w.masked_fill(gone, 0), ~gone


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("compression", [2, 10])
def test_equals_one_inverse_per_column(name, compression):
    model, batches, block = network(name), data(), 8
    found = find(model, "sparsegpt", compression, batches, options={"block": block})
    for layer, rows, h, dead in pieces(model, batches):
        weight = prunable(model)[layer][rows].detach().flatten(1).masked_fill(dead, 0)
        merits = torch.stack([merit(weight, h, j) for j in range(len(h))], 1)
        torch.testing.assert_close(found.scores[layer][rows].flatten(1), merits, rtol=1e-8, atol=1e-12)
        total = weight.numel() - int(found.masks[layer][rows].sum())

        def gone(end, count, total=total, n=weight.shape[1]):
            return end * total // n - (end - count) * total // n

        values, kept = reference(weight, h, block, gone)
        assert torch.equal(found.masks[layer][rows].flatten(1), kept)
        torch.testing.assert_close(found.weights[layer][rows].flatten(1), values, rtol=1e-7, atol=1e-10)
    for layer, mask in found.masks.items():
        n = mask.numel()
        parts = 3 if "in_proj" in layer else 1
        assert int(mask.sum()) == parts * -(-(n // parts) // compression)


def test_two_of_four_equals_one_inverse_per_column():
    model, batches = network("transformer"), data()
    found = find(model, "sparsegpt", 2, batches, granularity="2:4")
    for layer, rows, h, _ in pieces(model, batches):
        if layer == "patches.weight":  # three colours
            assert found.masks[layer].all() and torch.equal(found.weights[layer], model.patches.weight)
            continue
        values, kept = reference(prunable(model)[layer][rows], h, 128, None, m=4, pruned=2)
        assert torch.equal(found.masks[layer][rows], kept)
        torch.testing.assert_close(found.weights[layer][rows], values, rtol=1e-7, atol=1e-10)


def test_blocks_of_a_convolution_follow_each_other_along_its_inputs():
    model, batches = network("residual"), data()
    masks = prune(model, "sparsegpt", 2, batches, granularity="2:4")
    for layer in ("a.weight", "c.weight", "short.weight", "head.weight"):
        blocks = masks[layer].movedim(1, -1).reshape(-1, 4)
        assert set(blocks.sum(1).tolist()) == {2}


def output_error(model, weights, batches, layer):
    x = torch.cat([inputs_of(model, x)[layer][:, 0] for x, _ in batches])
    change = (weights[layer] - prunable(model)[layer].detach()).flatten(1)
    return float((x @ change.T).square().sum())


def test_outputs_change_less_than_without_the_update():
    model, batches = network("residual"), data()
    found = find(model, "sparsegpt", 2, batches)
    for layer, mask in found.masks.items():
        cut = {layer: prunable(model)[layer].detach() * mask}
        assert output_error(model, found.weights, batches, layer) < output_error(model, cut, batches, layer)


@pytest.mark.parametrize("scope", ["global", "layer", "row", "erk"])
@pytest.mark.parametrize("iterations", [1, 3])
def test_every_scope_keeps_its_counts_over_iterations(scope, iterations):
    model, batches = network("plain"), data()
    settings = {"scope": scope, "iterations": iterations, "schedule": "linear" if iterations > 1 else None}
    found = find(model, "sparsegpt", 3, batches, options={"block": 4}, **settings)
    masks, n = found.masks, sum(mask.numel() for mask in found.masks.values())
    if scope in ("global", "erk"):
        assert sum(int(mask.sum()) for mask in masks.values()) == n - int(n * (1 - 1 / 3))
    for mask in masks.values():
        if scope == "layer":
            assert int(mask.sum()) == -(-mask.numel() // 3)
        elif scope == "row":
            assert set(mask.flatten(1).sum(1).tolist()) == {-(-mask[0].numel() // 3)}
    assert not any(found.weights[name][~mask].any() for name, mask in masks.items())


def test_inputs_that_are_always_zero_have_no_weights():
    model, batches = network("plain"), data()
    batches = [(torch.cat([x[:, :2], torch.zeros_like(x[:, 2:])], 1), y) for x, y in batches]
    found = find(model, "sparsegpt", 1.2, batches)
    assert not found.scores["first.weight"][:, 2].any()
    assert not found.weights["first.weight"][:, 2].any()
    assert int(found.masks["first.weight"].sum()) == 135  # of 162, of which 54 are zero


def test_whole_filters_go_and_the_others_make_up_for_their_readers():
    model, batches = network("residual"), data()
    found = find(model, "sparsegpt", 2, batches, granularity="filter-mean")
    gone = ~found.masks["a.weight"].flatten(1).any(1)
    assert gone.any() and not found.weights["b.weight"][:, gone].any()
    kept = found.masks["b.weight"]
    assert not torch.equal(found.weights["b.weight"][kept], model.b.weight.detach()[kept])


def test_what_has_no_matrix_of_inputs_is_refused_by_name():
    model = nn.Sequential(nn.ConvTranspose2d(3, 2, 3), nn.Flatten(), nn.Linear(128, 4)).double()
    with pytest.raises(PruningError, match=r"The inputs of 0\.weight, a transposed convolution, are not those of one"):
        prune(model, "sparsegpt", 2, data())


def test_shares_add_up_and_leave_the_dead_dead():
    assert _shares(7, [0, 0, 0], 10, 4) == [2, 3, 2]
    assert _shares(7, [4, 0, 0], 10, 4) == [4, 3, 0]
    assert _shares(7, [0, 0, 4], 10, 4) == [2, 1, 4]
    assert PRUNERS["sparsegpt"].settings().scope == "layer"
