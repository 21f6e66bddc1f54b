"""Budgets of layers, Erdos-Renyi-Kernel above all (Evci et al. 2020, section 3)."""

import math

import pytest
import torch
from by_hand import OF_WEIGHTS

from pruners import PRUNERS, PruningError, find, prunable, prune, select
from pruners.scopes import erk_counts, kept_of, smart_counts
from pruners.selection import tied_share
from trainables.architectures import build

RESNET = {"stem": (16, 3, 3, 3), "wide": (64, 64, 3, 3), "shortcut": (64, 32, 1, 1), "head": (10, 64)}


def sizes(shapes):
    return {name: torch.Size(shape).numel() for name, shape in shapes.items()}


def counts(shapes, total):
    return erk_counts({name: torch.Size(shape) for name, shape in shapes.items()}, total, sizes(shapes))


def test_by_hand():
    # Shares 2 + 4 and 8 + 8, so of 22 weights 6 and 16: densities 6/8 and 16/64.
    assert counts({"a": (2, 4), "b": (8, 8)}, 22) == {"a": 6, "b": 16}


def test_a_full_layer_passes_on_what_it_cannot_take():
    # Of 44 the first would get 12; it has 8. Clamped without redistribution 40 would be kept.
    assert counts({"a": (2, 4), "b": (8, 8)}, 44) == {"a": 8, "b": 36}


def test_kernels_count_with_height_and_width():
    # (8 + 8 + 3 + 3) against (8 + 8 + 1 + 1): 22 to 18.
    assert counts({"a": (8, 8, 3, 3), "b": (8, 8, 1, 1)}, 80) == {"a": 44, "b": 36}


@pytest.mark.parametrize("density", [1e-4, 0.01, 0.1, 0.2, 0.5, 0.8, 0.99, 1])
def test_exact_total_and_no_layer_beyond_its_size(density):
    n = sum(sizes(RESNET).values())
    kept = counts(RESNET, kept_of(n, density))
    assert sum(kept.values()) == kept_of(n, density)
    assert all(0 <= kept[name] <= size for name, size in sizes(RESNET).items())


def test_what_is_dead_is_no_room():
    scores = {"a": torch.arange(8.0).view(2, 4), "b": torch.arange(64.0).view(8, 8)}
    alive = {"a": scores["a"] < 3, "b": torch.ones(8, 8, dtype=torch.bool)}
    masks = select(scores, 22 / 72, alive, scope="erk")
    assert [int(mask.sum()) for mask in masks.values()] == [3, 19]
    assert masks["a"].flatten().tolist() == [True] * 3 + [False] * 5


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_composes_with_any_score(name, model, batches):
    shapes = {"first": (6, 3, 3, 3), "grouped": (6, 2, 3, 3), "head": (5, 96)}
    pruning = find(model, name, 5, batches, scope="erk")
    assert [int(mask.sum()) for mask in pruning.masks.values()] == list(counts(shapes, 150).values())
    if PRUNERS[name].iterations == 1:  # the last scores are the only ones: the best of each layer are kept
        for key, mask in pruning.masks.items():
            assert pruning.scores[key][mask].min() >= pruning.scores[key][~mask].max()


@pytest.mark.parametrize("schedule", ["exponential", "linear"])
def test_iterations_never_ask_for_more_than_is_alive(schedule, model, batches):
    masks = prune(model, "synflow", 300, batches, scope="erk", iterations=50, schedule=schedule)
    assert sum(int(mask.sum()) for mask in masks.values()) == 3


def test_what_is_left_over_goes_to_the_largest_fractions():
    shapes = {"a": (2, 3), "b": (4, 5), "c": (7, 9)}  # 11 in shares of 5, 9 and 16 of 30: 1.83, 3.3 and 5.87
    room = {name: rows * columns for name, (rows, columns) in shapes.items()}
    assert erk_counts(shapes, 11, room) == {"a": 2, "b": 3, "c": 6}


def test_a_layer_without_a_fraction_is_not_rounded_up():
    shapes = {"a": (4, 8), "b": (2, 4), "c": (2, 4)}  # 10 in shares of 12, 6 and 6 of 24: 5, 2.5 and 2.5
    assert counts(shapes, 10) == {"a": 5, "b": 3, "c": 2}


def test_every_row_keeps_as_many_and_ties_go_to_the_earlier():
    scores = {"a": torch.tensor([[1.0, 2.0, 2.0, 0.0, 2.0], [9.0, 8.0, 7.0, 6.0, 5.0]])}
    masks = select(scores, 2 / 5, scope="row")
    assert masks["a"].tolist() == [[False, True, True, False, False], [True, True, False, False, False]]
    alive = {"a": torch.tensor([[True, False, True, True, False], [False, False, True, True, True]])}
    masks = select(scores, 2 / 5, alive, scope="row")
    assert masks["a"].tolist() == [[True, False, True, False, False], [False, False, True, True, False]]
    with pytest.raises(PruningError, match="keeps 4 of 5 weights in every row, but in 2 rows fewer"):
        select(scores, 4 / 5, alive, scope="row")
    assert tied_share(scores, select(scores, 2 / 5, scope="row"), "row") == 1 / 4  # one of the three twos is left out


