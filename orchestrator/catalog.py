"""Everything a space may name, gathered from the rooms that offer it."""

from __future__ import annotations

from pruners import GRANULARITIES, MODES, PRUNERS, SCHEDULES, SCOPES, lookup
from search_spaces import Catalog
from trainables import architectures, datasets


def catalog() -> Catalog:
    """The registries of pruners and trainables as one record."""
    return Catalog(
        pruners=PRUNERS,
        architecture=architectures.lookup,
        dataset=datasets.lookup,
        granularities=GRANULARITIES,
        scopes=SCOPES,
        schedules=SCHEDULES,
        modes=MODES,
        custom=lookup,
    )
