import copy

import by_hand
import pytest
import torch
import torch.nn.functional as F
from by_hand import LOG3, batch
from nets import load
from torch import nn

from pruners import find, prunable

T = 200.0


def two_weights():
    """Their logits over 200 are those of the plain ones."""
    layer = by_hand.two_weights()
    layer.weight.data *= T
    return layer


def test_by_hand():
    # g = (-1, 1) / 4T, H = 3/16 (1, -1; -1, 1) / T^2, so Hg = (-3, 3) / 32T^3; w is (1 + log 3, 1) T.
    pruning = find(two_weights(), "grasp", 2, [batch(0)])
    expected = [-(1 + LOG3) * 3 / 32 / T**2, 3 / 32 / T**2]
    assert pruning.scores["weight"].flatten().tolist() == pytest.approx(expected)
    assert pruning.masks["weight"].flatten().tolist() == [False, True]  # signed: the larger size is pruned


def test_hessian_and_gradient_are_of_all_batches_together():
    # g of labels 0 and 1 is (-1, 1) / 4T + (3, -3) / 4T = (2, -2) / 4T; H doubles: Hg = (6, -6) 2 / 32T^3.
    scores = find(two_weights(), "grasp", 2, [batch(0), batch(1)]).scores["weight"]
    assert scores.flatten().tolist() == pytest.approx([(1 + LOG3) * 12 / 32 / T**2, -12 / 32 / T**2])


def test_both_passes_see_the_same_dropout(model, batches):
    # With one noise for both passes, Hg is the derivative of g along g, as finite differences have it.
    from pruners.gradients import gradient, leaves, passes

    model, batches = model.double(), [(x.double(), y) for x, y in batches]
    generator = torch.Generator().manual_seed(5)
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(5)))
    from pruners import PRUNERS

    scores = PRUNERS["grasp"].score(model, batches, mode="train", generator=generator)
    weights = leaves(model)
    with passes(model, "train", seed):
        slope = gradient(model, weights, batches, T)
    moved = []
    for step in (1e-3, -1e-3):
        shifted = {
            name: (w.detach() + step * g).requires_grad_() for (name, w), g in zip(weights.items(), slope, strict=True)
        }
        with passes(model, "train", seed):
            moved.append(gradient(model, shifted, batches, T))
    for (name, weight), plus, minus in zip(weights.items(), *moved, strict=True):
        torch.testing.assert_close(scores[name], weight * (plus - minus) / 2e-3, rtol=1e-4, atol=1e-9)


def test_attention_has_a_second_derivative():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(4, 12)
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            q, k, v = self.qkv(x).unsqueeze(1).chunk(3, dim=-1)
            return self.head(F.scaled_dot_product_attention(q, k, v).squeeze(1).mean(1))

    model, x = Attention(), torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    scores = find(model, "grasp", 2, [(x, torch.tensor([0, 1]))]).scores
    assert all(score.abs().sum() > 0 for score in scores.values())


def half_squared_norms(model, batches, mode):
    """-w · d/dw of the sum over batches of half of |g|², g of one batch: the first published SynFlow program's GraSP.

    Its Pruners/pruners.py at ganguli-lab/Synaptic-Flow 432dd64 (2020-06-08): no temperature, and it keeps the largest.
    """
    net = copy.deepcopy(model).train(mode == "train")
    weights = {name: p for name, p in net.named_parameters() if name in prunable(net)}
    for x, y in batches:
        slopes = torch.autograd.grad(F.cross_entropy(net(x), y), list(weights.values()), create_graph=True)
        (0.5 * sum(slope.square().sum() for slope in slopes)).backward()
    return {name: -weight.detach() * weight.grad for name, weight in weights.items()}


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_without_a_temperature_and_by_batch_it_is_minus_the_first_published_code(mode):
    model, batches, _ = load("convnet")
    options = {"temperature": 1.0, "per_batch": True}
    found = find(model, "grasp", 10, batches, mode=mode, options=options, ablation="invert")
    theirs = half_squared_norms(model, batches, mode)
    for name, score in found.scores.items():
        torch.testing.assert_close(-score, theirs[name], rtol=1e-9, atol=1e-15)
    every = torch.cat([score.flatten() for score in theirs.values()])
    threshold = every.kthvalue(int(0.9 * len(every))).values  # inverted, it keeps what their sign keeps
    assert all(torch.equal(found.masks[name], score > threshold) for name, score in theirs.items())


def test_by_batch_two_batches_give_the_sum_of_what_each_gives():
    both = find(two_weights(), "grasp", 2, [batch(0), batch(1)], options={"per_batch": True}).scores["weight"]
    each = [find(two_weights(), "grasp", 2, [batch(label)]).scores["weight"] for label in (0, 1)]
    assert both.flatten().tolist() == pytest.approx(sum(each).flatten().tolist())
    # By hand: Hg is (-3, 3) / 32T^3 of label 0 and (9, -9) / 32T^3 of label 1; together they give twice as much.
    assert both.flatten().tolist() == pytest.approx([(1 + LOG3) * 6 / 32 / T**2, -6 / 32 / T**2])


def test_the_temperature_divides_the_logits():
    # With T = 1 the two weights over 200 are those of the plain ones: Hg = (-3, 3) / 32.
    scores = find(by_hand.two_weights(), "grasp", 2, [batch(0)], options={"temperature": 1.0}).scores["weight"]
    assert scores.flatten().tolist() == pytest.approx([-(1 + LOG3) * 3 / 32, 3 / 32])