def test_rows_are_nested_and_as_dense_over_iterations(model, batches):
    masks = prune(model, "wanda", 4, batches, iterations=5)
    for mask, count in zip(masks.values(), [27 // 4 + 1, 18 // 4 + 1, 96 // 4], strict=True):
        assert set(mask.flatten(1).sum(1).tolist()) == {count}


def published(shapes, keep, resnet):
    """The weights that JingtongSu/sanity-checking-pruning 65aa267, pruner/SmartRatio.py, keeps in each layer."""
    sizes = [math.prod(shape) for shape in shapes]
    linear = [len(shape) == 2 for shape in shapes]
    n = len(shapes)
    ratio = [(n - i) ** 2 + (n - i) for i in range(n)]
    if not resnet:
        ratio = [r / (i + 1) ** 2 for i, r in enumerate(ratio)]
    weighed = sum(int(size * r) for size, r, fc in zip(sizes, ratio, linear, strict=True) if not fc)
    goal = int(sum(sizes) * keep) - int(0.3 * sum(size for size, fc in zip(sizes, linear, strict=True) if fc))
    ratio, extra = [r * goal / weighed for r in ratio], 0
    for i, fc in enumerate(linear):
        if fc:
            continue
        if ratio[i] >= 1:
            extra += int((ratio[i] - 1) * sizes[i])
            ratio[i] = 1
        else:
            rest = int((1 - ratio[i]) * sizes[i])
            ratio[i], extra = (ratio[i] + extra / sizes[i], 0) if rest >= extra else (1, extra - rest)
    return [int(0.3 * size) if fc else int(r * size) for size, r, fc in zip(sizes, ratio, linear, strict=True)]


@pytest.mark.parametrize(("scope", "architecture"), [("smart-ratio", "resnet20"), ("smart-ratio-vgg", "vgg16-bn")])
@pytest.mark.parametrize("compression", [2, 10, 50])
def test_smart_ratios_are_those_of_the_published_program(scope, architecture, compression):
    weights = prunable(build(architecture, (3, 32, 32), 10, seed=0))
    shapes, sizes = {n: w.shape for n, w in weights.items()}, {n: w.numel() for n, w in weights.items()}
    total = kept_of(sum(sizes.values()), 1 / compression)
    found = smart_counts(shapes, total, sizes, scope)
    assert sum(found.values()) == total
    theirs = published(list(shapes.values()), 1 / compression, scope == "smart-ratio")
    # Theirs rounds down in each layer, in float32.
    assert max(abs(a - b) for a, b in zip(found.values(), theirs, strict=True)) <= 2 + total // 10**6


def test_smart_ratios_by_hand():
    shapes = {"a": torch.Size([10, 1, 1]), "b": torch.Size([30, 1, 1]), "fc": torch.Size([4, 10])}
    sizes = {name: shape.numel() for name, shape in shapes.items()}
    # 12 for fc, the others in shares of 12 * 10 and 6 * 30: of 25, 10 and 15; of 30, 12 and 18, of which a takes 10.
    assert smart_counts(shapes, 37, sizes, "smart-ratio") == {"a": 10, "b": 15, "fc": 12}
    assert smart_counts(shapes, 42, sizes, "smart-ratio") == {"a": 10, "b": 20, "fc": 12}
    # Divided by l²: 12 * 10 and 6 * 30 / 4, so of 11 for both 8 and 3.
    assert smart_counts(shapes, 23, sizes, "smart-ratio-vgg") == {"a": 8, "b": 3, "fc": 12}
    # With 0.3 nothing is left for the others: shares of 120, 180 and 2 * 40.
    assert smart_counts(shapes, 11, sizes, "smart-ratio") == {"a": 3, "b": 5, "fc": 3}
    # They cannot take 68 - 12: shares as above, of which a and b take 10 and 30 at most.
    assert smart_counts(shapes, 68, sizes, "smart-ratio") == {"a": 10, "b": 30, "fc": 28}
    assert smart_counts(shapes, 80, sizes, "smart-ratio") == sizes
    assert sum(smart_counts(shapes, 30, {"a": 1, "b": 5, "fc": 40}, "smart-ratio").values()) == 30


def test_random_tickets_keep_the_smart_ratios(model):
    masks = prune(model, "smart-ratio", 10)
    shapes = {name: mask.shape for name, mask in masks.items()}
    sizes = {name: mask.numel() for name, mask in masks.items()}
    assert {name: int(mask.sum()) for name, mask in masks.items()} == smart_counts(shapes, 75, sizes, "smart-ratio")
    hybrid = find(model, "magnitude", 10, scope="smart-ratio")
    for name, mask in hybrid.masks.items():
        assert int(mask.sum()) == int(masks[name].sum())
        assert not mask.any() or hybrid.scores[name][mask].min() >= hybrid.scores[name][~mask].max()
