"""Which weights of a network are prunable, by hand, for networks of all kinds; and what holds for all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from pruners import (
    PruningError,
    compact,
    dense_parameters,
    effective,
    keep_dense,
    layers,
    mark_prunable,
    prunable,
    prune,
)
from pruners.masks import apply_masks
from pruners.model_copy import copied
from pruners.reparametrised import plain_copy
from pruners.weights import dense_share

IMAGE = (3, 6, 6)
X = torch.randn(12, *IMAGE, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


class Rows(nn.Module):
    """A recurrent layer over the rows of an image, each of 18 numbers; the last output is classified."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x.transpose(1, 2).flatten(2))[0][:, -1])


class Steps(Rows):
    def forward(self, x: Tensor) -> Tensor:
        state = None
        for row in x.transpose(1, 2).flatten(2).unbind(1):
            state = self.layer(row, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Attention(nn.Module):
    """Self-attention over 36 pixels of 3 channels, with a token and positions."""

    def __init__(self, **options: int) -> None:
        super().__init__()
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 3)), nn.Parameter(torch.randn(1, 37, 3))
        self.attention, self.norm = nn.MultiheadAttention(3, 1, batch_first=True, **options), nn.LayerNorm(3)
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1) + self.positions
        keys = torch.cat([x, x[..., :2]], -1) if self.attention.in_proj_weight is None else x
        return self.head(self.norm(x + self.attention(x, keys, keys)[0])[:, 0])


class Raw(nn.Module):
    """Weights outside of any layer, each used in another way; those that are added or are vectors are no weights."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {"kernel": (4, 3, 3, 3), "row": (5, 4), "column": (5, 6), "three": (2, 6, 4), "folded": (2, 4)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.randn(shape)))
        self.positions, self.gain, self.token = (
            nn.Parameter(torch.randn(shape)) for shape in ((1, 5), (6,), (1, 1, 8))
        )
        self.table = nn.Parameter(torch.randn(10, 4))
        self.out = nn.ParameterList([nn.Parameter(torch.randn(8, 3))])

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.kernel).relu().mean((2, 3))
        x = F.linear(x, self.row) + self.positions
        x = (x @ self.column * self.gain).relu()
        x = torch.einsum("ni,hio->nho", x, self.three) + self.table[torch.arange(2)]
        x = torch.cat([x.mean(1), F.linear(x.mean(1), torch.cat([self.folded, 2 * self.folded]))], 1)
        return (x + self.token[0]) @ self.out[0]


class Tokens(nn.Module):
    """A learned query that a linear layer projects: the layer's weight is the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.project, self.head = nn.Parameter(torch.randn(2, 3)), nn.Linear(3, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.project(self.query) @ x.flatten(2)).softmax(-1).matmul(x.flatten(2).mT).flatten(1))


class Standardised(nn.Module):
    """Its kernel is computed: a zero of the parameter is no zero of the kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.head = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.conv2d(x, self.kernel - self.kernel.mean((1, 2, 3), keepdim=True)).mean((2, 3)))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both, self.head = nn.Bilinear(3, 3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.both(x.amax((2, 3)), x.mean((2, 3))).relu())


class Words(nn.Module):
    """An embedding whose weight also makes the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.inner = nn.Embedding(3, 5), nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        classes = x.mean((2, 3)).argmax(1)
        return (self.inner(x.mean((2, 3))).relu() + self.embedding(classes)) @ self.embedding.weight.T


class OwnConv(nn.Conv2d):
    """A subclass that adds nothing."""


