"""What hangs on a model, and what a model does to its inputs: neither disturbs pruning, nor pruning them."""

import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from pruners import PRUNERS, PruningError, compact, find, prunable, prune
from pruners.model_copy import copied


def images(seed=1):
    return torch.randn(12, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


Y = torch.arange(12) % 3


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


class Changes(nn.Module):
    """Its input changed in place by `first`, then a small network."""

    def __init__(self, first):
        super().__init__()
        self.net, self.first = small(), first

    def forward(self, x):
        return self.net(self.first(x))


class Counts(Changes):
    """Moves a buffer in every pass, and with it the input."""

    def __init__(self, first):
        super().__init__(first)
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, x):
        self.steps += 1
        return self.net(x) if self.steps < 1000 else x.new_zeros(len(x), 3)


IN_PLACE = {
    "relu": (nn.ReLU(inplace=True), nn.ReLU()),
    "hardtanh": (nn.ReLU6(inplace=True), nn.ReLU6()),
    "arithmetic": (lambda x: x.sub_(0.5).mul_(2), lambda x: (x - 0.5) * 2),
    "its own mean": (lambda x: x.sub_(x.mean()), lambda x: x - x.mean()),
    "an index": (lambda x: x.index_fill_(2, torch.tensor([0]), 0.0), lambda x: x.index_fill(2, torch.tensor([0]), 0.0)),
    "a view": (lambda x: x[:, :, 1:].mul_(3) is not None and x, lambda x: torch.cat([x[:, :, :1], x[:, :, 1:] * 3], 2)),
    "out=": (lambda x: torch.add(x, 1, out=x), lambda x: x + 1),
}
SCORED = ("snip", "grasp", "iter-snip", "force", "px", "ntk-sap", "prospr", "synflow")


def bits_that_differ(a, b):
    assert list(a) == list(b)
    return sum(int((a[name] != b[name]).sum()) for name in a)


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("change", IN_PLACE)
def test_a_network_that_changes_its_input(name, change):
    changing, not_changing = (Changes(first) for first in IN_PLACE[change])
    x = images()
    settings = {"iterations": 2} if PRUNERS[name].iterates else {}
    if (name, change) == ("px", "its own mean"):  # it looks at inputs of ones, of which nothing is left
        for model in (changing, not_changing):
            with pytest.raises(PruningError, match="All 468 scores of pruner 'px' are 0"):
                prune(model, name, 4, [(x, Y)], **settings)
        return
    masks = prune(changing, name, 4, [(x, Y)], **settings)
    assert torch.equal(x, images())
    assert bits_that_differ(masks, prune(not_changing, name, 4, [(images(), Y)], **settings)) == 0


@pytest.mark.parametrize("name", SCORED)
def test_a_network_that_counts_its_passes(name):
    model, x = Counts(nn.Identity()), images()
    masks = prune(model, name, 4, [(x, Y)], iterations=2)
    assert torch.equal(x, images())
    assert not model.steps.any()
    assert bits_that_differ(masks, prune(Changes(nn.Identity()), name, 4, [(x, Y)], iterations=2)) == 0


@pytest.mark.parametrize("change", ["relu", "arithmetic", "its own mean"])
def test_compact_checks_both_models_on_one_input(change):
    for first in IN_PLACE[change]:
        model = Changes(first)
        model.net[0].bias.data.zero_()
        dead = {"net.0.weight": torch.arange(4).view(4, 1, 1, 1).expand(4, 1, 3, 3) < 2}
        compacted = compact(model, dead, (1, 6, 6))
        if not compacted.reason.startswith("its logits"):
            continue
        raise AssertionError(compacted.reason)


class Keeps(nn.Module):
    """Whatever `keep` makes of its features is left on the module."""

    def __init__(self, keep):
        super().__init__()
        self.net, self.keep = small(), keep

    def forward(self, x):
        features = self.net[:3](x)
        self.keep(self, features)
        return self.net[3](features)


class Held:
    """An object of the user's with a tensor in it, and what cannot be copied."""

    def __init__(self, tensor):
        self.tensor, self.lock = tensor, threading.Lock()


def unregistered(self, features):
    self.hook = self.hook if hasattr(self, "hook") else self.net[0].register_forward_hook(Keeper())


class Keeper:
    """A hook that is an object, with the last output on it."""

    def __call__(self, module, given, output):
        self.output = output


