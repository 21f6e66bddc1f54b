"""What tells pruners apart in every figure."""

from __future__ import annotations

import pytest

from orchestrator.colors import KNOWN, look


def test_known_pruners_can_be_told_apart() -> None:
    looks = [look(name) for name in KNOWN]
    assert len({entry.color for entry in looks}) == len({entry.marker for entry in looks}) == len(KNOWN)


def test_a_look_depends_on_the_label_alone() -> None:
    assert look("my-own") == look("my-own")
    assert look("snip scope=layer").dash != look("snip").dash


@pytest.mark.parametrize("settings", ["imp levels=1,2,3", "synflow iterations=1,10,100", "snip scope=layer,erk"])
def test_variants_of_a_pruner_can_be_told_apart(settings: str) -> None:
    key, _, values = settings.partition("=")
    looks = [look(f"{key}={value}") for value in values.split(",")]
    assert len({(entry.color, entry.marker) for entry in looks}) == len(looks)
    assert len({(entry.color, entry.dash) for entry in looks}) == len(looks)
