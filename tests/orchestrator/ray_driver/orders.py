"""Orders to trials that nobody follows."""

from __future__ import annotations


class Orders:
    """The driver's flag, with nothing behind it."""

    def raise_if_asked(self):
        return False
