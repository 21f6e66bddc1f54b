"""What captures record, what they forbid, and random numbers in them."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from pretended_gpu import counting
from torch import nn


def captured(work):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = work()
    return graph, found


def test_nothing_is_computed_before_the_replay():
    x = torch.ones(3, device="cuda")
    with counting() as counts:
        graph, _ = captured(lambda: x.add_(1))
    assert x.tolist() == [1, 1, 1]
    assert counts.launches == {"add_.Tensor": 1}
    with counting() as counts:
        graph.replay()
        graph.replay()
    assert x.tolist() == [3, 3, 3]
    assert (counts.graph_launches, counts.replayed) == (2, 2)
    assert counts.launches.total() == counts.synchronizations.total() == 0


def test_a_replay_reads_what_stands_in_its_inputs():
    x, w = torch.ones(2, 3, device="cuda"), torch.ones(3, 2, device="cuda")
    graph, found = captured(lambda: F.relu(x @ w))
    x.fill_(2)
    graph.replay()
    assert found.tolist() == [[6, 6], [6, 6]]
    w.neg_()
    graph.replay()
    assert found.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("name", "forbidden"),
    {
        "item": lambda x: x.sum().item(),
        "nonzero": lambda x: x.nonzero(),
        "mask": lambda x: x[x > 0],
        "synchronize": lambda x: torch.cuda.synchronize(),
        "to the host": lambda x: x.cpu(),
        "from the host": lambda x: x.copy_(torch.ones(3)),
        "default stream": lambda x: torch.cuda.default_stream().wait_stream(torch.cuda.current_stream()),
        "unregistered draw": lambda x: x.normal_(generator=torch.Generator("cuda")),
        "event query": lambda x: torch.cuda.current_stream().record_event().query(),
    }.items(),
)
def test_what_captures_forbid_raises_and_the_gpu_works_on(name, forbidden):
    x = torch.ones(3, device="cuda")
    with counting() as counts, pytest.raises(RuntimeError):
        captured(lambda: forbidden(x.mul_(2)))
    assert sum(counts.violations.values()) or name in ("from the host", "to the host", "unregistered draw")
    torch.cuda.synchronize()
    assert x.sum().item() == 3


def test_a_forked_stream_must_be_joined():
    x, side = torch.ones(3, device="cuda"), torch.cuda.Stream()

    def forked(join):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            x.add_(1)
        if join:
            torch.cuda.current_stream().wait_stream(side)

    with pytest.raises(RuntimeError, match="unjoined"):
        captured(lambda: forked(False))
    graph, _ = captured(lambda: forked(True))
    graph.replay()
    assert x.tolist() == [2, 2, 2]


def test_draws_of_a_replay_are_those_of_steps():
    x = torch.zeros(5, device="cuda")
    torch.cuda.manual_seed(3)
    steps = [(x.normal_().tolist(), torch.rand(2, device="cuda").tolist()) for _ in range(4)]
    after = torch.cuda.default_generators[0].get_offset()
    torch.cuda.manual_seed(3)
    first = (x.normal_().tolist(), torch.rand(2, device="cuda").tolist())
    graph, found = captured(lambda: (x.normal_(), torch.rand(2, device="cuda")))
    drawn = [first]
    for _ in range(3):
        graph.replay()
        drawn.append(tuple(each.tolist() for each in found))
    assert drawn == steps
    assert steps[0] != steps[1]
    assert torch.cuda.default_generators[0].get_offset() == after
    torch.cuda.manual_seed(3)  # the graph reads the seed when it is replayed
    graph.replay()
    assert tuple(each.tolist() for each in found) == first


def test_a_registered_generator_draws_in_a_graph():
    own = torch.Generator("cuda").manual_seed(5)
    expected = [torch.bernoulli(torch.full((9,), 0.5, device="cuda"), generator=own).tolist() for _ in range(2)]
    own.manual_seed(5)
    graph, half = torch.cuda.CUDAGraph(), torch.full((9,), 0.5, device="cuda")
    graph.register_generator_state(own)
    with torch.cuda.graph(graph):
        found = torch.bernoulli(half, generator=own)
    for each in expected:
        graph.replay()
        assert found.tolist() == each


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_network_with_dropout_trains_the_same_captured(optimizer):
    torch.manual_seed(0)
    start = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)).cuda()
    x, y = torch.randn(8, 6).cuda(), torch.randint(3, (8,)).cuda()

    def trained(capture):
        net, losses = copy.deepcopy(start), []
        if optimizer == "sgd":
            moved = torch.optim.SGD(net.parameters(), torch.tensor(0.1, device="cuda"), momentum=0.9, fused=True)
        else:
            moved = torch.optim.Adam(net.parameters(), torch.tensor(0.1, device="cuda"), capturable=True)

        def step():
            moved.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            moved.step()
            return loss.detach()

        torch.cuda.manual_seed(1)
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            losses += [step().item() for _ in range(3)]
            if capture:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=side):
                    loss = step()
                for _ in range(5):
                    graph.replay()
                    losses.append(loss.item())
            else:
                losses += [step().item() for _ in range(5)]
        return net.state_dict(), losses, torch.cuda.default_generators[0].get_offset()

    plain, graphed = trained(False), trained(True)
    torch.testing.assert_close(graphed, plain, rtol=0, atol=0)
    assert len(set(plain[1])) == 8


def test_memory_of_a_graph_is_free_again():
    def used_by_a_graph():
        x = torch.ones(1000, 1000, device="cuda")
        kept = captured(lambda: [x * 2 + 1])
        return torch.cuda.memory_allocated(), len(kept)

    before = torch.cuda.memory_allocated()
    assert used_by_a_graph()[0] >= before + 8_000_000  # x and the result, 4 MB each
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() == before


def test_pinned_batches_are_read_at_each_replay():
    host, there = torch.ones(3).pin_memory(), torch.zeros(3, device="cuda")
    graph, _ = captured(lambda: there.copy_(host, non_blocking=True))
    host.fill_(5)
    graph.replay()
    torch.cuda.synchronize()
    assert there.tolist() == [5, 5, 5]