class LoudConv(nn.Conv2d):
    """A subclass with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


def convolutions(
    wrap: Callable[[nn.Module], nn.Module] = lambda layer: layer, kind: type[nn.Conv2d] = nn.Conv2d
) -> nn.Module:
    body = [wrap(kind(3, 8, 3, padding=1)), nn.BatchNorm2d(8), nn.ReLU(), wrap(kind(8, 4, 3, padding=1)), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def half_masked(layer: nn.Module) -> nn.Module:
    return torch_prune.l1_unstructured(layer, "weight", amount=0.5)


def tied() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 108, bias=False), nn.Linear(108, 108, bias=False))
    model[2].weight = model[1].weight
    return nn.Sequential(*model, nn.Linear(108, 3))


CONV = {"0": 3 * 8 * 9, "3": 8 * 4 * 9, "7": 4 * 3}


def named(before: str, after: str) -> dict[str, int]:
    """Both convolutions' weights under another name, and the linear layer's own."""
    return {f"{before}": CONV["0"], f"{after}": CONV["3"], "7.weight": CONV["7"]}


RAW = {"kernel": 108, "row": 20, "column": 30, "three": 48, "folded": 8, "out.0": 24}
# What makes the network, and its prunable weights by hand.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {
    "convolutions": (convolutions, named("0.weight", "3.weight")),
    "subclassed": (lambda: convolutions(kind=OwnConv), named("0.weight", "3.weight")),
    "overridden": (lambda: convolutions(kind=LoudConv), named("0.weight", "3.weight")),
    "tied": (tied, {"1.weight": 108 * 108, "3.weight": 324}),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
        {"0.weight": 108, "3.weight": 12},
    ),
    "weight_norm": (
        lambda: convolutions(weight_norm),
        named("0.parametrizations.weight.original1", "3.parametrizations.weight.original1"),
    ),
    "spectral_norm": (
        lambda: convolutions(spectral_norm),
        named("0.parametrizations.weight.original", "3.parametrizations.weight.original"),
    ),
    "old spectral_norm": (lambda: convolutions(nn.utils.spectral_norm), named("0.weight_orig", "3.weight_orig")),
    "torch's prune": (lambda: convolutions(half_masked), named("0.weight_orig", "3.weight_orig")),
    "lstm": (
        lambda: Rows(nn.LSTM(18, 4, batch_first=True), 4),
        {"layer.weight_ih_l0": 4 * 4 * 18, "layer.weight_hh_l0": 4 * 4 * 4, "head.weight": 12},
    ),
    "deep lstm": (
        lambda: Rows(nn.LSTM(18, 4, 2, batch_first=True, bidirectional=True, proj_size=2), 4),
        {
            f"layer.weight_{kind}_l{layer}{way}": count
            for layer, into in ((0, 18), (1, 4))
            for way in ("", "_reverse")
            for kind, count in (("ih", 16 * into), ("hh", 16 * 2), ("hr", 2 * 4))
        }
        | {"head.weight": 12},
    ),
    "gru": (
        lambda: Rows(nn.GRU(18, 4, batch_first=True), 4),
        {"layer.weight_ih_l0": 3 * 4 * 18, "layer.weight_hh_l0": 3 * 4 * 4, "head.weight": 12},
    ),
    "rnn": (
        lambda: Rows(nn.RNN(18, 4, batch_first=True, nonlinearity="relu"), 4),
        {"layer.weight_ih_l0": 4 * 18, "layer.weight_hh_l0": 4 * 4, "head.weight": 12},
    ),
    "lstm cell": (
        lambda: Steps(nn.LSTMCell(18, 4), 4),
        {"layer.weight_ih": 4 * 4 * 18, "layer.weight_hh": 4 * 4 * 4, "head.weight": 12},
    ),
    "gru cell": (
        lambda: Steps(nn.GRUCell(18, 4), 4),
        {"layer.weight_ih": 3 * 4 * 18, "layer.weight_hh": 3 * 4 * 4, "head.weight": 12},
    ),
    "attention": (
        Attention,
        {"attention.in_proj_weight": 27, "attention.out_proj.weight": 9, "head.weight": 9},
    ),
    "attention to others": (
        lambda: Attention(kdim=5, vdim=5),
        {
            "attention.q_proj_weight": 9,
            "attention.k_proj_weight": 15,
            "attention.v_proj_weight": 15,
            "attention.out_proj.weight": 9,
            "head.weight": 9,
        },
    ),
    "encoder": (
        lambda: nn.Sequential(
            nn.Flatten(2), nn.TransformerEncoderLayer(36, 2, 8, batch_first=True), nn.Flatten(), nn.Linear(108, 3)
        ),
        {
            "1.self_attn.in_proj_weight": 3 * 36 * 36,
            "1.self_attn.out_proj.weight": 36 * 36,
            "1.linear1.weight": 36 * 8,
            "1.linear2.weight": 36 * 8,
            "3.weight": 324,
        },
    ),
    "bilinear": (Pair, {"both.weight": 36, "head.weight": 12}),
    "raw": (Raw, RAW),
    "tokens": (Tokens, {"project.weight": 9, "head.weight": 18}),
    "standardised": (Standardised, {"head.weight": 12}),
    "words": (Words, {"inner.weight": 15}),
}


def made(name: str) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = NETWORKS[name][0]()
    mark_prunable(model, X)
    return model


every = pytest.mark.parametrize("name", NETWORKS)


@every
def test_prunable_weights_are_those_counted_by_hand(name):
    model = made(name)
    expected = NETWORKS[name][1]
    assert {key: weight.numel() for key, weight in prunable(model).items()} == expected
    assert {key: weight.numel() for key, weight in prunable(copied(model)).items()} == expected
    all_of_it = sum(weight.numel() for weight in model.parameters())
    assert sum(dense_parameters(model).values()) == all_of_it - sum(expected.values())


@every
def test_pruning_leaves_the_model_bit_equal_and_keeps_the_exact_count(name):
    model = made(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    masks = prune(model, "snip", 4, [(X, Y)])
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert {key: mask.numel() for key, mask in masks.items()} == NETWORKS[name][1]
    total = sum(NETWORKS[name][1].values())
    assert sum(int(mask.sum()) for mask in masks.values()) == total - 3 * total // 4


@every
def test_held_weights_compute_what_masked_weights_do(name):
    model = made(name).eval()
    masks = prune(model, "magnitude", 3)
    held = copied(model)
    apply_masks(held, masks)
    # By the weights themselves, without anything that computes them: after the mask, as the norms are of what is left.
    by_hand, _ = plain_copy(held)
    given, names = plain_copy(model)
    for key, mask in masks.items():
        weight = by_hand.get_parameter(names.get(key, key))
        assert not weight[~mask].any()
        assert torch.equal(weight != 0, mask & (given.get_parameter(names.get(key, key)) != 0))
    with torch.no_grad():
        assert held(X).isfinite().all()
        torch.testing.assert_close(by_hand(X), held(X))


@every
def test_compaction_computes_the_same_or_says_why_not(name):
    model = made(name).eval()
    masks = prune(model, "magnitude", 3)
    held = copied(model)
    apply_masks(held, masks)
    found = compact(model, masks, IMAGE)
    with torch.no_grad():
        torch.testing.assert_close(found.model(X), held(X), rtol=1e-4, atol=1e-5)
    if name in ("convolutions", "subclassed", "tied"):
        assert not found.reason
    else:
        assert found.reason.endswith(".") or found.reason.startswith("torch.fx")
        assert list(found.model.state_dict()) == list(model.state_dict())


@every
def test_a_dense_network_has_a_path_through_every_weight_that_is_used(name):
    model = made(name)
    unused = {"deep lstm": "layer.weight_hh_l1_reverse"}  # the last row is the first that it sees
    for key, alive in effective(model, {}, IMAGE).items():
        assert bool(alive.all()) is (key != unused.get(name)), key


@pytest.mark.parametrize("pruner", ["synflow", "grasp", "lamp", "ntk-sap", "prospr", "px", "force", "gradual", "rigl"])
@pytest.mark.parametrize("name", ["lstm", "gru cell", "attention", "raw", "bilinear", "weight_norm", "torch's prune"])
def test_every_score_covers_every_weight(name, pruner):
    options = {"iterations": 2} if pruner in ("synflow", "px", "ntk-sap", "force") else {}
    masks = prune(made(name), pruner, 2, [(X, Y)], **options)
    total = sum(NETWORKS[name][1].values())
    assert sum(int(mask.sum()) for mask in masks.values()) == total - total // 2


def test_phew_names_what_it_cannot_follow():
    with pytest.raises(PruningError, match="PHEW must follow walks through the model, but"):
        prune(made("lstm"), "phew", 2)


def test_attention_is_three_layers():
    model = made("attention")
    assert {name: part for name, part in layers(model).items() if "in_proj" in name} == {
        "attention.in_proj_weight[q]": ("attention.in_proj_weight", slice(0, 3)),
        "attention.in_proj_weight[k]": ("attention.in_proj_weight", slice(3, 6)),
        "attention.in_proj_weight[v]": ("attention.in_proj_weight", slice(6, 9)),
    }
    with torch.no_grad():
        model.attention.in_proj_weight[3:] *= 100  # queries are the smallest by far
    whole = prune(model, "magnitude", 3)["attention.in_proj_weight"]
    assert not whole[:3].any()
    for scope in ("layer", "erk"):
        parts = prune(model, "magnitude", 3, scope=scope)["attention.in_proj_weight"].view(3, 9).sum(1)
        assert parts.tolist() == [3, 3, 3], scope  # 9 - floor(2/3 * 9); all layers are squares of 3
    shuffled = prune(model, "magnitude", 3, scope="layer", ablation="shuffle")["attention.in_proj_weight"]
    assert shuffled.view(3, 9).sum(1).tolist() == [3, 3, 3]
    lamp = prune(model, "lamp", 27)["attention.in_proj_weight"]  # the largest of each layer scores 1
    assert lamp.numel() == 27


def test_a_reparametrised_weight_is_scored_as_the_layer_has_it():
    model = nn.Sequential(nn.Flatten(), weight_norm(nn.Linear(108, 3)))
    with torch.no_grad():
        model[1].parametrizations.weight.original1[0] *= 1000  # a direction of any length
        expected = model[1].weight.abs()
    masks = prune(model, "magnitude", 4)
    kept = expected.flatten().topk(324 - 243).indices
    found = masks["1.parametrizations.weight.original1"].flatten().nonzero().flatten()
    assert set(found.tolist()) == set(kept.tolist())


def test_what_torch_has_masked_goes_first():
    model = made("torch's prune")
    masks = prune(model, "magnitude", 2)
    for index in ("0", "3"):
        assert not (masks[f"{index}.weight_orig"] & (model.get_buffer(f"{index}.weight_mask") == 0)).any()


class Symmetric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).T


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Shifted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


def parametrized(by: nn.Module) -> nn.Module:
    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", by)
    return nn.Sequential(layer, nn.Linear(4, 2))


@pytest.mark.parametrize("by", [Symmetric(), Shifted()])
def test_a_parametrization_that_moves_zeros_is_refused_by_name_unless_kept_dense(by):
    model = parametrized(by)
    with pytest.raises(PruningError, match=r"The weights of 0\.weight are computed.*remove_parametrizations"):
        prune(model, "magnitude", 2)
    keep_dense(model, ["0.weight"])
    assert list(prune(model, "magnitude", 2)) == ["1.weight"]
    compacted = compact(model, prune(model, "magnitude", 2), (4,))
    assert compacted.reason == "0 computes its weight from other parameters."


def test_a_parametrization_that_keeps_zeros_is_pruned():
    assert list(prune(parametrized(Doubled()), "magnitude", 2)) == ["0.parametrizations.weight.original", "1.weight"]
    with pytest.raises(PruningError, match=r"1\.weight"):
        prune(nn.Sequential(nn.Flatten(), orthogonal(nn.Linear(108, 3))), "magnitude", 2)


def test_scoring_leaves_the_classes_of_parametrized_layers_alone():
    model = parametrized(Doubled())
    before = type(model[0])
    prune(model, "snip", 2, [(torch.randn(4, 4), torch.arange(4) % 2)])
    assert type(model[0]) is before
    assert torch.equal(model[0].weight, 2 * model[0].parametrizations.weight.original)


def test_lazy_layers_are_asked_for_a_forward_pass():
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.LazyLinear(3))
    with pytest.raises(PruningError, match="lazy layers"):
        prunable(model)
    model(X)
    assert [weight.numel() for weight in prunable(model).values()] == [864, 24]


def test_weights_outside_of_layers_are_found_by_the_batches():
    assert list(prune(Raw(), "magnitude", 2, [(X, Y)])) == list(RAW)
    alone = nn.Module()
    alone.weight = nn.Parameter(torch.randn(3, 3))
    with pytest.raises(PruningError, match="mark_prunable"):
        prune(alone, "magnitude", 2)


def test_marking_leaves_the_model_and_random_numbers_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), Last())
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert mark_prunable(model, X) == ["4.weight"]
    assert mark_prunable(model, X) == []
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    with torch.device("meta"):
        on_meta = Last()
    assert mark_prunable(on_meta, torch.zeros(1, 64)) == ["weight"]


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(64, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_the_dense_share_is_told_by_kind():
    # 45 weights; dense are positions of 37 * 3, biases of 9 + 3 + 3, a norm of 3 + 3 and a token of 3.
    assert dense_share(made("attention")) == (
        "75 % of all 180 parameters stay dense: positions 62 %, biases 8.3 %, norms 3.3 %, token 1.7 %"
    )


def test_a_filter_without_weights_under_weight_norm_is_zero_and_not_nan():
    model = nn.Sequential(nn.Flatten(), weight_norm(nn.Linear(108, 3)))
    name = "1.parametrizations.weight.original1"
    mask = torch.ones(3, 108, dtype=torch.bool)
    mask[1], mask[0, 5:] = False, False
    apply_masks(model, {name: mask})
    assert torch.equal(model[1].weight != 0, mask)


@pytest.mark.parametrize("wrap", [weight_norm, spectral_norm])
def test_reparametrised_layers_of_an_outline_are_prunable(wrap):
    with torch.device("meta"):
        made = nn.Sequential(wrap(nn.Linear(4, 3)))
        inside = list(prunable(made))
    assert inside == list(prunable(made)) == list(prunable(nn.Sequential(wrap(nn.Linear(4, 3)))))
    assert len(inside) == 1
