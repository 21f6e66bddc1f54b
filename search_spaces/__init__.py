"""Spaces: what a sweep runs, the cells and trials that it expands to, and the fingerprints of trials."""

from search_spaces.catalog import Catalog
from search_spaces.errors import SpaceError
from search_spaces.grid import Grid, Point, expand
from search_spaces.load import load, presets
from search_spaces.namesakes import warn_of_namesakes
from search_spaces.network import Network
from search_spaces.point import stage
from search_spaces.search import EarlyStopping, Range, Search, UntilDecided
from search_spaces.space import Space
from search_spaces.studies import Study, studies
from search_spaces.trial import TRAINING, Cell, Trial, amount

__all__ = [
    "TRAINING",
    "Catalog",
    "Cell",
    "EarlyStopping",
    "Grid",
    "Network",
    "Point",
    "Range",
    "Search",
    "Space",
    "SpaceError",
    "Study",
    "Trial",
    "UntilDecided",
    "amount",
    "expand",
    "load",
    "presets",
    "stage",
    "studies",
]

warn_of_namesakes()
