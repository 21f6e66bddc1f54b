"""What an audit counts, by hand: kept weights, multiply-accumulates, paths, hits."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from orchestrator.audit.connectivity import input_reaches_output
from orchestrator.audit.counts import asked, count_macs, exactly_kept, typed_density
from orchestrator.audit.plain import Hits, TooLongError, load_masked, test
from search_spaces import Trial

audit_test = test
del test  # pytest would take it for one of its own


@pytest.mark.parametrize(
    ("compression", "n", "kept"),
    [
        (1, 7, 7),
        (10, 100, 10),
        (10, 101, 11),  # 90.9 pruned: 90
        (3, 10, 4),  # 6.67 pruned: 6
        (3.33333333333, 10, 3),  # a density of 0.3: exactly 7 pruned
        (1.11111111111, 10, 9),  # a sparsity of 0.1
        (1.42857142857, 1000, 700),
        (50, 9216, 185),
        (2.5, 5, 2),
        (1e6, 10, 1),
        (1.25, 10**6, 800_000),
        (2.85714285714, 10**4, 3500),  # a sparsity of 0.65
        (3.14159265358979, 10**6, 318_310),  # nothing anybody typed
    ],
)
def test_as_many_are_kept_as_exact_arithmetic_says(compression, n, kept):
    assert exactly_kept(n, compression) == kept


@pytest.mark.parametrize("percent", range(1, 100))
@pytest.mark.parametrize("key", ["density", "sparsity"])
def test_what_was_typed_as_a_density_or_a_sparsity_is_read_back(percent, key):
    share = percent / 100
    compression = float(f"{1 / (share if key == 'density' else 1 - share):.12g}")
    exact = Fraction(percent, 100)
    assert typed_density(compression) == (exact if key == "density" else 1 - exact)


def test_what_a_trial_asked_for():
    trial = Trial(dataset="digits", architecture="mlp", pruner="snip", compression=4)
    sizes = {"a": [10], "b": [7, 7, 7]}
    assert asked(trial, sizes) == {"": 8}  # of 31, 23.25 pruned
    assert asked(trial.model_copy(update={"scope": "layer"}), sizes) == {"a": 3, "b": 6}
    assert asked(trial.model_copy(update={"scope": "row"}), {"a": [3] * 4}) == {"a": 4}
    for other in ({"granularity": "filter"}, {"kappa": 0.5}, {"mask": "abc"}, {"pruner": "dense"}):
        assert asked(trial.model_copy(update=other), sizes) == {}


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        rows = x.flatten(2).transpose(1, 2)  # (N, 16, 8)
        return self.attend(rows, rows, rows)[0].mean(1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.LSTM(8, 5, batch_first=True)

    def forward(self, x):
        return self.rows(x.flatten(2).transpose(1, 2))[0][:, -1]


MACS = {
    # 3x3 convolution 8 -> 6 at 4x4 positions; bias once an output; the linear layer 96 -> 10
    "plain": (
        lambda: nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10)),
        9 * 8 * 6 * 16 + 96 * 10,
        6 * 16 + 10,
    ),
    # each weight once per input position
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(8, 6, 2, stride=2, bias=False), nn.Flatten()),
        8 * 6 * 4 * 16,
        0,
    ),
    "depthwise": (lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8), 9 * 8 * 16, 8 * 16),
    # q, k, v and the output at 16 places; queries with keys, and weights with values
    "attention": (Attention, 16 * 4 * 64 + 2 * 16 * 16 * 8, 16 * 4 * 8),
    "recurrent": (Recurrent, 16 * 4 * 5 * (8 + 5), 2 * 16 * 4 * 5),
}


@pytest.mark.parametrize("name", MACS)
def test_multiply_accumulates_by_hand(name):
    make, products, bias = MACS[name]
    counted = count_macs(make().eval(), (8, 4, 4))
    assert (counted.total, counted.bias, counted.dense) == (products, bias, products + bias)


def test_thirds_of_a_weight_are_counted_apart():
    """Queries of 4 places, keys and values of 16: pruned rows of the queries cost less."""

    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            rows = x.flatten(2).transpose(1, 2)
            return self.attend(rows[:, :4], rows, rows)[0].mean(1)

    counted = count_macs(Crossed().eval(), (8, 4, 4))
    assert counted.total == (4 + 16 + 16 + 4) * 64 + 2 * 4 * 16 * 8
    mask = torch.ones(24, 8, dtype=torch.bool)
    mask[:8] = False
    assert counted.pruned("attend.in_proj_weight", mask) == 4 * 64


def test_what_torch_has_no_formula_for_is_said():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = nn.Bilinear(4, 4, 3)

        def forward(self, x):
            return self.pair(x.flatten(1), x.flatten(1))

    with pytest.raises(ValueError, match=r"no formula for aten\._trilinear"):
        count_macs(Both(), (1, 2, 2))


def test_those_of_pruned_weights_are_left_out():
    net = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.Flatten(), nn.Linear(96, 10))
    mask = torch.zeros(6, 8, 3, 3, dtype=torch.bool)
    mask[:2] = True
    counted = count_macs(net, (8, 4, 4))
    assert counted.kept({}) == counted.dense
    assert counted.kept({"0.weight": mask}) == counted.dense - 9 * 8 * 4 * 16


def test_whose_they_are_is_not_guessed():
    net = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    counted = count_macs(net, (1, 1, 4))
    assert counted.total == 12
    assert counted.kept({"parametrizations.weight.original1": torch.eye(3, 4, dtype=torch.bool)}) is None


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.begin, self.inner, self.end = nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        x = self.begin(x.flatten(1))
        return self.end(x + self.inner(x).relu())


def chain() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU6(), nn.Flatten(), nn.Linear(8, 2))


def mask(shape: tuple[int, ...], *kept: tuple[int, ...]) -> torch.Tensor:
    made = torch.zeros(shape, dtype=torch.bool)
    for place in kept:
        made[place] = True
    return made


PATHS = {
    "meets": (chain, {"0.weight": mask((2, 1, 1, 1), (0, 0, 0, 0)), "4.weight": mask((2, 8), (1, 3))}, True),
    "misses": (chain, {"0.weight": mask((2, 1, 1, 1), (0, 0, 0, 0)), "4.weight": mask((2, 8), (1, 4))}, False),
    "dense": (chain, {}, True),
    "round an empty layer": (Residual, {"inner.weight": mask((3, 3))}, True),
    "no way round": (Residual, {"end.weight": mask((2, 3))}, False),
    "attention": (Attention, {}, True),
    "attention without its output": (Attention, {"attend.out_proj.weight": mask((8, 8))}, False),
}


@pytest.mark.parametrize("name", PATHS)
def test_whether_a_path_leads_through(name):
    make, masks, reached = PATHS[name]
    shape = (8, 4, 4) if make is Attention else (1, 2, 2)
    assert input_reaches_output(make, masks, shape) is reached


def test_a_network_that_subtracts_is_not_told():
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x):
            x = x.flatten(1)
            return self.linear(x - x.mean(1, keepdim=True))

    assert input_reaches_output(Centred, {}, (1, 2, 2)) is None


class Fixed(nn.Module):
    """Logits that are the pixels."""

    def forward(self, x):
        return x.flatten(1)


def test_hits_by_hand():
    logits = torch.tensor([[9.0, 1, 0], [1, 9, 0], [5, 5.0001, 0], [2, 2, 2]]).view(4, 1, 1, 3)
    found = audit_test(Fixed(), [(logits, torch.tensor([0, 0, 0, 0]))], 1e-3)
    assert found.images == 4
    # the first is right and the second wrong in any case; the third and the fourth are decided by rounding
    assert (found.top1.fewest, found.top1.most) == (1, 3)
    assert found.top1.fewest <= found.top1.count <= found.top1.most
    assert found.top5 == Hits(4, 4, 4)  # of three classes any is among the five
    expected = nn.functional.cross_entropy(logits.flatten(1).double(), torch.zeros(4, dtype=torch.int64))
    assert found.loss == pytest.approx(float(expected), rel=1e-12)


def test_it_takes_no_longer_than_it_may():
    with pytest.raises(TooLongError):
        audit_test(Fixed(), [(torch.zeros(1, 1, 1, 3), torch.zeros(1, dtype=torch.int64))] * 2, 1e-4, seconds=-1)


def test_weights_are_loaded_strictly_and_multiplied():
    net, masks = nn.Linear(2, 2), {"weight": torch.eye(2, dtype=torch.bool)}
    state = {"weight": torch.full((2, 2), 3.0), "bias": torch.ones(2)}
    assert torch.equal(load_masked(net, state, masks).weight, 3 * torch.eye(2))
    assert not net.training
    with pytest.raises(RuntimeError, match="Missing"):
        load_masked(net, {"weight": state["weight"]}, masks)
    with pytest.raises(RuntimeError, match="Unexpected"):
        load_masked(net, state | {"other": torch.ones(1)}, masks)
