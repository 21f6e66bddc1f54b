"""Optuna studies of a space: they choose trials one at a time, and receive the results.

Optuna's storage holds the whole state of a search. If a driver dies, its storage has trials that were asked but not
told, and the next driver hands out those again. Results are in each trial's own event log, as for any trial.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import optuna
from optuna.distributions import CategoricalChoiceType
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search_spaces import Cell, Grid, Point, Range, Study, Trial
from trainables.metrics import OBJECTIVES, at_end


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's sampler for its name in a space (`search_spaces.Search`)."""
    makers: dict[str, Callable[..., optuna.samplers.BaseSampler]] = {
        "tpe": optuna.samplers.TPESampler,
        "gp": optuna.samplers.GPSampler,
        "cmaes": optuna.samplers.CmaEsSampler,
        "nsga2": optuna.samplers.NSGAIISampler,
        "random": optuna.samplers.RandomSampler,
    }
    return makers[name](seed=seed % 2**32)


def suggest(trial: optuna.Trial, key: str, values: Range | tuple[CategoricalChoiceType, ...]) -> Any:
    """Return a value for `key` that the study chooses from a range or from the values of an axis."""
    if isinstance(values, tuple):
        return trial.suggest_categorical(key, values)
    if values.choices is not None:
        return trial.suggest_categorical(key, values.choices)
    assert values.low is not None and values.high is not None  # a range without choices has bounds
    if values.whole:
        return trial.suggest_int(key, int(values.low), int(values.high), step=int(values.step or 1), log=values.log)
    return trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)


Result = Mapping[str, float]  # last value of each metric of a trial


@dataclass(frozen=True)
class SuggestedTrial:
    """Trial that a study asked for, with the chosen values."""

    point: Point
    values: Mapping[str, Any]
    cell: Cell
    trial: Trial


@dataclass
class RunningStudy:
    """Study of a space, with its trials so far."""

    study: Study
    optuna: optuna.Study
    asked: dict[int, SuggestedTrial] = field(default_factory=dict)  # by Optuna's trial number
    open: set[int] = field(default_factory=set)  # numbers of trials without a result yet
    tried: set[str] = field(default_factory=set)  # different settings among those asked for

    @property
    def exhausted(self) -> bool:
        """True if every setting that there is was asked for, so that another trial could only repeat one."""
        return self.study.settings is not None and len(self.tried) >= self.study.settings


