"""Trials on Ray Tune, on this machine or on a cluster. Nothing else in `orchestrator` knows Ray."""

from orchestrator.driver.connection import connected, survey
from orchestrator.driver.gpus import require_gpus
from orchestrator.driver.probing import measured_shares
from orchestrator.driver.tuning import run_on_ray

__all__ = ["connected", "measured_shares", "require_gpus", "run_on_ray", "survey"]
