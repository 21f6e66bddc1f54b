"""Scores of any type compare as the numbers they are; against Python's own exact comparison."""

import pytest
import torch

from pruners import PruningError, select
from pruners.ablations import inverted
from pruners.comparable import comparable
from pruners.selection import tied_share

BIG = 2**53
ROWS = {
    "int64 beyond float64": [torch.tensor([BIG, BIG + 1, BIG + 2, -BIG - 1, -BIG, 0])],
    "int64 at its ends": [torch.tensor([2**63 - 1, 2**63 - 2, -(2**63), -(2**63) + 1, 2**62 + 1, 2**62])],
    "int64 beyond float32": [torch.arange(2**30, 2**30 + 9)],
    "int32": [torch.tensor([2**31 - 1, 2**31 - 2, -(2**31)], dtype=torch.int32)],
    "uint8": [torch.tensor([255, 0, 7], dtype=torch.uint8)],
    "bool": [torch.tensor([True, False, True])],
    "float16 and bfloat16": [
        torch.tensor([1.001, 2.0, 1.0], dtype=torch.float16),
        torch.tensor([1.008, 2.0, 3.0], dtype=torch.bfloat16),
    ],
    "float64 and float32": [torch.tensor([1 / 3, 0.5], dtype=torch.float64), torch.tensor([1 / 3, 0.5])],
    "int64 and float64": [
        torch.tensor([BIG + 1, BIG, BIG + 3, 5]),
        torch.tensor([float(BIG), BIG + 2.0, 5.5, -1e300, 1e300], dtype=torch.float64),
    ],
    "int64 and float32 near 2**63": [torch.tensor([2**63 - 1, 2**63 - 2**10, 1]), torch.tensor([2.0**63, -(2.0**63)])],
    "int64 and halves": [torch.tensor([BIG + 1, 0, 1, -1]), torch.tensor([0.5, -0.5, 0.0, -0.0])],
    "zeros of both signs": [torch.tensor([0.0, -0.0, 1e-45])],
}


@pytest.mark.parametrize("rows", ROWS)
def test_order_is_that_of_the_exact_numbers(rows):
    scores = dict(zip("abc", ROWS[rows], strict=False))
    exact = [number for score in scores.values() for number in score.tolist()]  # Python compares int and float exactly
    found = torch.cat([score.flatten() for score in comparable(scores).values()]).tolist()
    for i, one in enumerate(exact):
        for j, other in enumerate(exact):
            assert (found[i] < found[j], found[i] == found[j]) == (one < other, one == other), (one, other)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("kept", [1, 2, 3])
@pytest.mark.parametrize("ablation", [False, True])
def test_selection_is_that_of_the_exact_numbers(rows, kept, ablation):
    scores = dict(zip("abc", ROWS[rows], strict=False))
    exact = [number for score in scores.values() for number in score.tolist()]
    order = sorted(range(len(exact)), key=lambda i: ((1 if ablation else -1) * exact[i], i))
    masks = select(inverted(scores) if ablation else scores, kept / len(exact))
    assert torch.cat(list(masks.values())).nonzero().flatten().tolist() == sorted(order[:kept])


def test_the_dead_stay_dead_beside_the_lowest_integer():
    scores = {"a": torch.tensor([-(2**63), 5, -(2**63), 3])}
    masks = select(scores, 0.5, {"a": torch.tensor([False, False, True, True])})
    assert masks["a"].tolist() == [False, False, True, True]


def test_float32_is_not_copied():
    score = torch.rand(5)
    assert comparable({"a": score})["a"].data_ptr() == score.data_ptr()


def test_ties_of_integers():
    scores = {"a": torch.tensor([3, 1, 1, 1], dtype=torch.uint8)}
    assert tied_share(scores, {"a": torch.tensor([True, True, False, False])}, "global") == 1 / 2
    assert (
        tied_share({"a": torch.tensor([True, True, False])}, {"a": torch.tensor([True, False, False])}, "global") == 1
    )


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_what_has_no_order_is_refused(scope):
    with pytest.raises(PruningError, match="'b' are complex"):
        select({"a": torch.ones(2), "b": torch.ones(2) + 1j}, 0.5, scope=scope)
    with pytest.raises(PruningError, match=r"below 2\*\*63"):
        select({"a": torch.tensor([-1, 1]).view(torch.uint64)}, 0.5)