KEPT = {
    "features": lambda self, f: setattr(self, "features", f),
    "a list of features": lambda self, f: setattr(self, "features", [f, {"deep": (f, 1)}]),
    "features in a dict": lambda self, f: setattr(self, "features", {"last": f}),
    "features and a lock in an object": lambda self, f: setattr(self, "held", Held(f)),
    "a buffer with a graph": lambda self, f: self.register_buffer("b", f.mean(), persistent=False),
    "features on a child": lambda self, f: setattr(self.net[1], "seen", f),
    "a hook with the last output": unregistered,
    "a lock": lambda self, f: setattr(self, "lock", threading.RLock()),
    "an open file": lambda self, f: setattr(self, "file", open(__file__, encoding="utf-8")),  # noqa: SIM115, PTH123
    "a generator": lambda self, f: setattr(self, "draws", (i for i in range(3))),
    "a random generator": lambda self, f: setattr(self, "generator", torch.Generator()),
    "a function": lambda self, f: setattr(self, "other", lambda x: x + f.mean()),
    "a module of Python": lambda self, f: setattr(self, "torch", torch),
    "itself": lambda self, f: object.__setattr__(self, "own", [self, f]),
    "a cycle": lambda self, f: setattr(self, "ring", ring(f)),
    "a thread": lambda self, f: setattr(self, "thread", threading.current_thread()),
}


def ring(tensor):
    one = Held(tensor)
    one.next = one
    return one


@pytest.mark.parametrize("what", KEPT)
def test_what_hangs_on_a_model_after_a_pass(what):
    model = Keeps(KEPT[what])
    nn.functional.cross_entropy(model(images()), Y).backward()
    fresh = Keeps(lambda self, features: None)
    for name in ("magnitude", "snip", "synflow"):
        masks, expected = (prune(each, name, 4, [(images(), Y)], iterations=1) for each in (model, fresh))
        assert bits_that_differ(masks, expected) == 0
    assert compact(model, prune(model, "magnitude", 4), (1, 6, 6)).model is not model


def test_a_copy_is_independent_and_shares_what_the_model_shares():
    model = Keeps(KEPT["features"])
    model.net[0].twin = model.net[0].weight
    model(images())
    copy = copied(model)
    with torch.no_grad():
        copy.net[0].weight.zero_()
        copy.features.zero_()
    assert copy.net[0].twin is copy.net[0].weight
    assert model.net[0].weight.any() and model.features.any()
    assert torch.equal(copy.net[3].weight, model.net[3].weight)


def test_what_cannot_be_copied_is_named():
    class Stubborn(nn.ReLU):
        def __deepcopy__(self, memo):
            raise TypeError("it is one of a kind")

    with pytest.raises(PruningError, match=r"module 'deep.0' \(Stubborn\): TypeError: it is one of a kind"):
        prune(nn.ModuleDict({"deep": nn.Sequential(Stubborn(), nn.Linear(2, 2))}), "magnitude", 2)


def test_old_weight_norm_after_a_pass():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(1, 4, 3)), nn.Flatten(), nn.Linear(64, 3))
    model(images()).sum().backward()
    masks = prune(model, "snip", 2, [(images(), Y)])
    assert "2.weight" in masks and "0.weight_g" not in masks


def test_masks_of_torch_stay():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    torch_prune.random_unstructured(model[0], "weight", amount=0.5)
    x = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    model(x).sum().backward()
    for name in ("magnitude", "snip", "synflow", "random", "force"):
        masks = prune(model, name, 4, [(x, Y)], iterations=2 if PRUNERS[name].iterates else 1)
        assert sum(int(mask.sum()) for mask in masks.values()) == -(-sum(m.numel() for m in masks.values()) // 4)
        if "0.weight_orig" in masks:
            assert not (masks["0.weight_orig"] & (model[0].weight_mask == 0)).any()
    if "0.weight_orig" in prunable(model):
        with pytest.raises(PruningError, match=r"only 0\.636364 of the weights are alive"):
            prune(model, "magnitude", 1.2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["snip", "grasp", "synflow", "px", "prospr", "ntk-sap", "magnitude"])
def test_half_precision_is_scored_in_float32(dtype, name):
    model = small().to(dtype)
    x = images().to(dtype)
    found = find(model, name, 4, [(x, Y)], iterations=1)
    single = small()
    single.load_state_dict({key: value.float() for key, value in model.state_dict().items()})
    expected = find(single, name, 4, [(x.float(), Y)], iterations=1)
    assert bits_that_differ(found.masks, expected.masks) == 0
    assert all(torch.equal(score, expected.scores[key]) for key, score in found.scores.items())
    assert all(weight.dtype == dtype for weight in model.parameters())
