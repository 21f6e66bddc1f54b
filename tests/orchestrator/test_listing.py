"""`--list`: all that a space may name."""

from __future__ import annotations

from orchestrator.sweep import main
from pruners import PRUNERS
from search_spaces import presets
from trainables.architectures import ARCHITECTURES
from trainables.datasets import DATASETS, OWN
from trainables.measures import MEASURES


def test_every_name_has_a_line(capsys):
    assert main(["--list"]) == 0
    listed = [line.split(" ")[0] for line in capsys.readouterr().out.splitlines() if " " in line]
    assert listed == [*presets(), *PRUNERS, *ARCHITECTURES, *DATASETS, *OWN, *MEASURES]
