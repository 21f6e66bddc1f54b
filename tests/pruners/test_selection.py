import math

import pytest
import torch
from torch import tensor

from pruners import PruningError, select
from pruners.selection import tied_share

T, F = True, False


def picked(masks):
    return {name: mask.tolist() for name, mask in masks.items()}


def test_global_keeps_the_highest_of_all():
    scores = {"a": tensor([[1.0, 5.0], [2.0, 8.0]]), "b": tensor([7.0, 3.0, 4.0, 6.0])}
    assert picked(select(scores, 0.5)) == {"a": [[F, T], [F, T]], "b": [T, F, F, T]}


def test_layer_keeps_the_same_density_everywhere():
    scores = {"a": tensor([1.0, 2.0, 3.0, 4.0]), "b": tensor([10.0, 20.0])}
    assert picked(select(scores, 0.5, scope="layer")) == {"a": [F, F, T, T], "b": [F, T]}


def test_negative_scores_are_ordered_by_sign_not_size():
    assert picked(select({"a": tensor([-9.0, -1.0, 0.5, -2.0])}, 0.5)) == {"a": [F, T, T, F]}


def test_ties_go_to_the_earlier_position_across_layers():
    scores = {"a": tensor([1.0, 2.0]), "b": tensor([[2.0, 2.0], [2.0, 3.0]])}
    assert picked(select(scores, 0.5)) == {"a": [F, T], "b": [[T, F], [F, T]]}
    assert picked(select(scores, 2 / 3)) == {"a": [F, T], "b": [[T, T], [F, T]]}


@pytest.mark.parametrize("value", [0.0, -1.0, 3.0])
def test_all_equal(value):
    masks = select({"a": torch.full((3,), value), "b": torch.full((5,), value)}, 0.5)
    assert picked(masks) == {"a": [T, T, T], "b": [T, F, F, F, F]}


def test_density_one_prunes_nothing_and_zero_everything():
    scores = {"a": tensor([1.0, 1.0, 2.0])}
    assert picked(select(scores, 1.0)) == {"a": [T, T, T]}
    assert picked(select(scores, 0.0)) == {"a": [F, F, F]}


def test_tiny_density_keeps_one():
    assert picked(select({"a": tensor([1.0, 4.0, 2.0])}, 1e-9)) == {"a": [F, T, F]}


@pytest.mark.parametrize("compression", [1.01, 1.5, 2, 3, 3.16, 7, 10, 31.6, 100, 999, 1000, 5000])
@pytest.mark.parametrize("distinct", [1, 3, 1000])
def test_exact_count_however_many_ties(compression, distinct):
    scores = {"a": torch.arange(400).view(20, 20) % distinct * 1.0, "b": torch.arange(600) % distinct * 1.0}
    masks = select(scores, 1 / compression)
    assert sum(int(mask.sum()) for mask in masks.values()) == 1000 - math.floor((1 - 1 / compression) * 1000)


def test_agrees_with_a_stable_sort():
    scores = torch.randint(-20, 20, (999,), generator=torch.Generator().manual_seed(0)).double()
    order = scores.sort(descending=True, stable=True).indices
    for density in (0.001, 0.03, 0.5, 0.99):
        best = order[: 999 - math.floor((1 - density) * 999)].sort().values
        assert torch.equal(select({"a": scores}, density)["a"].nonzero().flatten(), best)


def test_the_dead_stay_dead_whatever_their_score():
    scores = {"a": tensor([9.0, -5.0, 9.0]), "b": tensor([-7.0, -5.0])}
    alive = {"a": tensor([F, T, F]), "b": tensor([T, T])}
    assert picked(select(scores, 0.4, alive)) == {"a": [F, T, F], "b": [F, T]}
    assert picked(select(scores, 0.2, alive)) == {"a": [F, T, F], "b": [F, F]}


def test_the_dead_do_not_use_up_ties():
    scores = {"a": tensor([0.0, 0.0, 0.0, 0.0])}
    assert picked(select(scores, 0.5, {"a": tensor([F, T, F, T])})) == {"a": [F, T, F, T]}


