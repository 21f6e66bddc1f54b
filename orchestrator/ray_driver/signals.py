"""What the driver tells trials anywhere in the cluster: all of them, or one, stop after their epoch."""

from __future__ import annotations

import secrets

from ray.experimental import internal_kv

from orchestrator.live.interrupt import Stop
from orchestrator.ray_driver.gpu_health import Gpu

NAMESPACE = b"pruning-sweeps"


class Flag:
    """Raised in the cluster's own store, which all nodes reach: the output folder might be one that few do."""

    def __init__(self, stop: Stop) -> None:
        """Not raised yet. `stop` is whose order it passes on."""
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
        """Pass on the order to stop, if there is one; whether there is."""
        if self._stop() and not self._raised:
            self._raised = True
            internal_kv._internal_kv_put(self.key, b"1", namespace=NAMESPACE)
        return self._raised

    def avoid(self, gpu: Gpu, yes: bool) -> None:
        """Tell trials that they are, or are no longer, to leave a GPU."""
        key = of_gpu(self.key, *gpu)
        if yes:
            self._raise(key)
        else:
            internal_kv._internal_kv_del(key, namespace=NAMESPACE)

    def give_up(self, fingerprint: str) -> None:
        """Tell one trial that it is not worth more epochs."""
        self._raise(of_one(self.key, fingerprint))

    def _raise(self, key: str) -> None:
        self._put.add(key)
        internal_kv._internal_kv_put(key, b"1", namespace=NAMESPACE)


def of_one(key: str, fingerprint: str) -> str:
    """The key of the flag for one trial."""
    return f"{key}/{fingerprint}"


def of_gpu(key: str, node: str, number: str) -> str:
    """The key of the flag on a GPU that is to be avoided."""
    return f"{key}/gpu/{node}/{number}"


def is_up(key: str) -> bool:
    """Whether the driver raised its flag. About a millisecond."""
    return bool(internal_kv._internal_kv_exists(key, namespace=NAMESPACE))
