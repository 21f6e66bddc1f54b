"""Trials handed to Tune as it has room for them."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from orchestrator.driver.packs import Packs


class Asking(Searcher):
    """Asks for Tune. Tune pickles its searchers: all that this one knows stays out of that."""

    def __init__(self, *known: Any) -> None:
        super().__init__()
        self._packs: Packs
        if known:
            (self._packs,) = known

    def __reduce__(self) -> tuple[type[Asking], tuple[()]]:
        return Asking, ()

    def suggest(self, trial_id: str) -> Any:
        """The trials of a new process as Tune's config; None if there are none now."""
        together = self._packs.new()
        if not together:
            return Searcher.FINISHED if self._packs.over else None
        first, *others = together
        return {"point": first} | ({"beside": others} if others else {})

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The callback tells that, and knows more."""

    def save(self, checkpoint_path: str) -> None:
        """There is nothing that would be restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Nor is it."""
