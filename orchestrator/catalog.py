"""Everything a space may name, gathered from the rooms that offer it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pruners import GRANULARITIES, MODES, PRUNERS, SCHEDULES, SCOPES, lookup
from search_spaces import Catalog
from trainables import architectures, datasets


def catalog(cache: Path = Path("results/data")) -> Catalog:
    """The registries of pruners and trainables as one record.

    `cache` is where a dataset goes that must be had before it is known.
    """
    return Catalog(
        pruners=PRUNERS,
        architecture=architectures.lookup,
        dataset=partial(datasets.lookup, cache=cache),
        granularities=GRANULARITIES,
        scopes=SCOPES,
        schedules=SCHEDULES,
        modes=MODES,
        custom=lookup,
    )
