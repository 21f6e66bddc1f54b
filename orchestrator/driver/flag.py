"""A flag that the driver raises and every trial of the cluster sees: stop at the end of your epoch."""

from __future__ import annotations

import secrets

from ray.experimental import internal_kv

from orchestrator.stopping import Stop

NAMESPACE = b"pruning-sweeps"


class Flag:
    """Raised in the cluster's own store, which all nodes reach: the output folder might be one that few do."""

    def __init__(self, stop: Stop) -> None:
        """Not raised yet. `stop` is whose order it passes on."""
        self._stop = stop
        self._raised = False
        self.key = secrets.token_hex(8)

    def __enter__(self) -> Flag:
        return self

    def __exit__(self, *_: object) -> None:
        if self._raised:
            internal_kv._internal_kv_del(self.key, namespace=NAMESPACE)

    def raise_if_asked(self) -> bool:
        """Pass on the order to stop, if there is one; whether there is."""
        if self._stop() and not self._raised:
            self._raised = True
            internal_kv._internal_kv_put(self.key, b"1", namespace=NAMESPACE)
        return self._raised


def is_up(key: str) -> bool:
    """Whether the driver raised its flag. About a millisecond."""
    return bool(internal_kv._internal_kv_exists(key, namespace=NAMESPACE))
