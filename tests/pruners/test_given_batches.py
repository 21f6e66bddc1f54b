"""What people pass as batches, models and pruners: taken if it can mean one thing only, else refused in one line."""

import dataclasses
import itertools
from collections import OrderedDict, UserDict, namedtuple
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from pruners import Pruner, PruningError, compact, find, masking, prunable, prune
from pruners.batches import Batches, read_batches

N, CLASSES = 16, 4
X = torch.randn(N, 12, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % CLASSES
Named = namedtuple("Named", "image label")
Turned = namedtuple("Turned", "label image")
Unnamed = namedtuple("Unnamed", "first second")


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


@dataclasses.dataclass
class Example:
    inputs: torch.Tensor
    labels: torch.Tensor


class BatchEncoding(UserDict):
    """As Hugging Face's: a mapping that is no dict."""


class Frame:
    """As pandas': no array, but numpy can make one of it."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype) if dtype else self.values


def net(classes=CLASSES):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, classes))


def equal(a, b):
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


ONE = prune(net(), "snip", 4, [(X, Y)])
TWO = prune(net(), "snip", 4, [(X[:8], Y[:8]), (X[8:], Y[8:])])

MEANS_ONE = {
    "a pair without a list": (X, Y),
    "a list as pair": [[X, Y]],
    "a generator": (pair for pair in [(X, Y)]),
    "a DataLoader": DataLoader(TensorDataset(X, Y), batch_size=N),
    "one dict": {"image": X, "label": Y},
    "dicts": [{"pixel_values": X, "labels": Y}],
    "a dict with more": [{"img": X, "label": Y, "path": ["a.png"] * N, "id": torch.arange(N)}],
    "a mapping that is no dict": [BatchEncoding(inputs=X, target=Y, attention_mask=torch.ones(N, 12))],
    "a neutral token type": [{"input": X, "targets": Y, "token_type_ids": torch.zeros(N, 12), "extra": None}],
    "keys in capitals": [{"X": X, "Y": Y}],
    "a namedtuple": [Named(X, Y)],
    "one namedtuple": Named(X, Y),
    "a namedtuple the other way round": [Turned(Y, X)],
    "a namedtuple of other names": [Unnamed(X, Y)],
    "a dataclass": [Example(X, Y)],
    "a namespace": [SimpleNamespace(x=X, y=Y)],
    "numpy": [(X.numpy(), Y.numpy())],
    "one numpy pair": (X.numpy(), Y.numpy()),
    "numpy that may not be written": [(np.broadcast_to(X.numpy(), (N, 12)), Y.numpy())],
    "numpy in the other byte order": [(X.numpy().astype(">f4"), Y.numpy().astype(">i8"))],
    "what numpy makes an array of": [(Frame(X.numpy()), Frame(Y.numpy()))],
    "float64 inputs": [(X.double(), Y)],
    "a list of labels": [(X, Y.tolist())],
    "one pair with a list of labels": (X, Y.tolist()),
    "inputs with a graph": [(X.clone().requires_grad_() * 1, Y)],
    **{f"{kind} labels": [(X, Y.to(kind))] for kind in (torch.int32, torch.int16, torch.uint8, torch.float32)},
    "labels (N, 1)": [(X, Y[:, None])],
    "float labels (N, 1)": [(X, Y[:, None].double())],
    "one-hot int64": [(X, F.one_hot(Y, CLASSES))],
    "one-hot float": [(X, F.one_hot(Y, CLASSES).float())],
    "one pair one-hot": (X, F.one_hot(Y, CLASSES).float()),
    "one-hot bool": [(X, F.one_hot(Y, CLASSES).bool())],
}


@pytest.mark.parametrize("label", MEANS_ONE)
def test_one_batch_however_it_is_passed(label):
    assert equal(prune(net(), "snip", 4, MEANS_ONE[label]), ONE)


@pytest.mark.parametrize(
    "batches",
    [
        DataLoader(Stream(), batch_size=8),
        iter([(X[:8], Y[:8]), (X[8:], Y[8:])]),
        [{"x": X[:8], "y": Y[:8]}, (X[8:], Y[8:])],
        [(X[a:b].numpy(), Y[a:b]) for a, b in ((0, 8), (8, 16))],
        DataLoader([{"image": x, "label": y} for x, y in zip(X, Y, strict=True)], batch_size=8),
    ],
)
def test_several_batches_however_they_are_passed(batches):
    assert equal(prune(net(), "snip", 4, batches), TWO)


def test_a_generator_serves_all_iterations():
    listed = prune(net(), "iter-snip", 4, [(X, Y)], iterations=5)
    assert equal(listed, prune(net(), "iter-snip", 4, ((X, Y) for _ in range(1)), iterations=5))


def test_soft_labels_are_probabilities():
    soft = torch.softmax(torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(1)), 1)
    model = net()
    scores = find(model, "snip", 4, [(X, soft)]).scores
    loss = -(soft * model(X).log_softmax(1)).sum(1).mean()
    for (name, weight), slope in zip(prunable(model).items(), torch.autograd.grad(loss, [*prunable(model).values()])):  # noqa: B905
        torch.testing.assert_close(scores[name], (weight.detach() * slope).abs())


def test_ignored_labels_count_for_nothing():
    labels = torch.where(torch.arange(N) < 6, -100, Y)
    assert equal(prune(net(), "snip", 4, [(X, labels)]), prune(net(), "snip", 4, [(X[6:], Y[6:])]))
    whole = find(net().double(), "snip", 4, [(X.double(), labels)]).scores
    parts = find(net().double(), "snip", 4, [(X.double(), labels)], images_at_once=3).scores
    for name, score in whole.items():
        torch.testing.assert_close(parts[name], score)


def test_a_shape_alone_needs_no_labels_and_one_batch():
    def endless():
        return ((X, Y) for _ in itertools.count())

    expected = prune(net(), "synflow", 4, [(X, Y)])
    for batches in ([X], X, X.numpy(), [(X,)], [{"x": X}], endless(), [(X * torch.nan, Y)], [X, X]):
        assert equal(prune(net(), "synflow", 4, batches), expected)
    assert equal(prune(net(), "magnitude", 4, endless()), prune(net(), "magnitude", 4))


REFUSED = {
    "inputs alone": ([X], "no labels"),
    "two inputs alone": ([X, X], "no labels"),
    "one tensor": (X, "without labels"),
    "a word": ("mnist", "of type str"),
    "a number": (3, "of type int"),
    "a model": (nn.Linear(2, 2), "of type Sequential|of type Linear"),
    "nothing": ([], r"pass batches=\[\(inputs, labels\), ...\]"),
    "three parts": ([(X, Y, Y)], "a tuple of 3"),
    "a batch of a word": (["x"], "Batch 0 is a str"),
    "labels that are words": ([(X, ["cat"] * N)], "not class numbers"),
    "numpy words": ([(X, np.array(["cat"] * N))], "of type <U3"),
    "numpy objects": ([(np.array([None] * N), Y)], "of type object"),
    "a list of inputs": ([(X.tolist(), Y)], "inputs are of type list"),
    "unlike lengths": ([(X, Y[:5])], "16 inputs and 5 labels"),
    "nothing in a batch": ([(X, Y), (X[:0], Y[:0])], r"Batch 1: its inputs are empty, of shape \[0, 12\]"),
    "examples": (TensorDataset(X, Y), "one example, not a batch"),
    "an IterableDataset": (Stream(), "one example, not a batch"),
    "NaN": ([(X, Y), (torch.where(X > 2, torch.nan, X), Y)], r"Batch 1: its inputs hold \d+ NaN and 0 infinite"),
    "infinite": ([(torch.where(X > 2, torch.inf, X), Y)], "0 NaN and [1-9]"),
    "complex": ([(X + 0j, Y)], "complex"),
    "meta": ([(X.to("meta"), Y)], "meta"),
    "unknown keys": ([{"foo": X, "bar": Y}], "keys foo, bar"),
    "two inputs": ([{"image": X, "pixel_values": X, "label": Y}], "keys image, pixel_values, label"),
    "keys without labels": ([{"image": X}], "no labels"),
    "a mask that masks": (
        [{"input_ids": X, "attention_mask": X > 0, "labels": Y}],
        r"attention_mask \[16, 12\] beside",
    ),
    "further inputs": ([{"image": X, "depth": X, "label": Y}], r"depth \[16, 12\] beside image"),
    "a label too high": ([(X, Y + 1)], "Label 4 is out of range.*0 to 3"),
    "a label too low": ([(X, Y - 1)], "Label -1 is out of range"),
    "all ignored": ([(X, Y), (X, torch.full((N,), -100))], "All labels of a batch are -100"),
    "a regression": ([(X, Y + 0.5)], "fractions such as 0.5"),
    "several classes": ([(X, torch.ones(N, CLASSES))], "must be probabilities"),
    "several classes, integers": ([(X, torch.ones(N, CLASSES).long())], "do not fit logits"),
    "too many classes": ([(X, F.one_hot(Y, 7).float())], r"\[16, 7\] do not fit logits"),
    "NaN labels": ([(X, Y * torch.nan)], "NaN"),
    "another width": ([(X[:, :5], Y)], r"cannot score this model on inputs \[16, 5\] of float32: RuntimeError"),
    "uint8 inputs": ([((X * 10).byte(), Y)], r"inputs \[16, 12\] of uint8"),
}


@pytest.mark.parametrize("label", REFUSED)
def test_what_has_no_one_meaning_is_refused_in_one_line(label):
    batches, message = REFUSED[label]
    with pytest.raises(PruningError, match=message) as refusal:
        prune(net(), "snip", 4, batches)
    assert "\n" not in str(refusal.value)


def test_integers_stay_what_an_embedding_looks_up():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 4))
    tokens = torch.randint(9, (N, 3), generator=torch.Generator().manual_seed(0))
    assert equal(prune(model, "snip", 2, [(tokens.int(), Y)]), prune(model, "snip", 2, [(tokens, Y)]))
    with pytest.raises(PruningError, match=r"'synflow' cannot score this model on inputs \[16, 3\] of int64"):
        prune(model, "synflow", 2, [(tokens, Y)])


class Returns(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = net(), wrap

    def forward(self, x):
        return self.wrap(self.net(x))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda z: (z,),
        lambda z: (z, None),
        lambda z: [None, z],
        lambda z: {"logits": z, "loss": None},
        lambda z: OrderedDict(logits=z, hidden=z * 2),
        lambda z: SimpleNamespace(logits=z, attentions=(z,)),
        lambda z: namedtuple("Outputs", "logits aux")(z, z),
        lambda z: z[..., None],
    ],
)
@pytest.mark.parametrize("pruner", ["snip", "grasp", "synflow", "px", "ntk-sap", "prospr"])
def test_outputs_that_can_only_mean_logits(wrap, pruner):
    plain = {f"net.{name}": mask for name, mask in prune(net(), pruner, 4, [(X, Y)], iterations=1).items()}
    assert equal(prune(Returns(wrap), pruner, 4, [(X, Y)], iterations=1), plain)


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda z: (z, z.softmax(1)), r"a tuple of 2 tensors; it must return logits \(N, classes\)"),
        (lambda z: {"out": z}, "a dict with out; it must return logits"),
        (lambda z: None, "a NoneType; it must"),
        (lambda z: z.sum(1), r"float32 of shape \[16\] for 16 inputs"),
        (lambda z: z[:3], r"of shape \[3, 4\] for 16 inputs"),
        (lambda z: z[:, :1], "one logit for each input"),
        (lambda z: z.detach(), "is its forward detached"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(wrap, message):
    with pytest.raises(PruningError, match=message) as refusal:
        prune(Returns(wrap), "snip", 4, [(X, Y)])
    assert "\n" not in str(refusal.value)


def test_wrappers_are_passed_by_and_name_the_masks():
    for model, prefix in (
        (nn.DataParallel(net()), "module."),
        (torch.compile(nn.DataParallel(net())), "_orig_mod.module."),
    ):
        masks = prune(model, "snip", 4, [(X, Y)])
        assert equal(masks, {prefix + name: mask for name, mask in ONE.items()})
        masking(model, masks)()
        assert all(torch.equal(weight != 0, masks[name]) for name, weight in prunable(model).items())
    inner = nn.Sequential(nn.DataParallel(net()[:2]), nn.Linear(8, CLASSES))
    inner[1].load_state_dict(net()[2].state_dict())
    masks = prune(inner, "snip", 4, [(X, Y)])
    assert next(iter(masks.values())).equal(next(iter(ONE.values()))) and list(masks) == [
        "0.module.0.weight",
        "1.weight",
    ]


def test_a_wrapped_model_is_compacted():
    wrapped = nn.DataParallel(net())
    masks = prune(wrapped, "magnitude", 2, granularity="filter")
    small = compact(wrapped, masks, (12,))
    masking(wrapped, masks)()
    assert not small.reason and small.model(X).shape == (N, CLASSES)
    torch.testing.assert_close(small.model(X), wrapped.module(X))


def size(model, batches, *, mode, generator):
    return {name: weight.abs() for name, weight in prunable(model).items()}


class Sized:
    def __call__(self, model, batches, *, mode, generator):
        return size(model, batches, mode=mode, generator=generator)


@pytest.mark.parametrize("score", [size, Sized(), partial(size)])
@pytest.mark.parametrize("batches", [None, [(X, Y)]])
def test_a_function_is_a_pruner(score, batches):
    found = find(net(), score, 4, batches)
    assert equal(found.masks, prune(net(), "magnitude", 4))
    assert not any(one.requires_grad for one in found.scores.values())


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        (3, "of type int; it must be a name"),
        (Sized, "of type type"),
        (nn.Linear(2, 2), "of type Linear"),
        (lambda model: {}, r"must take \(model, batches, \*, mode, generator\)"),
        (lambda *_, **__: dict.fromkeys(ONE, 1), "are a int; they must be a tensor"),
    ],
)
def test_what_is_no_pruner(pruner, message):
    with pytest.raises(PruningError, match=message):
        prune(net(), pruner, 4)


def test_an_error_in_ones_own_score_is_shown_as_it_is():
    def broken(model, batches, *, mode, generator):
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        prune(net(), broken, 4)


def test_ones_own_score_gets_what_it_can_use_and_cannot_spoil_it():
    seen = []

    def greedy(model, batches, *, mode, generator):
        for x, y in batches:
            seen.append((x.dtype, y.dtype, x.clone()))
            x.zero_(), y.zero_()
        return size(model, batches, mode=mode, generator=generator)

    x, y = X.double().numpy().copy(), Y.int().numpy().copy()
    prune(net(), Pruner(score=greedy, summary="", paper="", needs_data=True), 4, [(x, y)], iterations=2)
    assert [kinds for *kinds, _ in seen] == [[torch.float32, torch.int64]] * 2
    assert torch.equal(seen[0][2], seen[1][2]) and (x == X.double().numpy()).all() and (y == Y.numpy()).all()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("vgg", "model is of type str"),
        (nn.Linear(12, 4).to(torch.complex64), "'weight' are complex64"),
        (nn.Linear(12, 4, device="meta"), "meta device"),
        (nn.LazyLinear(4), "lazy|no weight yet"),
    ],
)
def test_models_that_can_have_no_scores(model, message):
    with pytest.raises(PruningError, match=message):
        prune(model, "magnitude", 2)


def test_within_inference_mode():
    with torch.inference_mode():
        model, x = net(), X * 1
        assert equal(prune(model, "snip", 4, [(x, Y)]), ONE)


def test_batches_are_a_sequence_of_fresh_pairs():
    batches = Batches(read_batches([(X, Y), (X[:2], Y[:2])]))
    assert len(batches) == 2 and [len(x) for x, _ in batches] == [16, 2] and len(batches[1:][0][0]) == 2
    batches[0][0].zero_()
    assert torch.equal(batches[0][0], X) and torch.equal(batches[-2][0], X)
