"""A watch that only listens."""

from __future__ import annotations


class Listener:
    """What the driver tells of a watch, kept in lists."""

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.over: set[str] = set()
        self.errors: dict[str, str | None] = {}
        self.notices: list[str] = []
        self.notice = self.notices.append

    def name_of(self, fingerprint: str) -> str:
        return fingerprint

    def started(self, fingerprint: str) -> None:
        self.begun.add(fingerprint)

    def ended(self, fingerprint: str, error: str | None = None, end: str | None = None) -> None:
        self.over.add(fingerprint)
        self.errors[fingerprint] = error