class StudySearcher:
    """Search of one space: all its studies."""

    def __init__(
        self, grid: Grid, studies: Sequence[Study], storage: BaseStorage, result: Callable[[str], Result | None]
    ) -> None:
        """Create the studies in `storage`, or continue them.

        `result` returns the metrics of a finished trial by fingerprint, and None if it has not finished.
        """
        assert grid.space.search is not None
        self._grid, self._result, self._search = grid, result, grid.space.search
        self._running: set[str] = set()  # fingerprints of trials that were handed out and have not ended
        self._without_result: dict[str, int | None] = {}  # fingerprint -> epochs if stopped early, None if failed
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.studies = tuple(RunningStudy(study, self._open(study, storage)) for study in studies)
        for running in self.studies:
            self._remember(running)
        self._again = [running.asked[number] for running in self.studies for number in sorted(running.open)]

    @property
    def asked(self) -> Iterator[SuggestedTrial]:
        """All trials that were asked for so far, including those of earlier drivers."""
        return (asked for running in self.studies for asked in running.asked.values())

    def left(self, running: RunningStudy) -> int:
        """Return how many trials a study may still ask for; none if all of its settings were asked for."""
        return 0 if running.exhausted else max(0, self._search.trials - len(running.asked))

    @property
    def unasked(self) -> int:
        """Number of trials that all studies together may still ask for."""
        return sum(map(self.left, self.studies))

    @property
    def to_come(self) -> int:
        """Number of trials that are not known yet: `unasked`, plus the fresh seeds of studies that are not over."""
        unfinished = sum(bool(self.left(running) or running.open) for running in self.studies)
        return self.unasked + self._search.confirm_seeds * unfinished

    @property
    def exhausted(self) -> tuple[str, ...]:
        """Names of the studies that were given more trials than there are settings to try, and have tried all."""
        return tuple(
            running.study.name
            for running in self.studies
            if running.exhausted and len(running.tried) < self._search.trials
        )

    @property
    def over(self) -> bool:
        """True if every study has asked for all its trials and has their results."""
        return not any(self.left(running) or running.open for running in self.studies)

    def next(self, parallel: int) -> Trial | None:
        """Return the next trial to run, from the study with the fewest trials; None if all wait for results.

        No study has more than `parallel` trials without a result: with more, each choice is based on fewer results.
        """
        while self._again:
            trial = self._again.pop(0).trial
            if not self._answered(trial.fingerprint):
                return trial
        for running in sorted(self.studies, key=lambda running: len(running.asked)):
            while self.left(running) and len(running.open) < parallel:
                trial = self._ask(running).trial
                if not self._answered(trial.fingerprint):
                    return trial
        return None

    def knows(self, fingerprint: str) -> bool:
        """Return True if the trial has a result that can be read here."""
        return self._result(fingerprint) is not None

    def ended(self, fingerprint: str, stopped_after: int | None = None) -> None:
        """Tell the studies that a trial is over; `stopped_after` is its number of epochs if it was stopped early."""
        result = self._result(fingerprint)
        self._running.discard(fingerprint)
        if result is None:
            self._without_result[fingerprint] = stopped_after
        for running in self.studies:
            for number in [n for n in running.open if running.asked[n].trial.fingerprint == fingerprint]:
                self._tell(running, number, result, stopped_after)

    def best(self) -> tuple[tuple[Cell, Trial], ...]:
        """Return the best settings of each searched cell whose study is over, as cells, with fresh seeds if requested.

        Studies without a result give nothing; neither does a search with several objectives, which has no single best.
        """
        chosen: list[tuple[Cell, Trial]] = []
        for running in self.studies:
            if len(self._search.objective) > 1 or self.left(running) or running.open:
                continue
            for points, asked in self._winners(running):
                first = asked.trial.seed
                seeds = range(first + 1, first + 1 + self._search.confirm_seeds) or (first,)
                for point in points:
                    at = [
                        self._grid.at({**point, "seed": seed}, asked.values, study=running.study.name) for seed in seeds
                    ]
                    chosen += at
        return tuple(chosen)

    def _open(self, study: Study, storage: BaseStorage) -> optuna.Study:
        """Create or load the Optuna study; other trials, ranges, objectives or samplers make it a different study."""
        ranges = [self._grid.ranges(point) for point in study.points]
        first = [{key: found.ends[0] for key, found in each.items()} for each in ranges]
        question = {
            "trials": [self._grid.at(*at)[1].fingerprint for at in zip(study.points, first, strict=True)],
            "ranges": [{key: found.model_dump() for key, found in each.items()} for each in ranges],
            "search": self._search.model_dump(include={"objective", "sampler", "per"}),
        }
        digest = hashlib.sha256(json.dumps(question, sort_keys=True, default=str).encode()).hexdigest()[:8]
        made = optuna.create_study(
            storage=storage,
            study_name=f"{study.name} [{digest}]",
            directions=[OBJECTIVES[name] for name in self._search.objective],
            load_if_exists=True,
        )
        with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
            made.set_metric_names(list(self._search.objective))  # else optuna-dashboard shows "Objective 0"
        begun = len(made.get_trials(deepcopy=False))
        made.sampler = sampler(self._search.sampler, int(digest, 16) + begun)  # a continued study draws new values
        for settings in self._search.first if not begun else ():
            made.enqueue_trial(settings)
        return made

    def _remember(self, running: RunningStudy) -> None:
        """Load the trials that earlier drivers asked for."""
        for frozen in running.optuna.get_trials(deepcopy=False):
            if frozen.state is TrialState.WAITING:
                continue
            try:
                self._register(running, frozen.number, partial(_chosen, frozen))
            except KeyError:  # the driver died while asking, so the trial was never run
                running.optuna.tell(frozen.number, state=TrialState.FAIL, skip_if_finished=True)
                continue
            if frozen.state is TrialState.RUNNING:
                running.open.add(frozen.number)
                _sign(running.asked[frozen.number], optuna.Trial(running.optuna, frozen._trial_id))

    def _ask(self, running: RunningStudy) -> SuggestedTrial:
        trial = running.optuna.ask()
        asked = self._register(running, trial.number, lambda key, values: suggest(trial, key, values))
        _sign(asked, trial)
        running.open.add(trial.number)
        return asked

    def _register(self, running: RunningStudy, number: int, choose: Callable[[str, Any], Any]) -> SuggestedTrial:
        point = self._point(running.study, choose)
        values = {key: choose(key, found) for key, found in self._grid.ranges(point).items()}
        cell, trial = self._grid.at(point, values, "search", running.study.name)
        running.asked[number] = SuggestedTrial(point, values, cell, trial)
        running.tried.add(json.dumps([point, values], default=str))
        return running.asked[number]

    def _point(self, study: Study, choose: Callable[[str, Any], Any]) -> Point:
        """Return one of the study's points; if it spans several axes, Optuna chooses the value of each axis too."""
        if self._search.per == "cell":
            return study.points[0]
        axes = self._grid.space.axes
        labels = {key: {self._grid.label(key, value): value for value in axes[key]} for key in self._grid.space.varied}
        chosen = {key: values[choose(key, tuple(values))] for key, values in labels.items()}
        return {key: chosen.get(key, values[0]) for key, values in axes.items()}

    def _answered(self, fingerprint: str) -> bool:
        """Return False if the trial must be computed now; otherwise its studies get its result, now or when it ends.

        Samplers ask for known points again: always if a space has few points, and sometimes otherwise.
        """
        if fingerprint in self._running:  # the studies are told when it ends
            return True
        if fingerprint in self._without_result or self._result(fingerprint) is not None:
            self.ended(fingerprint, self._without_result.get(fingerprint))
            return True
        self._running.add(fingerprint)
        return False

    def _tell(self, running: RunningStudy, number: int, result: Result | None, stopped_after: int | None) -> None:
        running.open.discard(number)
        names = [at_end(name) for name in self._search.objective]
        if result is not None and all(name in result for name in names):
            running.optuna.tell(number, [result[name] for name in names], skip_if_finished=True)
            return
        state = TrialState.FAIL if stopped_after is None else TrialState.PRUNED
        running.optuna.tell(number, state=state, skip_if_finished=True)

    def _winners(self, running: RunningStudy) -> Iterator[tuple[tuple[Point, ...], SuggestedTrial]]:
        """Yield best trials with the points they stand for: one for a study per cell, else one per chosen point."""
        done = [t for t in running.optuna.get_trials(deepcopy=False) if t.state is TrialState.COMPLETE]
        sign = 1 if OBJECTIVES[self._search.objective[0]] == "minimize" else -1

        def merit(frozen: FrozenTrial) -> float:
            return sign * float(frozen.values[0])

        if self._search.per == "cell":
            if done:
                yield running.study.points, running.asked[min(done, key=merit).number]
            return
        cells: dict[str, FrozenTrial] = {}
        for frozen in sorted(done, key=merit, reverse=True):  # the best trial of each point is written last
            cells[json.dumps(running.asked[frozen.number].point, sort_keys=True, default=str)] = frozen
        for frozen in cells.values():
            asked = running.asked[frozen.number]
            yield (asked.point,), asked


def _sign(asked: SuggestedTrial, trial: optuna.Trial) -> None:
    """Store the fingerprint in the Optuna trial, so that users of Optuna's tools can find the run in MLflow."""
    trial.set_user_attr("fingerprint", asked.trial.fingerprint)


def _chosen(frozen: FrozenTrial, key: str, _: Any) -> Any:
    return frozen.params[key]
