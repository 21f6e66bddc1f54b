"""Multiply-accumulates of networks whose weights are used in every way, worked by hand and against torch's counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

from pruners import layer_weights
from trainables.mac_counter import NO_WEIGHTS
from trainables.profiling import macs, profile

SHAPE = (5, 4, 4)  # as 5 tokens of 16 numbers


class Net(nn.Module):
    """What a function does with an input and the modules or parameters given by name."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def tokens(x):
    return x.flatten(2)  # (1, 5, 16)


def weight(*shape):
    return nn.Parameter(torch.randn(shape))


def tied(model):
    model.b.weight = model.a.weight
    return model


HEADS = nn.MultiheadAttention(16, 2, batch_first=True)
# name -> the network, what its rows are (of weights, of biases); layers that take no part are (0, 0)
BY_HAND = {
    "self-attention": (
        lambda: Net(
            lambda m, x: m.a(tokens(x), tokens(x), tokens(x))[0], a=nn.MultiheadAttention(16, 2, batch_first=True)
        ),
        # q k^T and its product with v: 5 x 5 x 16 each
        {"a.in_proj_weight": (3 * 5 * 256, 240), "a.out_proj.weight": (1280, 80), NO_WEIGHTS: (0, 800)},
    ),
    "attention without averaged weights": (
        lambda: Net(
            lambda m, x: m.a(tokens(x), tokens(x), tokens(x), need_weights=False)[0],
            a=nn.MultiheadAttention(16, 4, batch_first=True, bias=False),
        ),
        {"a.in_proj_weight": (3840, 0), "a.out_proj.weight": (1280, 0), NO_WEIGHTS: (0, 800)},
    ),
    "attention of three learned queries": (
        lambda: Net(
            lambda m, x: m.a(m.q, tokens(x), tokens(x))[0],
            a=nn.MultiheadAttention(16, 2, batch_first=True),
            q=weight(1, 3, 16),
        ),
        {
            "a.in_proj_weight": (256 * (3 + 5 + 5), 16 * 13),
            "a.out_proj.weight": (768, 48),
            NO_WEIGHTS: (0, 2 * 3 * 5 * 16),
        },
    ),
    "keys of another width": (
        lambda: Net(
            lambda m, x: m.a(tokens(x), m.k(tokens(x)), m.k(tokens(x)))[0],
            k=nn.Linear(16, 8, bias=False),
            a=nn.MultiheadAttention(16, 2, kdim=8, vdim=8, bias=False, batch_first=True),
        ),
        {
            "k.weight": (2 * 5 * 128, 0),
            "a.q_proj_weight": (1280, 0),
            "a.k_proj_weight": (640, 0),
            "a.v_proj_weight": (640, 0),
            "a.out_proj.weight": (1280, 0),
            NO_WEIGHTS: (0, 800),
        },
    ),
    "an encoder layer": (
        lambda: Net(lambda m, x: m.e(tokens(x)), e=nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)),
        {
            "e.self_attn.in_proj_weight": (3840, 240),
            "e.self_attn.out_proj.weight": (1280, 80),
            "e.linear1.weight": (2560, 160),
            "e.linear2.weight": (2560, 80),
            NO_WEIGHTS: (0, 800),
        },
    ),
    "a layer used by a function, as Swin does": (
        lambda: Net(lambda m, x: F.linear(tokens(x), m.qkv.weight, m.qkv.bias), qkv=nn.Linear(16, 48)),
        {"qkv.weight": (5 * 768, 240)},
    ),
    "only some rows of a layer": (
        lambda: Net(lambda m, x: F.linear(tokens(x), m.a.weight[:4]), a=nn.Linear(16, 48)),
        {"a.weight": (5 * 64, 0)},
    ),
    "a convolution used by a function": (
        lambda: Net(lambda m, x: F.conv2d(x, m.c.weight, stride=2), c=nn.Conv2d(5, 3, 2, bias=False)),
        {"c.weight": (60 * 4, 0)},
    ),
    "a bare parameter": (lambda: Net(lambda m, x: tokens(x) @ m.w, w=weight(16, 7)), {"w": (5 * 112, 0)}),
    "a bare parameter on the left": (lambda: Net(lambda m, x: m.w @ tokens(x), w=weight(7, 5)), {"w": (35 * 16, 0)}),
    "a parameter per head": (
        lambda: Net(lambda m, x: torch.einsum("nti,hij->nthj", tokens(x), m.w), w=weight(3, 16, 2)),
        {"w": (5 * 96, 0)},
    ),
    "a product with a vector": (lambda: Net(lambda m, x: tokens(x)[0] @ m.w, w=weight(16)), {"w": (80, 0)}),
    "tied layers": (
        lambda: tied(Net(lambda m, x: m.b(m.a(tokens(x))), a=nn.Linear(16, 16, bias=False), b=nn.Linear(16, 16))),
        {"a.weight": (2 * 1280, 80)},
    ),
    "one layer thrice": (
        lambda: Net(lambda m, x: m.a(m.a(m.a(tokens(x)))), a=nn.Linear(16, 16)),
        {"a.weight": (3840, 240)},
    ),
    "a layer that is not used": (
        lambda: Net(lambda m, x: m.a(tokens(x)), a=nn.Linear(16, 2), b=nn.Linear(3, 3)),
        {"a.weight": (160, 10), "b.weight": (0, 0)},
    ),
    "a weight that is computed": (
        lambda: Net(
            lambda m, x: F.linear(tokens(x), m.w * m.scale.exp() / m.w.norm()), w=weight(8, 16), scale=weight(8, 1)
        ),
        {"w": (5 * 128, 0)},
    ),
    "a low-rank addition": (  # the addition is computed anew each time: 8 x 2 x 16
        lambda: Net(
            lambda m, x: F.linear(tokens(x), m.w + m.b @ m.a), w=weight(8, 16), b=weight(8, 2), a=weight(2, 16)
        ),
        {"w": (640, 0), "a": (256, 0)},
    ),
    "products of the input with itself": (
        lambda: Net(lambda m, x: m.a(tokens(x) @ tokens(x).mT), a=nn.Linear(5, 2, bias=False)),
        {"a.weight": (50, 0), NO_WEIGHTS: (0, 5 * 5 * 16)},
    ),
    "a transposed convolution in groups": (
        lambda: Net(lambda m, x: m.c(x[:, :4]), c=nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)),
        {"c.weight": (16 * 4 * 3 * 9, 6 * 81)},
    ),
    "a bilinear layer": (
        lambda: Net(lambda m, x: m.b(tokens(x), tokens(x)), b=nn.Bilinear(16, 16, 3, bias=False)),
        {"b.weight": (5 * 768, 0)},
    ),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name, device):
    make, right = BY_HAND[name]
    with torch.device(device):
        counts = macs(make(), SHAPE)
    assert {layer: count for layer, count in counts.items() if sum(count) or layer in right} == right


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(kind, gates, bias, device):
    with torch.device(device):
        layers = kind(16, 6, 2, bias=bias, bidirectional=True, batch_first=True)
        model = Net(lambda m, x: m.r(tokens(x))[0], r=layers)
        counts = macs(model, SHAPE)
    rows = gates * 6
    for way in ("", "_reverse"):
        assert counts[f"r.weight_ih_l0{way}"][0] == 5 * rows * 16
        assert counts[f"r.weight_ih_l1{way}"][0] == 5 * rows * 12  # both directions of the layer below
        assert counts[f"r.weight_hh_l0{way}"][0] == counts[f"r.weight_hh_l1{way}"][0] == 5 * rows * 6
        assert counts[f"r.weight_hh_l0{way}"][1] == (5 * rows if bias else 0)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell])
