"""Iurada et al. 2024, section 4: an upper bound of the NTK's trace, and each weight's share in it."""

import pytest
import torch
from torch import nn, tensor

from pruners import PRUNERS, apply_masks, empty_layers, find, prune


def scores_of(model, batches):
    return PRUNERS["px"].score(model, batches, mode="eval", generator=torch.Generator())


def relu_net():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False)
        ).double()


def inputs(n=8):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return [(x, torch.full((n,), -1))]  # labels are not read


def test_by_hand_two_layers():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    model[0].weight.data = tensor([[1.0, -2.0], [3.0, 4.0]])
    model[2].weight.data = tensor([[-5.0, 6.0]])
    # For x = (1, 1) the first unit is off: A = 1 * (1 + 1). For x = (2, 0) both are on: A = 2 * (4 + 0).
    # With A = 10 in all, w^2 dR/dw^2 is 10 times the squared paths through the weight.
    data = [(tensor([[1.0, 1.0]]), tensor([0])), (tensor([[2.0, 0.0]]), tensor([0]))]
    scores = scores_of(model, data)
    assert scores["0.weight"].tolist() == [[250.0, 1000.0], [3240.0, 5760.0]]
    assert scores["2.weight"].tolist() == [[1250.0, 9000.0]]
    at_once = scores_of(model, [(tensor([[1.0, 1.0], [2.0, 0.0]]), tensor([0, 0]))])
    assert all(torch.equal(at_once[name], score) for name, score in scores.items())


def test_by_hand_an_output_with_fewer_paths_scores_less():
    model = nn.Linear(4, 2, bias=False)
    model.weight.data = tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    # R = A_1 B_1 + A_2 B_2 = 4 * 4 + 1 * 1 for x = 1, and w^2 dR/dw^2 = w^2 A_k.
    assert scores_of(model, [(torch.ones(1, 4), tensor([0]))])["weight"].tolist() == [[4.0] * 4, [1.0, 0.0, 0.0, 0.0]]


def test_by_hand_a_norm_is_in_the_weights_paths_and_not_in_the_datas():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1), nn.Linear(1, 1, bias=False)).double().eval()
    model[0].weight.data.fill_(2.0)
    model[1].weight.data.fill_(0.5)
    model[1].running_var.fill_(3.0)
    model[2].weight.data.fill_(1.0)
    # One path: A = 3^2, B = 2^2 * 0.5^2 / (3 + 1e-5) * 1^2, and both weights carry all of R = A B.
    scores = scores_of(model, [(tensor([[3.0]], dtype=torch.float64), tensor([0]))])
    assert [float(score) for score in scores.values()] == pytest.approx([9 / 3.00001] * 2)


def test_positive_and_conserved():
    totals = []
    for score in scores_of(relu_net(), inputs()).values():
        assert (score > 0).all()
        totals.append(float(score.sum()))
    assert totals == pytest.approx([totals[0]] * 3)


def test_bounds_the_trace_of_the_kernel():
    model = relu_net()
    weights = list(model.parameters())
    for masks in (None, prune(model, "px", 3, inputs(), iterations=3)):
        apply_masks(model, masks or {})
        trace = 0.0
        for x in inputs()[0][0]:
            for output in model(x[None])[0]:
                slopes = torch.autograd.grad(output, weights, retain_graph=True)
                # The kernel of the pruned network: only the kept weights have a tangent.
                trace += sum(float((s.square() * (w != 0)).sum()) for s, w in zip(slopes, weights, strict=True))
        shares = [s / w.detach().square() for s, w in zip(scores_of(model, inputs()).values(), weights, strict=True)]
        assert 0 < trace <= sum(float(share.nan_to_num(0.0).sum()) for share in shares)


def test_biases_start_no_path(model, batches):
    plain = scores_of(model, batches)
    model.grouped.bias.data.fill_(0.0)
    model.head.bias.data.fill_(7.0)
    changed = scores_of(model, batches)
    torch.testing.assert_close(  # biases still switch activations: only the common factor may move
        plain["first.weight"] / plain["first.weight"].sum(), changed["first.weight"] / changed["first.weight"].sum()
    )


def test_no_layer_collapses():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(10, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 5))
    data = [(torch.randn(8, 10, generator=torch.Generator().manual_seed(0)), torch.zeros(8, dtype=torch.int64))]
    assert empty_layers(prune(model, "px", 1000, data)) == []
    assert "2.weight" in empty_layers(prune(model, "px", 1000, data, iterations=1))


def test_float64_whatever_the_model(model, batches):
    assert {score.dtype for score in find(model, "px", 2, batches, iterations=1).scores.values()} == {torch.float64}
