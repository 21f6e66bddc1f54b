"""Recompute what finished trials logged, in plain PyTorch: another way to the same numbers, sharing no shortcut."""

from orchestrator.audit.run import Audited, audit_run, load_finished, pick
from orchestrator.audit.sources import Sources

__all__ = ["Audited", "Sources", "audit_run", "load_finished", "pick"]
