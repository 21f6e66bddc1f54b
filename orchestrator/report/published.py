"""Published accuracies, with their networks and pruners mapped to our names.

The rows are those of the public record with evidence `exact` (the authors' own data) or `transcribed` (typed from a
table). No number here is ours. Their networks and recipes are in `published_recipes.py`, so that a difference is not
mistaken for an error.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise

from orchestrator.report.published_recipes import Known, differing_fields, of_row
from orchestrator.report.recipe_fields import counterpart
from search_spaces import Trial

PRUNERS = {
    "rand": "random", "mag": "magnitude", "snip": "snip", "grasp": "grasp", "synflow": "synflow", "dense": "dense",
    "itersnip": "iter-snip", "ntksap": "ntk-sap", "rigl": "rigl", "rigl_erk": "rigl", "rigl_uniform": "rigl",
    "set": "set", "set_erk": "set", "gradual_magnitude": "gradual", "lth_rewind_epoch0": "imp",
    "static_random": "random",
}  # fmt: skip
ABLATIONS = {"shuffled": "shuffle", "reinit": "reinitialize", "inverted": "invert"}


@dataclass(frozen=True)
class Published:
    """One published result. Accuracies are in percent; `epoch` is `best` or `last`, or empty if not stated."""

    source: str
    figure: str
    dataset: str
    network: str  # as the source names it
    pruner: str
    ablation: str
    compression: float
    epochs: str
    top1: float
    std: float | None
    epoch: str
    known: Known  # our name of the network, and the recipe behind the number

    @property
    def title(self) -> str:
        """Return source and figure."""
        return f"{self.source}, {self.figure}"

    @property
    def architecture(self) -> str:
        """Return our name of the network."""
        return self.known.architecture


@cache
def published_rows() -> tuple[Published, ...]:
    """Return all rows that have a counterpart here."""
    text = resources.files("orchestrator.report").joinpath("published.csv").read_text("utf-8")
    return tuple(row for line in csv.DictReader(text.splitlines()) if (row := _row(line)) is not None)


def for_trial(trial: Trial, pruner: str) -> list[Published]:
    """Return the rows for a trial's dataset, architecture, pruner and ablation, at every compression."""
    where = counterpart(trial.dataset), trial.architecture
    return [
        row
        for row in published_rows()
        if (row.dataset, row.architecture) == where
        and row.pruner == pruner
        and row.ablation == trial.ablation
        and trial.granularity == "weight"  # all of them prune single weights
        and not trial.architecture_options  # with another width, it is another network
    ]


def at(rows: Sequence[Published], compression: float) -> tuple[float, str] | None:
    """Return their accuracy at a compression in percent, and "" or between which neighbours it was interpolated.

    Interpolation is in the logarithm of the compression, between neighbours at most four times apart. Return None
    elsewhere.
    """
    known = sorted(rows, key=lambda row: row.compression)
    for row in known:
        if abs(row.compression / compression - 1) < 0.01:
            return row.top1, ""
    for low, high in pairwise(known):
        if low.compression < compression < high.compression <= 4 * low.compression:
            share = math.log(compression / low.compression) / math.log(high.compression / low.compression)
            return low.top1 + share * (
                high.top1 - low.top1
            ), f"between {low.compression:.3g}x and {high.compression:.3g}x"
    return None


def known_differences(trial: Trial, row: Published) -> list[str]:
    """Return the known differences between a trial and a published result, in words."""
    from orchestrator.report.trial_recipe import facts  # imports torch, which most reports do not need

    said = []
    if trial.dataset != row.dataset:
        said.append(f"images: {trial.dataset} here stands in for {row.dataset}")
    theirs = row.known.recipe.of(row.dataset, row.architecture, row.pruner) | dict(row.known.fields)
    theirs |= {"epochs": int(row.epochs) if row.epochs.isdigit() else "not said"}
    said += [difference.words for difference in differing_fields(theirs, facts(trial, theirs))]
    for note in row.known.recipe.notes:
        if note.get("network", row.network) == row.network and note.get("pruner", row.pruner) == row.pruner:
            said += [note["says"]] if note.get("figure", "") in row.figure else []
    if row.epoch == "best":
        said.append("theirs is the best epoch on the test set; compared with our best epoch, not our last")
    elif not row.epoch:
        said.append("they do not say whether theirs is the best or the last epoch; compared with our last")
    return said


def _row(line: dict[str, str]) -> Published | None:
    name, _, suffix = line["pruner"].partition("_")
    ablated = suffix in ABLATIONS
    pruner = PRUNERS.get(name if ablated else line["pruner"])
    known = of_row(line["source"], line["figure_or_table"], line["architecture"])
    if pruner is None or known is None or "MISLABELLED" in line["notes"].upper():
        return None
    notes = line["notes"]
    epoch = "best" if re.search(r"best-epoch test acc", notes, re.I) else "last" if "last-epoch" in notes else ""
    return Published(
        source=line["source"],
        figure=line["figure_or_table"],
        dataset=line["dataset"],
        network=line["architecture"],
        pruner=pruner,
        ablation=ABLATIONS[suffix] if ablated else "none",
        compression=float(line["compression_x"]),
        epochs=line["epochs"].partition(" ")[0].lstrip("~") if line["epochs"] else "",
        top1=float(line["top1_mean"]),
        std=float(line["top1_std"]) if line["top1_std"] else None,
        epoch=epoch,
        known=known,
    )
