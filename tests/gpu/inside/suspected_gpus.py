"""Suspect GPUs on a Ray with two of them, of which number 0 is dead; print what comes of it."""

from __future__ import annotations

import json
import math
import time

from orchestrator.environment import prepare_ray

prepare_ray(None)  # Ray reads it as it is imported

import ray  # noqa: E402

from orchestrator.ray_driver.gpu_health import CLEARED, Gpu, GpuHealth  # noqa: E402


@ray.remote(num_gpus=1, num_cpus=0)
def where() -> str:
    return str(ray.get_gpu_ids()[0])


def settle(health: GpuHealth) -> None:
    """Look until nothing is suspected."""
    while health.waiting:
        health.look()
        ray.wait([ray.put(0)], timeout=0.2)


def main() -> None:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    node = ray.get_runtime_context().get_node_id()
    dead, sound = Gpu(node, "0"), Gpu(node, "1")
    told: list[str] = []
    avoided: list[tuple[str, bool]] = []
    health = GpuHealth(told.append)
    health.avoid = lambda gpu, yes: avoided.append((gpu.number, yes))
    found: dict[str, object] = {}

    started = time.monotonic()
    for trial in ("a", "b", "c"):  # they shared the GPU, and died together
        health.died(trial, dead, started)
    found["deaths of one fault"] = "suspected" if health.waiting else "not suspected"
    health.died("a", dead, time.monotonic())
    settle(health)
    found["dead"] = [[gpu.number, why] for gpu, why in health.broken_gpus.items()]
    found["left"] = ray.get(where.remote())

    for _ in range(2):
        health.died("d", sound, time.monotonic())
    settle(health)
    found["sound"] = "kept" if sound in health.broken_gpus else "given back"
    assert ray.get(where.remote()) == "1"

    for trial in range(CLEARED):  # it computes when it is tried, but trials die on it and not elsewhere
        health.died(str(trial), sound, -math.inf)
        health.worked(str(trial), Gpu("another", "0"))
    for _ in range(4):  # twice as many as before: it was found sound once
        health.died("d", sound, time.monotonic())
    settle(health)
    found["blamed by trials that ended well elsewhere"] = sorted(gpu.number for gpu in health.broken_gpus)
    health.close()
    assert {ray.get(each) for each in [where.remote(), where.remote()]} <= {"0", "1"}
    print(json.dumps(found | {"told": told[:1], "avoided": avoided}))  # noqa: T201
    ray.shutdown()


if __name__ == "__main__":
    main()
