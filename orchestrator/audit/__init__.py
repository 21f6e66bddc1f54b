"""Audits of finished trials: recompute what they logged, in plain PyTorch and without any of the fast paths."""

from orchestrator.audit.run import Audited, audit_run, load_finished, pick
from orchestrator.audit.sources import Sources

__all__ = ["Audited", "Sources", "audit_run", "load_finished", "pick"]
