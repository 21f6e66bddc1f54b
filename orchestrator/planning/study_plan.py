"""Search of a plan: the studies of its space, and the trials they will request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from search_spaces import Grid, Study, Trial


@dataclass(frozen=True)
class StudyPlan:
    """Studies of a space."""

    grid: Grid
    studies: tuple[Study, ...]

    @property
    def budget(self) -> int:
        """Return how many trials all studies request together, with the fresh seeds of their best."""
        search = self.grid.space.search
        return sum(self._trials) + search.confirm_seeds * len(self.studies) if search else 0

    @property
    def _trials(self) -> list[int]:
        """Return how many trials each study requests: no more than it has settings to try."""
        search = self.grid.space.search
        asked = search.trials if search else 0
        return [asked if study.settings is None else min(asked, study.settings) for study in self.studies]

    @property
    def words(self) -> str:
        """Return one line that says what will be searched."""
        search = self.grid.space.search
        if search is None:
            return ""
        studies = "1 study" if len(self.studies) == 1 else f"{len(self.studies)} studies"
        again = f", the best of each again with {search.confirm_seeds} fresh seeds" if search.confirm_seeds else ""
        fewest, most = min(self._trials, default=0), max(self._trials, default=0)
        each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        all_ = f" (of {search.trials}: there are no more settings to try)" if fewest < search.trials else ""
        return f"{studies} of {each} trials{all_} for {' and '.join(search.objective)}{again}"

    def examples(self) -> Iterator[Trial]:
        """Yield the trials at both ends of the ranges of each searched point: if they are valid, all between are."""
        for study in self.studies:
            for point in study.points:
                ranges = self.grid.ranges(point)
                for end in (0, -1):
                    yield self.grid.at(point, {key: found.ends[end] for key, found in ranges.items()})[1]

    def record(self) -> dict[str, Any]:
        """Return the settings of the search, as a report needs them; empty if there is none."""
        search = self.grid.space.search
        return search.model_dump(mode="json", exclude={"storage"}) if search else {}
