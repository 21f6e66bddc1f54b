"""What becomes of a cost that cannot be measured: the metric is absent, a tag says why, and the trial goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pruners.errors import OF_THE_MACHINE, in_one_line, is_out_of_memory

P = ParamSpec("P")
T = TypeVar("T")


class Unmeasured:
    """Why some costs of a trial are not known, by the cost's name."""

    def __init__(self) -> None:
        """All is known."""
        self.reasons: dict[str, str] = {}

    def attempt(self, cost: str, measure: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return what `measure` does; None, and note the reason, if the network does not let itself be measured.

        A machine that fails (its memory, its disk, its GPU) is no property of the network, and raises.
        """
        try:
            return measure(*args, **kwargs)
        except (*OF_THE_MACHINE, OSError):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.reasons[cost] = in_one_line(error)
            return None

    def tags(self) -> dict[str, str]:
        """Return a tag per cost: `unmeasured.model/peak_mb: RuntimeError: ...`."""
        return {f"unmeasured.{cost}": reason[:500] for cost, reason in self.reasons.items()}
