import pytest
import torch
import torch.nn.functional as F
from torch import nn, tensor

from pruners import find
from pruners.linear_flow import LinearFlow, Patterns

X = tensor([[1.0, 20.0], [300.0, 4.0]])


@pytest.mark.parametrize(
    "module",
    [
        *(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.ReLU6(inplace=True), nn.Hardtanh(), nn.Hardswish()),
        *(nn.SiLU(), nn.GELU(), nn.Mish(), nn.Softplus(), nn.ELU(), nn.LeakyReLU(), nn.Softsign(), nn.Tanh()),
    ],
)
def test_activations_are_the_identity(module):
    with LinearFlow():
        assert torch.equal(module(X.clone()), X)


@pytest.mark.parametrize("function", [F.relu, torch.relu, torch.Tensor.relu, F.relu6, torch.tanh])
def test_functions_are_found_as_well_as_modules(function):
    with LinearFlow():
        assert torch.equal(function(X.clone()), X)


def test_norms_scale_by_hand():
    norm = nn.BatchNorm1d(2, eps=3.0)  # in train mode too: the batch's statistics play no part
    norm.weight.data, norm.bias.data = tensor([2.0, 3.0]), tensor([0.0, 1.0])
    norm.running_mean, norm.running_var = tensor([5.0, 5.0]), tensor([1.0, 6.0])
    with LinearFlow():
        assert norm(X).tolist() == [[1.0, 21.0], [300.0, 5.0]]
    with LinearFlow(power=2):
        torch.testing.assert_close(norm(X), X * tensor([2 / 4, 3 / 9]) + tensor([0.0, 1.0]))


@pytest.mark.parametrize(
    "norm", [nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.InstanceNorm1d(2, affine=True), nn.RMSNorm(2)]
)
def test_other_norms_scale_by_their_weight(norm):
    norm.weight.data.fill_(3.0)
    x = X if isinstance(norm, nn.LayerNorm | nn.RMSNorm) else X[..., None].expand(2, 2, 4)
    with LinearFlow():
        assert torch.equal(norm(x), 3 * x)


def test_gates_are_open_and_carry_the_gradient_of_their_logarithm():
    x = tensor([4.0, 0.0], requires_grad=True)
    with LinearFlow():
        gate = torch.sigmoid(x)
    assert gate.tolist() == [1.0, 1.0]
    assert torch.autograd.grad(gate.sum(), x)[0].tolist() == [0.25, 0.0]


@pytest.mark.parametrize("shape", [(1, 1, 3, 4), (2, 3, 4)])
def test_attention_is_even(shape):
    q = k = v = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with LinearFlow():
        for found in (F.scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, v, None)):
            torch.testing.assert_close(found, v.mean(-2, keepdim=True).expand_as(v))
        assert torch.softmax(X, dim=1).tolist() == torch.softmax(X, 1).tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_patterns_are_recorded_and_replayed():
    x = tensor([-1.0, 0.0, 0.5])
    with Patterns() as patterns:
        assert torch.relu(input=x).tolist() == [0.0, 0.0, 0.5]
        assert F.relu(x, inplace=True).tolist() == [0.0, 0.0, 0.5]
    assert [pattern.tolist() for pattern in patterns.seen] == [[False, False, True]] * 2
    with LinearFlow(patterns=patterns.seen):
        assert F.relu(tensor([5.0, 6.0, 7.0])).tolist() == [0.0, 0.0, 7.0]


class SqueezeExcite(nn.Module):
    """Saturating activations, a gate, and a layer norm: nothing that plain SynFlow can pass."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.down, self.up = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = F.relu6(100 * self.stem(x))
        gate = torch.sigmoid(self.up(F.silu(self.down(x.mean((2, 3), keepdim=True)))))
        return self.head(self.norm((x * gate).mean((2, 3))))


def test_synflow_flows_where_it_did_not():
    data = [(torch.zeros(1, 3, 4, 4), torch.zeros(1))]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SqueezeExcite()
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
    plain = find(model, "synflow", 1, data, iterations=1).scores
    assert (plain["stem.weight"] == 0).all() and plain["down.weight"].max() < 1e-9
    scores = find(model, "synflow", 1, data, iterations=1, options={"linearize": True}).scores
    assert all((score > 0).all() for score in scores.values())
    flow = float(scores["head.weight"].sum())  # what the head lets out, every layer carries
    assert float(scores["up.weight"].sum()) == pytest.approx(flow)
    assert float(scores["down.weight"].sum()) == pytest.approx(flow)
    assert float(scores["stem.weight"].sum()) == pytest.approx(2 * flow)  # once on the path, once through the gate
