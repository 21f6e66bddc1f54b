"""Everything a space may name, gathered from the rooms that offer it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from orchestrator.planning.given_masks import find
from pruners import GRANULARITIES, MODES, PRUNERS, SCHEDULES, SCOPES, lookup
from search_spaces import Catalog
from search_spaces.catalog import MaskTraits
from trainables import architectures, datasets
from trainables.measures import MEASURES


def catalog(cache: Path = Path("results/data"), mask: Callable[[str], MaskTraits] | None = None) -> Catalog:
    """The registries of pruners and trainables as one record.

    `cache` is where a dataset goes that must be had before it is known; `mask` finds masks that a space names,
    by default those in files.
    """
    return Catalog(
        pruners=PRUNERS,
        architecture=architectures.lookup,
        dataset=partial(datasets.lookup, cache=cache),
        granularities=GRANULARITIES,
        scopes=SCOPES,
        schedules=SCHEDULES,
        modes=MODES,
        mask=mask or partial(find, tracking_uri=""),
        custom=lookup,
        measures=MEASURES,
    )
