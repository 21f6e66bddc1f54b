"""Scores from smaller passes are those of whole batches; with activations elsewhere they are the same to the bit."""

import copy
import gc
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from by_hand import OF_WEIGHTS
from torch import nn

from pruners import PRUNERS, PruningError, find, prunable
from pruners.gradients import call, micro_batches, noise, passes
from pruners.host_memory import saved_in_host_memory
from pruners.memory import Memory

SUMS = ("snip", "grasp", "iter-snip", "force", "ntk-sap", "px")  # over inputs


def scores(model, name, batches, mode, memory=None):
    pruner = PRUNERS[name]
    compute = partial(
        pruner.score, model, batches, mode=mode, generator=torch.Generator().manual_seed(0), **pruner.options
    )
    return compute() if memory is None else memory.run(compute, lambda: None)


def doubles(batches):
    return [(x.double(), y) for x, y in batches]


class Plain(nn.Module):
    """Nothing that couples inputs, in either mode: instance and group norm are an input's own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.GroupNorm(2, 6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.own = nn.InstanceNorm2d(6)
        self.head = nn.Linear(6 * 16, 5)

    def forward(self, x):
        x = F.silu(self.norm(self.first(x)))
        return self.head(F.relu(self.own(self.second(x))).flatten(1))


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_chunks_add_up_with_batch_norm_in_eval_mode(name, at_once, model, batches):
    memory = Memory(images=at_once)
    whole, parts = (scores(model.double(), name, doubles(batches), "eval", each) for each in (None, memory))
    for layer, score in whole.items():
        torch.testing.assert_close(parts[layer], score, rtol=1e-9, atol=1e-12 * float(score.abs().max()))
    assert memory.how == ("whole batches" if at_once == 8 else f"in micro-batches of {at_once}")


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_chunks_add_up_without_batch_norm(name, mode, batches):
    torch.manual_seed(0)
    memory, net = Memory(images=3), Plain().double()
    whole, parts = (scores(net, name, doubles(batches), mode, each) for each in (None, memory))
    for layer, score in whole.items():
        torch.testing.assert_close(parts[layer], score, rtol=1e-9, atol=1e-12 * float(score.abs().max()))
    assert memory.how == "in micro-batches of 3"


class Couples(nn.Module):
    """A network whose inputs depend on each other by `couple`."""

    def __init__(self, couple):
        super().__init__()
        self.layer, self.couple = nn.Linear(48, 5), couple

    def forward(self, x):
        return self.layer(self.couple(x.flatten(1), self.training))


def whiten(x, training):
    return x / x.std(0) if training else x


COUPLES = {
    "functional batch norm": lambda x, training: F.batch_norm(x, None, None, training=training),
    "torch's": lambda x, training: torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
    "whitening": whiten,
    "the largest of all": lambda x, training: x / x.abs().max(),
    "dropout": lambda x, training: F.dropout(x, 0.01, training),
    "noise in both modes": lambda x, training: x + 1e-9 * torch.randn_like(x),
    "no single inputs": lambda x, training: x.squeeze(),
}


@pytest.mark.parametrize("kind", COUPLES)
def test_what_depends_on_the_batch_is_never_split(kind, batches):
    memory, net = Memory(images=1), Couples(COUPLES[kind])
    with passes(net, "train", 0):
        parts = memory.run(lambda: micro_batches(net, batches[0][0], ["train"]), lambda: None)
    assert parts == [slice(0, 8)]


@pytest.mark.parametrize("name", ["snip", "grasp", "iter-snip", "force", "px"])
def test_batch_norm_in_train_mode_and_dropout_are_never_split(name, model, batches):
    memory = Memory(images=1)
    whole, asked = (scores(model, name, batches, "train", each) for each in (None, memory))
    assert all(torch.equal(whole[layer], asked[layer]) for layer in whole)
    assert memory.how == "whole batches"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_offloaded_is_plain_to_the_bit(name, dtype, model, batches):
    model = model.to(dtype, memory_format=torch.channels_last)
    batches = [(x.to(dtype), y) for x, y in batches]
    mode = PRUNERS[name].mode
    plain = scores(model, name, batches, mode)
    with saved_in_host_memory(least_bytes=0, kinds=("cpu",)):  # moved are copies, with every tensor's own strides
        moved = scores(model, name, batches, mode)
    assert all(torch.equal(plain[layer], moved[layer]) for layer in plain)


def test_a_host_that_is_too_small_is_said(model, batches):
    left = iter([1000, *[900] * 3, *[100] * 1000])
    with (
        pytest.raises(torch.OutOfMemoryError, match="do not fit into the host's memory either"),
        saved_in_host_memory(least_bytes=0, kinds=("cpu",), available=lambda: next(left)),
    ):
        scores(model, "snip", [(x[:1, :, :1, :1].expand(1, 3, 4, 4), y[:1]) for x, y in batches], "eval")


def limited(pruner, most, tried):
    """`pruner` on a GPU that has room for `most` inputs in a pass, and for more only if activations are elsewhere."""

    def score(model, batches, *, mode, generator, **settings):
        seed = noise(generator)  # drawn in every run: equal scores say that the state was brought back
        parts = []
        with passes(model, mode, seed):
            for inputs, _ in batches:
                parts += [inputs[part] for part in micro_batches(model, inputs, [mode])]
        tried.append((seed, [len(part) for part in parts]))
        next(model.parameters()).data.add_(1)  # a score that fails half-way need not have cleaned up
        if max(len(part) for part in parts) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        next(model.parameters()).data.sub_(1)
        return pruner.score(model, batches, mode=mode, generator=generator, **settings)

    return replace(pruner, score=score)


@pytest.mark.parametrize(("most", "sizes"), [(8, [8]), (4, [8, 4]), (2, [8, 4, 2]), (1, [8, 4, 2, 1])])
def test_halved_until_it_fits_and_the_same_draws_again(most, sizes, model, batches):
    tried = []
    before = copy.deepcopy(model.state_dict())
    found = find(model, limited(PRUNERS["snip"], most, tried), 4, batches[:1], mode="eval")
    assert [max(parts) for _, parts in tried] == sizes
    assert len({seed for seed, _ in tried}) == 1
    assert found.how == ("whole batches" if most == 8 else f"in micro-batches of {most}")
    plain = find(model, "snip", 4, batches[:1], mode="eval")
    assert all(torch.equal(found.masks[layer], mask) for layer, mask in plain.masks.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_one_iteration_learned_serves_the_next(model, batches):
    tried = []
    find(model, limited(PRUNERS["snip"], 2, tried), 4, batches, mode="eval", schedule="exponential", iterations=3)
    assert [max(parts) for _, parts in tried] == [8, 4, 2, 2, 2]


def test_nothing_helps(model, batches):
    tried = []
    with pytest.raises(torch.OutOfMemoryError):
        find(model, limited(PRUNERS["snip"], 0, tried), 4, batches, mode="eval")
    assert [max(parts) for _, parts in tried] == [8, 4, 2, 1, 1]  # the last with activations in the host's memory
    tried.clear()
    with pytest.raises(torch.OutOfMemoryError):
        find(model, limited(PRUNERS["snip"], 0, tried), 4, batches, mode="train")
    assert [max(parts) for _, parts in tried] == [8, 8]  # whole, then whole with activations moved


def test_a_failed_run_is_free_before_the_next(model, batches):
    alive = []

    class Kept:
        pass

    def compute():
        big = Kept()
        alive.append([each for each in gc.get_objects() if type(each) is Kept])
        assert alive[-1] == [big]  # and not also the one of the run before
        alive[-1].clear()
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        Memory().run(compute, lambda: None)
    assert len(alive) == 2


def test_gradients_left_by_a_failed_run_are_gone(model, batches):
    runs = []

    def score(model, batches, *, mode, generator):
        x, y = batches[0]
        F.cross_entropy(call(model.eval(), {}, x), y).backward()
        runs.append(1)
        if len(runs) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return {name: (torch.zeros_like(w) if w.grad is None else w.grad) for name, w in prunable(model).items()}

    own = replace(PRUNERS["snip"], score=score, options={})
    twice, once = (find(model, own, 2, batches).scores for _ in range(2))
    assert len(runs) == 3 and all(torch.equal(twice[layer], once[layer]) for layer in once)


def test_the_option(model, batches):
    with pytest.raises(PruningError, match="images_at_once is -1"):
        find(model, "snip", 2, batches, images_at_once=-1)
    assert find(model, "snip", 2, batches, mode="eval", images_at_once=3).how == "in micro-batches of 3"
    assert find(model, "snip", 2, batches, mode="train", images_at_once=3).how == "whole batches"
    assert find(model, "magnitude", 2).how == "whole batches"
