"""The question: spaces, the trials they expand to, and the fingerprints that name them."""

from search_spaces.catalog import Catalog, PrunerTraits
from search_spaces.errors import SpaceError, choose
from search_spaces.expand import expand
from search_spaces.network import Network
from search_spaces.reading import load, presets
from search_spaces.space import Search, Space
from search_spaces.stages import stage
from search_spaces.trial import Cell, Trial, amount

__all__ = [
    "Catalog",
    "Cell",
    "Network",
    "PrunerTraits",
    "Search",
    "Space",
    "SpaceError",
    "Trial",
    "amount",
    "choose",
    "expand",
    "load",
    "presets",
    "stage",
]
