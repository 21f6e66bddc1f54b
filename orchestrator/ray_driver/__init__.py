"""Execution of trials by Ray Tune, on this machine or on a cluster. Nothing else in `orchestrator` imports Ray."""

from orchestrator.ray_driver.cluster import cluster_resources, ray_connection
from orchestrator.ray_driver.gpu_health import GpuHealth
from orchestrator.ray_driver.gpu_probe import measured_shares
from orchestrator.ray_driver.tune import run_on_ray
from orchestrator.ray_driver.whole_devices import measure_on_whole_devices

__all__ = [
    "GpuHealth",
    "cluster_resources",
    "measure_on_whole_devices",
    "measured_shares",
    "ray_connection",
    "run_on_ray",
]
