"""Heads and hidden units: which weights belong to one, what is removed, and what the smaller network computes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models.swin_transformer import ShiftedWindowAttention

from pruners import PruningError, apply_masks, compact, find, keep_dense, prune, refit
from pruners.compaction.narrow_attention import NarrowAttention
from pruners.transformer_blocks import transformer_blocks
from search_spaces import Network
from trainables.architectures import build

SHAPE = (3, 32, 32)
VIT = Network("vit-tiny", options=(("depth", 4),))
FIRST = "encoder.layers.encoder_layer_0."


@pytest.fixture(scope="module")
def vit():
    return build(VIT, SHAPE, 10, seed=0).double()


def half(model):
    """Masks without half of all heads and half of all hidden units."""
    masks = [prune(model, "magnitude", granularity=unit, kappa=0.5, seed=0) for unit in ("head", "neuron")]
    return {name: masks[0][name] & masks[1][name] for name in masks[0]}


def test_a_head_is_what_attention_computes_by_itself():
    """The output of attention is a sum over heads: without the weights of one, its part is gone and no other."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True))
    (block,) = transformer_blocks(model, "head")
    attention, x = model[0].self_attn, torch.randn(2, 5, 12)
    q, k, v = nn.functional.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, -1)
    parts = []
    for head in range(3):
        of = slice(4 * head, 4 * head + 4)
        share = (q[..., of] @ k[..., of].transpose(1, 2) / 2).softmax(-1)
        parts.append(share @ v[..., of] @ attention.out_proj.weight[:, of].T)
    with torch.no_grad():
        for weight, units in ((attention.in_proj_weight, block.rows), (attention.out_proj.weight.T, block.columns)):
            weight[units == 1] = 0
    found = attention(x, x, x)[0]
    assert torch.allclose(found, parts[0] + parts[2] + attention.out_proj.bias, atol=1e-6)


def test_half_of_the_heads_and_units_are_removed_and_nothing_changes(vit):
    masks = half(vit)
    masked = copy.deepcopy(vit)
    apply_masks(masked, masks)
    small = compact(vit, masks, SHAPE)
    assert small.reason == ""
    blocks = list(small.model.encoder.layers)
    assert sum(block.self_attention.num_heads for block in blocks) == 6  # of 12
    assert sum(block.mlp[0].out_features for block in blocks) == 4 * 768 // 2
    x = torch.randn(4, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for training in (True, False):
        masked.train(training), small.model.train(training)
        with torch.no_grad():
            assert float((masked(x) - small.model(x)).abs().max()) < 1e-12
    # A checkpoint of the small network fits a network built anew.
    again = build(VIT, SHAPE, 10, seed=1).double().eval()
    refit(again, small.model.state_dict())
    with torch.no_grad():
        assert torch.equal(again(x), small.model(x))
    name = f"{FIRST}self_attention.in_proj_weight"
    whole = masked.get_parameter(name).detach()
    assert torch.equal(small.put(name, torch.zeros_like(whole), small.take(name, whole)), whole)


def test_the_smaller_network_trains_as_the_masked_one(vit):
    masks = half(vit)
    masked, small = copy.deepcopy(vit), compact(vit, masks, SHAPE, training=True)
    apply_masks(masked, masks)
    assert small.reason == ""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(4, *SHAPE, dtype=torch.float64, generator=draw), torch.arange(4)
    for model in (masked, small.model):
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model.train()(x), y).backward()
            optimizer.step()
            if model is masked:
                apply_masks(masked, masks)
    for name, weight in small.model.named_parameters():
        assert torch.allclose(weight, small.take(name, masked.get_parameter(name)), rtol=0, atol=1e-12), name


@pytest.mark.parametrize(("unit", "count"), [("head", 12), ("neuron", 3072)])
def test_the_units_with_the_largest_scores_are_kept(vit, unit, count):
    found = find(vit, "magnitude", granularity=unit, kappa=0.25)
    merits, kept = [], []
    for block in transformer_blocks(vit, unit):
        for number in range(block.count):
            rows = block.rows == number
            merits.append(float(found.scores[block.writes][rows].sum()))
            kept.append(bool(found.masks[block.writes][rows].all()))
            assert bool(found.masks[block.writes][rows].any()) == kept[-1]
            assert bool(found.masks[block.reads][:, block.columns == number].all()) == kept[-1]
    assert len(kept) == count and sum(kept) == count - count // 4
    assert min(m for m, k in zip(merits, kept, strict=True) if k) > max(
        m for m, k in zip(merits, kept, strict=True) if not k
    )
    others = {b.writes for b in transformer_blocks(vit, unit)} | {b.reads for b in transformer_blocks(vit, unit)}
    assert all(mask.all() for name, mask in found.masks.items() if name not in others)


def test_every_block_keeps_a_unit_and_the_limit_is_said(vit):
    with pytest.raises(PruningError, match="Unreachable head compression 4x: every layer keeps at least one head"):
        prune(vit, "magnitude", 4, granularity="head")
    most = prune(vit, "magnitude", granularity="head", kappa=8 / 12)
    assert all(int(most[b.writes].any(1).sum()) == 3 * 64 for b in transformer_blocks(vit, "head"))


def test_what_is_kept_dense_keeps_its_units(vit):
    model = copy.deepcopy(vit)
    keep_dense(model, [f"{FIRST}mlp.*", f"{FIRST}self_attention.out_proj.weight"])
    masks = prune(model, "magnitude", granularity="neuron", kappa=0.5)
    assert f"{FIRST}mlp.0.weight" not in masks
    assert prune(model, "magnitude", granularity="head", kappa=0.5)[f"{FIRST}self_attention.in_proj_weight"].all()


def test_windows_have_heads_which_are_masked_and_not_removed():
    model = build(
        "swin-tiny",
        SHAPE,
        10,
        seed=0,
    )
    blocks = transformer_blocks(model, "head")
    attention = [module for module in model.modules() if isinstance(module, ShiftedWindowAttention)]
    assert [block.count for block in blocks] == [module.num_heads for module in attention]
    masks = half(model)
    small = compact(model, masks, SHAPE).model
    assert sum(m.num_heads for m in small.modules() if isinstance(m, ShiftedWindowAttention)) == sum(
        block.count for block in blocks
    )
    hidden = [sum(block.count for block in transformer_blocks(network, "neuron")) for network in (model, small)]
    assert hidden[1] == hidden[0] // 2


def test_other_networks_are_refused():
    with pytest.raises(PruningError, match='Granularity "head" needs a transformer, but the model has no attention'):
        prune(build("conv", SHAPE, 10, seed=0), "magnitude", 2, granularity="head")
    assert not any(isinstance(module, NarrowAttention) for module in build(VIT, SHAPE, 10, seed=0).modules())
