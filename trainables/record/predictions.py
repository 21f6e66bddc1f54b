"""Answers of a trained network to each test image, so that any two trials on one test set can be compared in pairs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

PREDICTIONS = "predictions.safetensors"  # a trial's file, in its folder
TEST_SET = "test_set"  # the key of the file's metadata
TYPES = (np.uint8, np.uint16, np.uint32)  # of classes: the smallest that holds them all


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers of a network to N test images, in the dataset's order."""

    dataset: str
    digest: str  # of the test set; with the same name and digest two files are about the same images
    top1: NDArray[np.bool_]  # [N], whether the highest logit is that of the image's class
    top5: NDArray[np.bool_]  # [N], whether it is among the five highest
    classes: NDArray[np.integer[Any]]  # [N], the class of the highest logit

    @property
    def test_set(self) -> tuple[str, str]:
        """Return the identity of the test set: only predictions on the same one can be compared."""
        return self.dataset, self.digest

    def to_bytes(self) -> bytes:
        """Return the content of a file: bits are packed eight to a byte, the first image in the highest bit."""
        kind = next(kind for kind in TYPES if self.classes.max(initial=0) <= np.iinfo(kind).max)
        tensors = {"top1": np.packbits(self.top1), "top5": np.packbits(self.top5), "classes": self.classes.astype(kind)}
        said = {"dataset": self.dataset, "digest": self.digest, "images": len(self.top1)}
        return save(tensors, {TEST_SET: json.dumps(said)})  # one entry: safetensors writes several in any order


def read_predictions(content: bytes) -> Predictions:
    """Return the predictions in the content of a file that `Predictions.to_bytes` made.

    Raises:
        ValueError: if it is not such a file, or incomplete.
    """
    try:
        packed = load(content)
        length = int.from_bytes(content[:8], "little")  # of the header; `load` leaves out its metadata
        said = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][TEST_SET])
        images, classes = int(said["images"]), packed["classes"]
        if len(classes) != images or any(len(packed[name]) != -(-images // 8) for name in ("top1", "top5")):
            raise ValueError(f"not of {images} images, as it says")
        top1, top5 = (np.unpackbits(packed[name], count=images).astype(bool) for name in ("top1", "top5"))
        return Predictions(said["dataset"], said["digest"], top1, top5, classes)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no file of predictions: {error}") from None
