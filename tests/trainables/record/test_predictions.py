"""A file of predictions gives back what was put into it, and says what is wrong with any other file."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save

from trainables.record.predictions import Predictions, read_predictions

BITS = np.array([True, False, False, True, True, False, True, False, True, True])


def stored(classes: list[int]) -> bytes:
    return Predictions("digits", "0123", BITS, ~BITS, np.array(classes, dtype=np.int64)).to_bytes()


def test_what_is_stored_is_read_again() -> None:
    found = read_predictions(stored([0, 3, 255, *range(7)]))
    assert found.test_set == ("digits", "0123")
    assert found.top1.tolist() == BITS.tolist() and found.top5.tolist() == (~BITS).tolist()
    assert found.classes.tolist() == [0, 3, 255, *range(7)]


@pytest.mark.parametrize(("largest", "kind"), [(255, "uint8"), (256, "uint16"), (70_000, "uint32")])
def test_the_smallest_type_that_holds_all_classes(largest: int, kind: str) -> None:
    packed = load(stored([largest, *range(9)]))
    assert packed["classes"].dtype == kind and packed["classes"][0] == largest
    assert packed["top1"].nbytes == packed["top5"].nbytes == 2  # of ten images


SPOILT = {
    "no safetensors": b"abc",
    "cut off": stored(list(range(10)))[:-1],
    "another file": save({"layer.weight": np.zeros(3)}),
    "of more images": save({"top1": np.packbits(BITS), "top5": np.packbits(BITS), "classes": np.zeros(10)},
                           {"test_set": '{"dataset": "d", "digest": "", "images": 17}'}),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_another_file_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^no file of predictions: "):
        read_predictions(SPOILT[name])