def test_cannot_keep_more_than_are_alive():
    with pytest.raises(PruningError, match="keeps 2 of 3"):
        select({"a": tensor([1.0, 2.0, 3.0])}, 2 / 3, {"a": tensor([T, F, F])})


@pytest.mark.parametrize(("bad", "count"), [(math.nan, "1 NaN"), (math.inf, "1 infinite"), (-math.inf, "1 infinite")])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_scores_that_are_no_number_name_their_layer(bad, count, scope):
    with pytest.raises(PruningError, match=f"'second'.*{count} values among 3|'second'.*{count}"):
        select({"first": tensor([1.0]), "second": tensor([1.0, bad, 2.0])}, 0.5, scope=scope)


@pytest.mark.parametrize("density", [-0.1, 1.1, math.nan])
def test_density_out_of_range(density):
    with pytest.raises(PruningError, match="density"):
        select({"a": tensor([1.0])}, density)


def test_unknown_scope_and_unequal_layers():
    with pytest.raises(PruningError, match=r"'globl'.*global, layer.*Did you mean 'global'"):
        select({"a": tensor([1.0])}, 0.5, scope="globl")
    with pytest.raises(PruningError, match="b"):
        select({"a": tensor([1.0])}, 0.5, {"a": tensor([T]), "b": tensor([T])})


def test_precisions_mix_exactly():
    third = 1 / 3  # rounded up in float32: compared as float32, all three would tie
    scores = {"a": tensor([third, third], dtype=torch.float64), "b": tensor([third])}
    assert picked(select(scores, 1 / 3)) == {"a": [F, F], "b": [T]}
    assert picked(select({"a": tensor([1.0, 3.0, 2.0], dtype=torch.bfloat16)}, 1 / 3)) == {"a": [F, T, F]}


def test_positions_do_not_depend_on_memory_layout():
    scores = torch.ones(2, 3, 4, 5)
    plain = select({"a": scores}, 0.3)["a"]
    assert torch.equal(plain, select({"a": scores.to(memory_format=torch.channels_last)}, 0.3)["a"])
    assert plain.flatten()[:36].all() and not plain.flatten()[36:].any()


def test_scores_are_only_read():
    scores = {"a": tensor([3.0, 1.0, 2.0])}
    select(scores, 0.5, {"a": tensor([T, T, F])})
    assert scores["a"].tolist() == [3.0, 1.0, 2.0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("density", [1.0, 0.5, 0.01])
def test_gpu_keeps_the_same(density):
    scores = torch.randint(-50, 50, (10_007,), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(select({"a": scores}, density)["a"], select({"a": scores.cuda()}, density)["a"].cpu())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_single_weight_can_be_no_number(value):
    with pytest.raises(PruningError, match="'a'"):
        select({"a": torch.tensor([[value]])}, 0.5)


def test_a_layer_without_weights_has_no_say():
    masks = select({"a": torch.zeros(0, 3), "b": torch.tensor([[1.0, 2.0]])}, 0.5)
    assert masks["a"].shape == (0, 3) and masks["b"].tolist() == [[False, True]]


def test_ties_that_rounding_decides():
    scores = {"a": torch.tensor([4.0, 2.0, 2.00001, 1.99999]), "b": torch.tensor([2.0, 1.0, 3.0])}
    masks = {"a": torch.tensor([True, True, True, False]), "b": torch.tensor([False, False, True])}
    # Near 2: kept are 2.0 and 2.00001 of a; pruned 1.99999 of a and 2.0 of b. Two of the four kept may go.
    assert tied_share(scores, masks, "global") == 2 / 4
    # Within a: two kept and one pruned. Within b nothing is near 3.
    assert tied_share(scores, masks, "layer") == tied_share(scores, masks, "erk") == 1 / 4
    zeros = {"a": torch.tensor([1.0, 0.0, 0.0, 0.0])}
    assert tied_share(zeros, {"a": torch.tensor([True, True, False, False])}, "global") == 1 / 2
    assert tied_share(zeros, {"a": torch.zeros(4, dtype=torch.bool)}, "global") == 0
    negative = {"a": torch.tensor([-1.0, -1.000001, -2.0])}
    assert tied_share(negative, {"a": torch.tensor([True, False, False])}, "global") == 1
