"""What a space may name, and what of it goes together: said or refused before anything trains."""

from orchestrator.planning.plan import Plan, plan

__all__ = ["Plan", "plan"]
