"""Plan of a sweep: what a space may name, and checks that its parts fit together before anything trains."""

from orchestrator.planning.plan import Plan, plan

__all__ = ["Plan", "plan"]
