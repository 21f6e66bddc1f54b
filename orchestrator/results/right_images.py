"""Which test images each finished trial got right, read from the predictions that trials store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from orchestrator.results.results import Results
from trainables.record.predictions import PREDICTIONS, read_predictions


@dataclass(frozen=True, eq=False)
class RightImages:
    """Images that one trained network got right, on a test set with this name and digest."""

    test_set: tuple[str, str]
    top1: NDArray[np.bool_]  # [N], in the dataset's order


@lru_cache(maxsize=2)
def right_images(results: Results) -> dict[str, RightImages]:
    """Return what is stored, by run id. Runs of earlier versions, and files that cannot be read, are left out."""
    run_ids = [row.run_id for row in results.rows if row.status == "finished" and "final/top1" in row.metrics]
    found = {}
    for run_id, content in results.details.files(run_ids, PREDICTIONS):
        try:
            stored = read_predictions(content)
        except ValueError:
            continue
        found[run_id] = RightImages(stored.test_set, stored.top1)
    return found
