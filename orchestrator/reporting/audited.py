"""How many of a report's trials were audited, and which of them differ from what they logged."""

from __future__ import annotations

from orchestrator.comparing.measured import trained
from orchestrator.reading.results import Results
from orchestrator.tracking.audits import TAG


def audit_words(results: Results) -> tuple[str, list[str]]:
    """Return a sentence on all trained networks, and a line for each that differs; "" if none was trained."""
    known = trained(results)
    finished = {row.run_id: row for row in (*known.rows, *known.tried) if row.status == "finished"}
    if not finished:
        return "", []
    told = {run_id: row.tags[TAG] for run_id, row in finished.items() if row.tags.get(TAG)}
    differing = [
        f"{results.trials[finished[run_id].cell.fingerprint].name} ({run_id}) {words}"
        for run_id, words in told.items()
        if words.startswith("differs")
    ]
    many = f"{len(told)} of {len(finished)} finished trials {'was' if len(told) == 1 else 'were'} audited"
    if not told:
        return f"{many}: python -m orchestrator.audit recomputes them in plain PyTorch.", []
    came = f"{len(differing)} DIFFER{'S' * (len(differing) == 1)} from what was logged" if differing else "all agree"
    return f"{many}, that is recomputed in plain PyTorch and counted again: {came}.", differing
