"""Sun et al. 2024, equation 1: |w| times the norm of its input, compared within each output."""

import math

import pytest
import torch
import torch.nn.functional as F
from reference_networks import NETWORKS, data, network
from torch import nn, tensor

from pruners import PRUNERS, PruningError, find, prunable, prune


def inputs_of(model, x):
    """The inputs of every layer as rows (n, inputs of an output), by hooks, unfolding and attention written out."""
    found, hooks = {}, []

    def hook(name):
        def heard(module, args, _):
            rows = args[0].detach()
            if isinstance(module, nn.Conv2d):
                width = module.weight[0].numel()
                unfolded = F.unfold(rows, module.kernel_size, module.dilation, module.padding, module.stride)
                rows = unfolded.transpose(1, 2).reshape(-1, module.groups, width)  # groups are blocks of channels
            else:
                rows = rows.reshape(-1, 1, rows.shape[-1])
            found[f"{name}.weight"] = rows

        return heard

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and "out_proj" not in name:
            hooks.append(module.register_forward_hook(hook(name)))
        if isinstance(module, nn.MultiheadAttention):
            hooks.append(
                module.register_forward_hook(lambda m, args, _, n=name: found.update(attention(n, m, args[0])))
            )
    with torch.no_grad():
        model(x)
    for each in hooks:
        each.remove()
    return found


def attention(name, module, y):
    y = y.detach()
    parts = (y @ module.in_proj_weight.T + module.in_proj_bias).detach().chunk(3, -1)
    q, k, v = (part.unflatten(-1, (module.num_heads, -1)).transpose(1, 2) for part in parts)
    shares = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).exp()
    mixed = (shares / shares.sum(-1, keepdim=True) @ v).transpose(1, 2).flatten(2)
    return {
        f"{name}.in_proj_weight": y.reshape(-1, 1, y.shape[-1]),
        f"{name}.out_proj.weight": mixed.reshape(-1, 1, mixed.shape[-1]),
    }


def expected(model, batches):
    scores = {}
    rows = [inputs_of(model, x) for x, _ in batches]
    for name, weight in prunable(model).items():
        norms = torch.cat([each[name] for each in rows]).square().sum(0).sqrt()  # (groups, inputs)
        wide = norms.repeat_interleave(len(weight) // len(norms), 0)
        scores[name] = (weight.detach().flatten(1).abs() * wide).view(weight.shape)
    return scores


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("compression", [2, 10])
def test_equals_hooks_and_unfolding_and_the_published_selection(name, compression):
    model, batches = network(name), data()
    reference = expected(model, batches)
    found = find(model, "wanda", compression, batches)
    for layer, score in reference.items():
        torch.testing.assert_close(found.scores[layer], score, rtol=1e-10, atol=1e-12)
        # locuslab/wanda 8e8fc87, lib/prune.py: int(columns * sparsity) of every row go, in a stable ascending order.
        metric = score.flatten(1)
        gone = torch.zeros_like(metric, dtype=torch.bool)
        order = torch.sort(metric, dim=-1, stable=True)[1]
        gone.scatter_(1, order[:, : int(metric.shape[1] * (1 - 1 / compression) + 1e-9)], True)
        assert torch.equal(found.masks[layer].flatten(1), ~gone)


def test_two_of_four_equals_the_published_selection():
    model, batches = network("transformer"), data()
    masks = prune(model, "wanda", 2, batches, granularity="2:4")
    for layer, score in expected(model, batches).items():
        if layer == "patches.weight":
            continue  # three colours: it stays dense
        blocks = score.reshape(-1, 4)
        gone = torch.zeros_like(blocks, dtype=torch.bool).scatter_(1, blocks.topk(2, largest=False)[1], True)
        assert torch.equal(masks[layer].reshape(-1, 4), ~gone)


def test_by_hand():
    model = nn.Linear(3, 2, bias=False).double()
    model.weight.data = tensor([[1.0, -2.0, 3.0], [5.0, 5.0, 0.1]], dtype=torch.float64)
    x = tensor([[3.0, 0.0, 1.0], [4.0, 1.0, 0.0]], dtype=torch.float64)  # norms 5, 1, 1
    found = find(model, "wanda", 3, [(x, tensor([0, 1]))])
    assert found.scores["weight"].tolist() == [[5.0, 2.0, 3.0], [25.0, 5.0, 0.1]]
    assert found.masks["weight"].tolist() == [[True, False, False], [True, False, False]]
    model.weight.data[1, 1] = 6.0
    everywhere = find(model, "wanda", 3, [(x, tensor([0, 1]))], scope="global").masks["weight"]
    assert everywhere.tolist() == [[False, False, False], [True, True, False]]


def test_transposed_convolutions_see_the_inputs_of_each_weight():
    layer = nn.ConvTranspose1d(2, 3, 2, stride=2, bias=False).double()
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 2)).double()
    x = tensor([[[1.0, 2.0], [0.0, 3.0]]], dtype=torch.float64)
    scores = find(model, "wanda", 2, [(x, tensor([0]))], scope="layer").scores["0.weight"]
    norms = tensor([5.0, 9.0], dtype=torch.float64).sqrt()
    torch.testing.assert_close(scores, layer.weight.detach().abs() * norms.view(2, 1, 1))
    with pytest.raises(PruningError, match=r'Scope "row" .* 0\.weight, a transposed'):
        prune(model, "wanda", 2, [(x, tensor([0]))])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_see_their_inputs_and_states(kind):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = kind(3, 4, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.layer(x)[0][:, -1])

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Recurrent().double()
    x = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = find(model, "wanda", 2, [(x, torch.arange(5) % 2)]).scores
    states = model.layer(x)[0].detach()
    for name, rows in (("layer.weight_ih_l0", x.flatten(0, 1)), ("layer.weight_hh_l0", states[:, 0])):
        expected = prunable(model)[name].detach().abs() * rows.square().sum(0).sqrt()
        torch.testing.assert_close(scores[name], expected)


def test_inputs_that_cannot_be_seen_are_refused_by_name():
    class Bilinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Bilinear(3, 3, 2)

        def forward(self, x):
            return self.layer(x, x)

    with pytest.raises(PruningError, match=r"'wanda' needs the inputs .*, and those of layer\.weight cannot"):
        prune(Bilinear(), "wanda", 2, [(torch.randn(4, 3), torch.arange(4) % 2)])


def test_networks_are_checked_without_data():
    PRUNERS["wanda"].check(network("transformer"), (3, 6, 6))
    transposed = nn.Sequential(nn.ConvTranspose2d(3, 2, 3), nn.Flatten(), nn.Linear(128, 4))
    PRUNERS["wanda"].check(transposed, (3, 6, 6))
    with pytest.raises(PruningError, match=r"The inputs of 0\.weight, a transposed convolution"):
        PRUNERS["sparsegpt"].check(transposed, (3, 6, 6))
    with pytest.raises(PruningError, match=r"'bn-scale' needs a batch norm .*, and those of 0\.weight have none"):
        PRUNERS["bn-scale"].check(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(32, 4)), (3, 6, 6))


def test_filters_compete_by_layer():
    model, batches = network("plain"), data()
    masks = prune(model, "wanda", 2, batches, granularity="filter-mean")
    assert sum(int(mask.sum()) for mask in masks.values()) <= sum(mask.numel() for mask in masks.values()) / 2
