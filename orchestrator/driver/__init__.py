"""Trials on Ray Tune, on this machine or on a cluster. Nothing else in `orchestrator` knows Ray."""

from orchestrator.driver.connection import connected
from orchestrator.driver.tuning import run_on_ray

__all__ = ["connected", "run_on_ray"]
