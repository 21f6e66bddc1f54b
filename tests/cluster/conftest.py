"""The kill matrix, printed as a table below the tests."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Victim by moment: whether nothing was lost, and how many epochs were computed once more."""
    cells: dict[str, dict[str, str]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            told = dict(report.user_properties)
            if "victim" in told:
                cost = f"ok, {told['again']} again" if outcome == "passed" else "FAILED"
                cells.setdefault(told["victim"], {})[told["moment"]] = cost
    if cells:
        moments = list(dict.fromkeys(moment for row in cells.values() for moment in row))
        terminalreporter.section("what was killed, when, and how many epochs were then computed again")
        for victim, row in {"": dict(zip(moments, moments, strict=True)), **cells}.items():
            terminalreporter.line("".join(f"{cell:16}" for cell in (victim, *(row.get(m, "") for m in moments))))
