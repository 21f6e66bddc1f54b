"""Trials on Ray Tune, on this machine or on a cluster. Nothing else in `orchestrator` knows Ray."""

from orchestrator.driver.connection import connected, survey
from orchestrator.driver.gpu_health import GpuHealth
from orchestrator.driver.probing import measured_shares
from orchestrator.driver.tuning import run_on_ray

__all__ = ["GpuHealth", "connected", "measured_shares", "run_on_ray", "survey"]