def test_recurrent_cells(kind):
    def unroll(model, x):
        state = None
        for step in tokens(x).unbind(1):
            state = model.r(step, state)
        return state[0]

    counts = macs(Net(unroll, r=kind(16, 6)), SHAPE)
    gates = 4 if kind is nn.LSTMCell else 3
    assert counts["r.weight_ih"][0] == 5 * gates * 6 * 16
    assert counts["r.weight_hh"][0] == 5 * gates * 6 * 6


def masked(layer):
    return prune.random_unstructured(layer, "weight", 0.5)


@pytest.mark.parametrize(
    ("wrap", "original"),
    [
        (parametrizations.weight_norm, "parametrizations.weight.original1"),
        (parametrizations.spectral_norm, "parametrizations.weight.original"),
        (nn.utils.weight_norm, "weight_v"),
        (nn.utils.spectral_norm, "weight_orig"),
        (masked, "weight_orig"),
    ],
)
def test_reparametrised_layers_cost_what_the_layers_do(wrap, original):
    counts = macs(nn.Sequential(wrap(nn.Conv2d(5, 8, 3)), nn.Flatten(), wrap(nn.Linear(32, 4))), SHAPE)
    assert {name: count for name, count in counts.items() if sum(count)} == {
        f"0.{original}": (360 * 4, 32),
        f"2.{original}": (128, 4),
    }


ORDINARY = {
    "convolutions": nn.Sequential(
        nn.Conv2d(5, 8, 3, padding=1, groups=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Flatten(),
        nn.Linear(32, 4),
    ),
    "attention": Net(lambda m, x: m.a(tokens(x), tokens(x), tokens(x))[0], a=HEADS),
    "einsum": Net(lambda m, x: torch.einsum("nti,ij->njt", tokens(x), m.w), w=weight(16, 3)),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_the_total_without_biases_is_half_of_torchs_flops(name):
    model = ORDINARY[name].eval()
    with FlopCounterMode(display=False) as flops, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model(torch.zeros(1, *SHAPE).requires_grad_())
    counts = macs(model, SHAPE)
    ours = sum(of_weights for of_weights, _ in counts.values()) + counts.get(NO_WEIGHTS, (0, 0))[1]
    assert ours == flops.get_total_flops() // 2


def test_masks_scale_what_weights_do_and_not_what_they_do_not():
    model = BY_HAND["self-attention"][0]()
    masks = {name: torch.arange(w.numel()).view(w.shape) % 4 == 0 for name, w in layer_weights(model).items()}
    layers = {layer.name: layer for layer in profile(model, masks, {}, SHAPE)}
    assert layers["a.out_proj.weight"].macs_kept == 1280 / 4 + 80
    without = layers[NO_WEIGHTS]
    assert (without.params, without.kept, without.macs, without.macs_kept, without.density) == (0, 0, 800, 800, 1)
    assert list(layers)[-1] == NO_WEIGHTS


def test_counting_leaves_the_model_and_torch_as_they_were():
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    macs(Net(lambda m, x: m.e(tokens(x)), e=model).train(), SHAPE)
    assert model.training and torch.backends.mha.get_fastpath_enabled()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(RuntimeError):
        macs(nn.Linear(3, 3), SHAPE)
    assert torch.backends.mha.get_fastpath_enabled()


def test_constants_made_on_the_way_are_no_weights():
    """A tensor that dies may leave its place to one that is made later: what is known of it must die with it."""

    def forward(model, x):
        made = tokens(x)
        for _ in range(20):
            made = model.a(made) + torch.ones(16) * 2
        return made @ torch.eye(16)

    counts = macs(Net(forward, a=nn.Linear(16, 16, bias=False)), SHAPE)
    assert counts == {"a.weight": (20 * 1280, 0), NO_WEIGHTS: (0, 1280)}
