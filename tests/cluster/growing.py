"""A cluster on this machine whose workers Ray starts and ends by itself, and a sweep on it.

python tests/cluster/growing.py FOLDER    writes into FOLDER/seen.json how many workers there were, one after the other

Only in process and network namespaces of its own: Ray's helper for such clusters begins and ends by stopping every Ray
that it can see, and listens on Ray's usual port.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import ray
import yaml
from harness import OPEN, Server, Sweep, until
from ray.cluster_utils import AutoscalingCluster

WORKERS = 2
EPOCHS = 20
GRID = ("digits", "--set", "architecture=mlp", "--set", "pruner=random", "--set", "compression=4")
GRID += ("--set", "seed=[0, 1, 2, 3, 4, 5]", "--set", f"epochs={EPOCHS}")
VERSION = {"RAY_enable_autoscaler_v2": "0"}  # the second version wants the example file as well


class Growing(AutoscalingCluster):
    """As Ray's own, without the example file that Ray's package lacks."""

    def _generate_config(self, head_resources: dict[str, float], worker_node_types: Any, **ignored: Any) -> Any:
        head = {"resources": head_resources, "node_config": {}, "max_workers": 0}
        lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
        nothing: dict[str, Any] = {f"{name}_commands": [] for name in lists}
        nothing |= {"auth": {}, "docker": {}, "file_mounts": {}, "cluster_synced_files": []}
        provider = {"disable_launch_config_check": True, "disable_node_updaters": True, "foreground_node_launch": True}
        return nothing | {
            "cluster_name": "growing",
            "max_workers": WORKERS,
            "upscaling_speed": 9999,
            "idle_timeout_minutes": 0.1,
            "provider": {"type": "fake_multinode", "use_node_id_as_ip": True, **provider},
            "available_node_types": worker_node_types | {"ray.head.default": head},
            "head_node_type": "ray.head.default",
        }


def main(folder: Path) -> None:
    """Run the sweep, wait until the last worker is gone, and tell."""
    _raise_loopback()
    cluster = Growing(
        {"CPU": 0}, {"cpu": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": WORKERS}}
    )
    # As `ray up` leaves it on a head: there the sweep reads what may still come.
    home = folder / "home"
    home.mkdir()
    (home / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(cluster._config), encoding="utf-8")
    cluster.start()
    ray.init(address="auto", log_to_driver=False)
    seen = [0]

    def workers() -> int:
        now = sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())
        if now != seen[-1]:
            seen.append(now)
        return now

    assert workers() == 0
    server = Server(folder, f"sqlite:///{folder / 'mlflow.db'}")
    sweep = Sweep(folder, (*GRID, "--address", "auto", "--tracking-uri", server.uri), EPOCHS)
    driver = sweep.start()
    until(lambda: workers() == 0 and driver.poll() is not None, "the sweep ends and the workers go", 400, 0.2)
    assert driver.returncode == 0, driver.communicate()[0]
    told = {"workers": seen, "finished": len(sweep.results(server.uri, "digits"))}
    (folder / "seen.json").write_text(json.dumps(told), encoding="utf-8")


def _raise_loopback() -> None:
    """In a new network namespace even loopback is down, and `ip` is not installed everywhere."""
    set_flags, up = 0x8914, 1  # SIOCSIFFLAGS, IFF_UP
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH14x", b"lo", up))


if __name__ == "__main__":
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"  # where `ray` is, which starts the workers
    os.environ |= OPEN | VERSION | {"PATH": path}
    main(Path(sys.argv[1]))
