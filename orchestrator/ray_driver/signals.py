"""Signals from the driver to trials anywhere in the cluster: stop all, stop one early, or avoid a GPU."""

from __future__ import annotations

import secrets

from ray.experimental import internal_kv

from orchestrator.live.interrupt import Stop
from orchestrator.ray_driver.gpu_health import Gpu

NAMESPACE = b"pruning-sweeps"


class Flag:
    """Flags in Ray's internal key-value store, which all nodes can reach; the output folder may not be shared."""

    def __init__(self, stop: Stop) -> None:
        """Create a flag that passes on the request of `stop`; nothing is written yet."""
        self._stop = stop
        self._raised = False
        self._put: set[str] = set()
        self.key = secrets.token_hex(8)

    def __enter__(self) -> Flag:
        return self

    def __exit__(self, *_: object) -> None:
        for key in (*([self.key] if self._raised else []), *self._put):
            internal_kv._internal_kv_del(key, namespace=NAMESPACE)

    def raise_if_asked(self) -> bool:
        """Raise the flag for all trials if `stop` requests it; return True if it is raised."""
        if self._stop() and not self._raised:
            self._raised = True
            internal_kv._internal_kv_put(self.key, b"1", namespace=NAMESPACE)
        return self._raised

    def avoid(self, gpu: Gpu, yes: bool) -> None:
        """Signal trials to leave a GPU, or with `yes=False` end that signal."""
        key = of_gpu(self.key, *gpu)
        if yes:
            self._raise(key)
        else:
            internal_kv._internal_kv_del(key, namespace=NAMESPACE)

    def give_up(self, fingerprint: str) -> None:
        """Signal one trial to stop early."""
        self._raise(of_one(self.key, fingerprint))

    def _raise(self, key: str) -> None:
        self._put.add(key)
        internal_kv._internal_kv_put(key, b"1", namespace=NAMESPACE)


def of_one(key: str, fingerprint: str) -> str:
    """Return the key of the flag that stops one trial early."""
    return f"{key}/{fingerprint}"


def of_gpu(key: str, node: str, number: str) -> str:
    """Return the key of the flag that marks a GPU to be avoided."""
    return f"{key}/gpu/{node}/{number}"


def is_up(key: str) -> bool:
    """Return True if the driver raised the flag `key`. Takes about a millisecond."""
    return bool(internal_kv._internal_kv_exists(key, namespace=NAMESPACE))
