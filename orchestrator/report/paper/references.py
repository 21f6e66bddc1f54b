"""BibTeX entries of the pruners, networks and datasets of a report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources

from pruners import PRUNERS
from search_spaces import Trial
from trainables.measures import MEASURES

SOFTWARE = "pruningsweeps"
# By the start of a network's name, the longest first; a library's prefix, as in torchvision/, does not count.
NETWORKS = {
    "wide-resnet": ("he2016deep", "zagoruyko2016wide"),
    "mobilenet": ("sandler2018mobilenetv2",),
    "resnet": ("he2016deep",),
    "swin": ("liu2021swin",),
    "deit": ("dosovitskiy2021image", "touvron2021training"),
    "vgg": ("simonyan2015very",),
    "vit": ("dosovitskiy2021image",),
}
NORMED = ("ioffe2015batch",)  # of names with "-bn" in them, beside the network itself
DATASETS = {
    "digits": ("alpaydin1998optical", "pedregosa2011scikit"),
    "mnist": ("lecun1998gradient",),
    "fashion-mnist": ("xiao2017fashion",),
    "cifar10": ("krizhevsky2009learning",),
    "cifar10-jpeg75": ("krizhevsky2009learning",),
    "cifar100": ("krizhevsky2009learning",),
    "svhn": ("netzer2011reading",),
    "tiny-imagenet": ("le2015tiny",),
    "imagenet": ("russakovsky2015imagenet",),
}


@cache
def entries() -> dict[str, str]:
    """Return the text of each entry of `references.bib` by its key."""
    text = (resources.files("orchestrator.report") / "paper" / "references.bib").read_text("utf-8")
    found = (entry.strip() for entry in re.split(r"\n(?=@)", text))
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in found}


def pruner_keys(pruner: str) -> tuple[str, ...]:
    """Return the keys of a pruner's papers; none for the user's own and for those without a paper."""
    return _by_title(PRUNERS[pruner].paper) if pruner in PRUNERS else ()


def measure_keys(measure: str) -> tuple[str, ...]:
    """Return the keys of a measure's paper."""
    return _by_title(MEASURES[measure].paper) if measure in MEASURES else ()


def network_keys(architecture: str) -> tuple[str, ...]:
    """Return the keys of a network's papers; none for the user's own and for plain ones."""
    name = architecture.rpartition("/")[2]
    for start, keys in NETWORKS.items():
        if name.startswith(start):
            return (*keys, *(NORMED if "-bn" in name or "_bn" in name else ()))
    return ()


def dataset_keys(dataset: str) -> tuple[str, ...]:
    """Return the keys of a dataset's paper; none for the user's own and for made-up images."""
    return DATASETS.get(dataset, ())


def cited(trials: Iterable[Trial]) -> tuple[list[str], list[str]]:
    """Return the keys of everything that the trials use, this software last, and the names that have no entry."""
    keys: dict[str, None] = {}
    without: dict[str, None] = {}
    for trial in trials:
        found = {
            trial.dataset: dataset_keys(trial.dataset),
            trial.architecture: () if trial.architecture_code else network_keys(trial.architecture),
            trial.pruner: () if trial.code else pruner_keys(trial.pruner),
            trial.measure: measure_keys(trial.measure),
        }
        for name, some in found.items():
            keys |= dict.fromkeys(some)
            if not some and name not in ("dense", "training", "mask"):
                without[name] = None
    return [*keys, SOFTWARE], list(without)


def _by_title(paper: str) -> tuple[str, ...]:
    """Return the keys of the papers in `Lee et al. 2019, SNIP: …`, of which titles may be cut at their end."""
    titles = [_plain(one.partition(", ")[2]) for one in paper.split("; ") if one]
    return tuple(key for title in titles for key, entry in entries().items() if _title(entry).startswith(title))


def _title(entry: str) -> str:
    found = re.search(r"^ *title *= \{(.*)\},?$", entry, re.MULTILINE)
    return _plain(found[1]) if found else ""


def _plain(text: str) -> str:
    return re.sub(r"\W", "", text.lower())
