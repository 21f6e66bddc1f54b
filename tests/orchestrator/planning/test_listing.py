"""`--list`: all that a space may name."""

from __future__ import annotations

from orchestrator.sweep import main
from pruners import PRUNERS
from search_spaces import presets
from trainables.architectures import ARCHITECTURES
from trainables.architectures.initialisation import INITIALISATIONS
from trainables.datasets import AUGMENTATIONS, DATASETS, OWN
from trainables.measures import MEASURES
from trainables.metrics import METRICS


def test_every_name_has_a_line(capsys):
    assert main(["--list"]) == 0
    listed = [line.split(" ")[0] for line in capsys.readouterr().out.splitlines() if " " in line]
    named = [*DATASETS, *OWN, *INITIALISATIONS, *AUGMENTATIONS, *MEASURES, *METRICS]
    assert listed == [*presets(), *PRUNERS, *ARCHITECTURES, *named]
