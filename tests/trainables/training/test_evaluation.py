"""Accuracies are counted over examples, not averaged over batches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainables.distributed import ALONE
from trainables.training.evaluation import PredictionRecorder, evaluate


def test_uneven_batches_count_by_their_examples():
    logits = torch.tensor([[4.0, 0, 0, 0, 0, 0], [0, 4.0, 0, 0, 0, 0], [4.0, 3, 2, 1, 0.5, 0]])
    labels = torch.tensor([0, 0, 5])  # right; in the best five; the one class that is not
    found = evaluate(nn.Identity(), [(logits[:2], labels[:2]), (logits[2:], labels[2:])])
    assert found["top1"] == pytest.approx(1 / 3)
    assert found["top5"] == pytest.approx(2 / 3)
    assert found["loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item())


def test_the_recorder_has_the_answers_of_the_last_test_in_order():
    logits = torch.tensor([[4.0, 0, 0, 0, 0, 0], [0, 4.0, 0, 0, 0, 0], [4.0, 3, 2, 1, 0.5, 0]])
    labels, recorder = torch.tensor([0, 0, 5]), PredictionRecorder()
    assert recorder.result("d", "") is None
    recorder.add(torch.tensor([[3]]), torch.tensor([[True]]))  # of a test that was broken off
    evaluate(nn.Identity(), [(logits[:2], labels[:2]), (logits[2:], labels[2:])], ALONE, recorder)
    found = recorder.result("d", "7")
    assert found.test_set == ("d", "7")
    assert found.top1.tolist() == [True, False, False] and found.top5.tolist() == [True, True, False]
    assert found.classes.tolist() == [0, 1, 0]


def test_with_few_classes_top5_is_any_class():
    assert evaluate(nn.Identity(), [(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))])["top5"] == 1


def test_equal_logits_are_chance():
    found = evaluate(nn.Identity(), [(torch.zeros(10, 10), torch.arange(10))])
    assert found["loss"] == pytest.approx(math.log(10))


def test_the_model_is_in_eval_mode():
    model = nn.Dropout(0.5)
    x = torch.ones(4, 6)
    assert evaluate(model, [(x, torch.zeros(4, dtype=torch.int64))])["top5"] == 1
    assert not model.training


def test_no_batches_is_an_error():
    with pytest.raises(ValueError, match="no batches"):
        evaluate(nn.Identity(), [])
