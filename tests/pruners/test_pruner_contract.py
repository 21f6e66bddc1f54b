"""What every registered pruner must hold, whatever its score."""

import copy
import math
import pickle
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from by_hand import OF_WEIGHTS, kept
from torch import nn

from pruners import MODES, PRUNERS, PruningError, apply_masks, find, prunable, prune

every_pruner = pytest.mark.parametrize("name", PRUNERS)
every_pruner_of_weights = pytest.mark.parametrize("name", OF_WEIGHTS)


class Followed(nn.Module):
    """All that scoring could disturb, but for a buffer that is counted up: its channels can be followed."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.middle = nn.Conv2d(6, 5, 3, padding=1)
        self.frozen_norm = nn.BatchNorm2d(5)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(5 * 16, 5)
        self.frozen_norm.eval()
        for norm in (self.norm, self.frozen_norm):
            nn.init.uniform_(norm.weight)

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        x = self.frozen_norm(self.middle(x)).relu()
        return self.head(self.drop(x.flatten(1)))


@pytest.fixture
def model(request, model):
    if PRUNERS[request.node.callspec.params["name"]].whole_filters:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Followed()
    return model


def whole(name):
    """The granularity that a pruner of whole filters needs."""
    return {"granularity": "filter"} if PRUNERS[name].whole_filters else {}


def equal(a, b):
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def snapshot(model):
    """All that scoring might disturb, as comparable values."""
    parts = {"the global random state": torch.get_rng_state().tolist()}
    for name, module in model.named_modules():
        parts[f"{name}.training"] = module.training
        parts[f"{name}.momentum"] = getattr(module, "momentum", None)
        parts[f"{name}: hooks"] = len(module._forward_hooks), len(module._forward_pre_hooks)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        parts[name] = tensor.tolist()
        parts[f"{name}: another tensor"] = id(tensor)
        parts[f"{name}.requires_grad"] = tensor.requires_grad
        parts[f"{name}.grad"] = None if tensor.grad is None else tensor.grad.tolist()
    return parts


@every_pruner
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("call", ["find", "score"])
def test_pure(name, mode, call, model, batches):
    model.head.weight.grad = torch.ones_like(model.head.weight)
    before = snapshot(model)
    if call == "find":
        find(model, name, 4, batches, mode=mode, **whole(name))
    else:
        PRUNERS[name].score(
            model, batches, mode=mode, generator=torch.Generator().manual_seed(0), **PRUNERS[name].options
        )
    after = snapshot(model)
    changed = [part for part in before | after if before.get(part) != after.get(part)]
    assert not changed, "call the model within pruners.gradients.passes, by pruners.gradients.call"


@every_pruner
def test_score_restores_the_mode_when_it_fails(name, model, batches):
    before = [module.training for module in model.modules()]
    too_wide = [(torch.ones(2, 3, 9, 9), torch.zeros(2, dtype=torch.int64))]
    if PRUNERS[name].needs_data or PRUNERS[name].needs_input:
        with pytest.raises(RuntimeError):
            PRUNERS[name].score(model, too_wide, mode="eval", generator=torch.Generator(), **PRUNERS[name].options)
    assert [module.training for module in model.modules()] == before


@every_pruner
def test_one_finite_score_per_prunable_weight(name, model, batches):
    pruning = find(model, name, 2, batches, **whole(name))
    shapes = [(key, weight.shape) for key, weight in prunable(model).items()]
    assert [(key, score.shape) for key, score in pruning.scores.items()] == shapes
    assert [(key, mask.shape) for key, mask in pruning.masks.items()] == shapes
    assert all(mask.dtype == torch.bool for mask in pruning.masks.values())
    assert all(score.isfinite().all() and not score.requires_grad for score in pruning.scores.values())


@every_pruner_of_weights
@pytest.mark.parametrize("compression", [1, 1.5, 2, 3.16, 7, 10, 100, 750, 10_000])
def test_exact_count(name, compression, model, batches):
    masks = prune(model, name, compression, batches, scope="global", iterations=3)
    assert kept(masks) == 750 - math.floor((1 - 1 / compression) * 750)


@every_pruner_of_weights
def test_exact_count_in_every_layer(name, model, batches):
    masks = prune(model, name, 3.16, batches, scope="layer", iterations=3)
    assert [int(mask.sum()) for mask in masks.values()] == [n - math.floor((1 - 1 / 3.16) * n) for n in (162, 108, 480)]


@every_pruner_of_weights
@pytest.mark.parametrize("schedule", ["exponential", "linear"])
def test_masks_are_nested_over_iterations(name, schedule, model, batches):
    seen = []

    def watched(model, batches, masks=None, **settings):
        seen.append(masks or {key: weight != 0 for key, weight in prunable(model).items()})
        if masks:
            settings["masks"] = masks
        return PRUNERS[name].score(model, batches, **settings)

    pruner = replace(PRUNERS[name], score=watched, iterates=True)
    seen.append(prune(model, pruner, 20, batches, schedule=schedule, iterations=6))
    assert kept(seen[0]) == 750
    assert len(seen) == 7
    for wider, narrower in pairwise(seen):
        assert kept(wider) > kept(narrower)
        if not PRUNERS[name].revives:
            assert not any((narrower[key] & ~wider[key]).any() for key in wider)


@every_pruner
def test_same_seed_same_masks_whatever_happened_before(name, model, batches):
    torch.manual_seed(1)
    first = prune(model, name, 5, batches, seed=3, mode="train", **whole(name))
    torch.manual_seed(2)
    assert equal(first, prune(model, name, 5, batches, seed=3, mode="train", **whole(name)))


@every_pruner
def test_mode_matters_only_where_declared(name, model, batches):
    pruner = PRUNERS[name]
    train, evaluation = (
        pruner.score(model, batches, mode=mode, generator=torch.Generator().manual_seed(0), **pruner.options)
        for mode in MODES
    )
    assert equal(train, evaluation) is not pruner.uses_mode, f"say uses_mode={not pruner.uses_mode}"


@every_pruner
def test_iterations_matter_only_where_declared(name, model, batches):
    """Do the better half of the weights come in another order once the others are pruned?"""
    pruner = PRUNERS[name]
    half = prune(model, name, 2, batches, iterations=1, mode="eval", **whole(name))

    def order(**masks):
        settings = {"mode": "eval", "generator": torch.Generator().manual_seed(0), **pruner.options, **masks}
        scores = pruner.score(model, batches, **settings)
        return torch.cat([scores[key][mask] for key, mask in half.items()]).argsort(stable=True)

    before = order()
    if pruner.takes_masks:
        after = order(masks=half)
    else:
        apply_masks(model, half)
        after = order()
    assert torch.equal(before, after) is not pruner.iterates, f"say iterates={not pruner.iterates}"


@every_pruner_of_weights
def test_precision_of_the_model(name, model, batches):
    doubles = [(x.double(), y) for x, y in batches]
    single = prune(model, name, 5, batches, scope="global", mode="eval")
    double = prune(model.double(), name, 5, doubles, scope="global", mode="eval")
    if name in ("random", "smart-ratio", "magnitude", "lamp", "imp") or PRUNERS[name].when == "during":
        assert equal(single, double)
    assert kept(single) == kept(double) == 150


@every_pruner
def test_surroundings_do_not_matter(name, model, batches):
    plain = prune(model, name, 5, batches, **whole(name))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert equal(plain, prune(model, name, 5, batches, **whole(name)))


@every_pruner
def test_batches_may_be_an_iterator(name, model, batches):
    assert equal(prune(model, name, 5, batches, **whole(name)), prune(model, name, 5, iter(batches), **whole(name)))


@every_pruner
def test_data_is_asked_for_where_needed(name, model, batches):
    pruner = PRUNERS[name]
    if pruner.needs_data or pruner.needs_input:
        with pytest.raises(PruningError, match=name):
            prune(model, name, 5, **whole(name))
    else:
        assert equal(prune(model, name, 5, **whole(name)), prune(model, name, 5, batches, **whole(name)))


@every_pruner
def test_a_layer_that_is_never_used_has_no_merit(name, model, batches):
    model.unused = nn.Linear(2, 2)
    scores = find(model, name, 5, batches, iterations=1, **whole(name)).scores["unused.weight"]
    if name == "obs":
        assert float(scores.max()) < 1e-6  # of its damping alone
    elif PRUNERS[name].needs_data or PRUNERS[name].needs_input:
        assert not scores.any()


@every_pruner
def test_travels_and_describes_itself(name):
    pruner = PRUNERS[name]
    assert pickle.loads(pickle.dumps(pruner)) == copy.deepcopy(pruner) == pruner
    assert pruner.summary and "\n" not in pruner.summary


@every_pruner_of_weights
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu(name, model, batches):
    settings = {"batches": [(x.double(), y) for x, y in batches], "scope": "global", "mode": "eval"}
    on_cpu = prune(model.double(), name, 5, **settings)
    before = torch.cuda.get_rng_state()
    on_gpu = prune(model.cuda(), name, 5, **settings)
    assert all(mask.is_cuda for mask in on_gpu.values())
    assert kept(on_gpu) == 150
    assert torch.equal(before, torch.cuda.get_rng_state())
    # Sums are taken in another order on a GPU, so two scores that nearly tie may change places.
    assert sum(int((on_gpu[key].cpu() != on_cpu[key]).sum()) for key in on_cpu) <= 2
