"""Operators on the pretended GPU give the CPU's numbers, and what they ask of CUDA is counted."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from pretended_gpu import counting
from torch import nn

DRAW = torch.Generator().manual_seed(0)
X = torch.randn(4, 6, generator=DRAW)
IMAGES = torch.randn(4, 3, 6, 6, generator=DRAW)
KERNELS = torch.randn(5, 3, 3, 3, generator=DRAW)
INDEX = torch.tensor([2, 0, 3])
LABELS = torch.tensor([1, 0, 5, 2])
QUERIES = torch.randn(2, 2, 5, 4, generator=DRAW)


@pytest.mark.parametrize(
    ("function", "given"),
    {
        "matrix product": (lambda x: x @ x.T, X),
        "float64": (lambda x: (x.double() @ x.double().T).sum(), X),
        "index_select": (lambda x, i: x.index_select(0, i), (X, INDEX)),
        "index": (lambda x, i: x[i], (X, INDEX)),
        "mask": (lambda x: x[x > 0], X),
        "assignment": (lambda x: x.clone().index_put_((x < 0,), torch.zeros((), device=x.device)), X),
        "gather": (lambda x, i: x.gather(1, i.unsqueeze(1)), (X[:3], INDEX)),
        "scatter": (lambda x, i: torch.zeros_like(x).scatter_add_(1, i.unsqueeze(1), x), (X[:3], INDEX)),
        "topk": (lambda x: x.flatten().topk(5), X),
        "sort": (lambda x: x.sort(dim=1, descending=True, stable=True), X),
        "where": (lambda x: torch.where(x > 0, x, -x), X),
        "cat": (lambda x: torch.cat([x, x[:2]]), X),
        "statistics": (lambda x: torch.var_mean(x, dim=0), X),
        "quantile": (lambda x: torch.quantile(x, 0.25), X),
        "cross entropy": (lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1), (X, LABELS)),
        "convolution": (lambda x, w: F.conv2d(x, w, stride=2, padding=1), (IMAGES, KERNELS)),
        "channels last": (lambda x, w: F.conv2d(x.to(memory_format=torch.channels_last), w), (IMAGES, KERNELS)),
        "pooling": (lambda x: F.max_pool2d(x, 2) + F.avg_pool2d(x, 2) + F.adaptive_avg_pool2d(x, 3), IMAGES),
        "norms": (lambda x: F.layer_norm(F.group_norm(x, 3), x.shape[1:]), IMAGES),
        "attention": (lambda q: F.scaled_dot_product_attention(q, q, q), QUERIES),
        "foreach": (lambda x: torch._foreach_mul(torch._foreach_add([x, x], 1.0), [2.0, 3.0]), X),
        "flip": (lambda x: x.flip(3), IMAGES),
        "grid": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), IMAGES),
        "cumulative": (lambda x: x.cumsum(1), X),
        "unique": (lambda i: torch.unique(i, return_counts=True), INDEX),
        "integers": (lambda i: (i // 2, i % 2, torch.bincount(i)), INDEX),
    }.values(),
)
def test_operators_give_the_cpus_numbers(function, given):
    given = given if isinstance(given, tuple) else (given,)
    expected, found = function(*given), function(*(each.cuda() for each in given))
    torch.testing.assert_close(found, expected, rtol=0, atol=0, check_device=False)
    first = found if isinstance(found, torch.Tensor) else found[0]
    assert first.is_cuda


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6)
    )  # fmt: skip


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, torch.tensor(0.1), momentum=0.9, weight_decay=1e-3, fused=True),
        lambda p: torch.optim.Adam(p, torch.tensor(0.01, device=p[0].device), fused=True),
        lambda p: torch.optim.AdamW(p, 0.01, foreach=True),
    ],
    ids=["sgd", "fused sgd", "fused adam", "foreach adamw"],
)
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_training_gives_the_cpus_numbers(optimizer, half):
    def trained(device):
        net = copy.deepcopy(network()).to(device)
        moved, losses = optimizer(list(net.parameters())), []
        for _ in range(3):
            with torch.autocast(device, torch.bfloat16, enabled=half):
                loss = F.cross_entropy(net(IMAGES.to(device)), LABELS.to(device))
            moved.zero_grad()
            loss.backward()
            moved.step()
            losses.append(loss.item())
        return net.state_dict(), losses

    expected, found = trained("cpu"), trained("cuda")
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if half else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(found, expected, check_device=False, **tolerance)
    assert found[1][0] > found[1][-1]


def test_gradients_of_gradients_pass():
    def curvature(device):
        net = network().to(device)
        loss = F.cross_entropy(net(IMAGES.to(device)), LABELS.to(device))
        gradients = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
        return torch.autograd.grad(sum((each**2).sum() for each in gradients), list(net.parameters()))

    torch.testing.assert_close(curvature("cuda"), curvature("cpu"), check_device=False)


def test_two_halves_with_synchronized_norms_are_as_one_batch():
    """What SyncBatchNorm does on two workers, by hand: forward and backward of each half, statistics joined."""
    x, grad = IMAGES.cuda(), torch.randn(IMAGES.shape, generator=DRAW).cuda()
    weight, bias = torch.rand(3, device="cuda"), torch.rand(3, device="cuda")
    whole = x.clone().requires_grad_()
    mean_run, var_run = torch.zeros(3, device="cuda"), torch.ones(3, device="cuda")
    out = F.batch_norm(whole, mean_run, var_run, weight, bias, True, 0.1, 1e-5)
    out.backward(grad)

    halves, grads = (x[:1], x[1:]), (grad[:1], grad[1:])
    stats = [torch.batch_norm_stats(each, 1e-5) for each in halves]
    counts = torch.tensor([each.numel() / 3 for each in halves], device="cuda")
    joint_mean, joint_var = torch.zeros(3, device="cuda"), torch.ones(3, device="cuda")
    mean, invstd = torch.batch_norm_gather_stats_with_counts(
        x, *(torch.stack(each) for each in zip(*stats, strict=True)), joint_mean, joint_var, 0.1, 1e-5, counts
    )
    parts = [torch.batch_norm_elemt(each, weight, bias, mean, invstd, 1e-5) for each in halves]
    torch.testing.assert_close(torch.cat(parts), out.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((joint_mean, joint_var), (mean_run, var_run))

    reduced = [
        torch.batch_norm_backward_reduce(dy, each, mean, invstd, weight, True, True, True)
        for dy, each in zip(grads, halves, strict=True)
    ]
    dy, dy_x = (sum(each[i] for each in reduced) for i in (0, 1))
    back = [
        torch.batch_norm_backward_elemt(g, each, mean, invstd, weight, dy, dy_x, counts.int())
        for g, each in zip(grads, halves, strict=True)
    ]
    torch.testing.assert_close(torch.cat(back), whole.grad, rtol=1e-4, atol=1e-5)


def test_five_lines_are_counted_as_by_hand():
    with counting() as counts:
        x = torch.ones(4, 4, device="cuda")  # one kernel that fills
        x.mul_(2)
        y = x @ x
        total = y.sum()
        assert total.item() == 4 * 4 * 16  # a copy to the host, for which it waits
    assert counts.launches == {"fill_.Scalar": 1, "mul_.Tensor": 1, "mm": 1, "sum.dim_IntList": 1}
    assert counts.synchronizations == {"cudaStreamSynchronize": 1}
    assert counts.copies == {"device to host": 1}
    assert counts.graph_launches == 0


def test_only_blocking_copies_wait():
    host = torch.arange(8.0)
    pinned, target, side = host.pin_memory(), torch.empty(8, device="cuda"), torch.cuda.Stream()
    assert pinned.is_pinned()
    with counting() as counts, torch.cuda.stream(side):
        target.copy_(pinned, non_blocking=True)
        target.record_stream(side)
        done = side.record_event()
    with counting() as waited:
        torch.cuda.current_stream().wait_event(done)
        back = torch.empty(8, pin_memory=True)
        back.copy_(target, non_blocking=True)
    assert (counts.synchronizations.total(), waited.synchronizations.total()) == (0, 0)
    assert waited.others["cudaStreamWaitEvent"] == 1
    with counting(places=True) as blocking:
        host.cuda()
    assert blocking.synchronizations.total() == 1
    assert [place for place in blocking.places if "test_only_blocking_copies_wait" in place]
    torch.cuda.synchronize()
    assert torch.equal(back, host)


def test_what_is_on_two_devices_is_refused():
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(3, device="cuda") + torch.ones(3)
    assert (torch.ones(3, device="cuda") + torch.tensor(1.0)).sum().item() == 6  # a number may come from the host
