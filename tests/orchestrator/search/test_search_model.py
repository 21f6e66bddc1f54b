"""Whatever comes of the trials of a search, in whichever order: each study ends, and Optuna knows what came of each."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from orchestrator.planning.catalog import catalog
from orchestrator.search.optuna_study import StudySearcher
from search_spaces import Grid, load, studies

BASE = {"dataset": "digits", "architecture": "mlp", "pruner": "snip", "validation": 0.2, "epochs": 3}
TRIALS = 6


class Search(RuleBasedStateMachine):
    """A driver that asks and tells, is killed, and is told of failures and early stopping."""

    @initialize(
        points=st.integers(1, 4),
        compressions=st.integers(1, 2),
        sampler=st.sampled_from(["tpe", "random"]),
        per=st.sampled_from(["cell", "sweep"]),
    )
    def begin(self, points: int, compressions: int, sampler: str, per: str) -> None:
        space = BASE | {
            "compression": [2, 4][:compressions],
            "lr": {"choices": [0.1, 0.2, 0.3, 0.4][:points]},
            "search": {"trials": TRIALS, "sampler": sampler, "per": per},
        }
        self.grid = Grid(load(space), catalog())
        self.storage = InMemoryStorage()
        self.results: dict[str, dict[str, float]] = {}
        self.lost: set[str] = set()  # failed or stopped early, at any time
        self.drive()

    @rule()
    def drive(self) -> None:
        """A driver begins; one before it was killed, with the trials that it ran."""
        self.seeker = StudySearcher(self.grid, studies(self.grid.space, catalog()), self.storage, self.results.get)
        self.out: dict[str, float] = {}  # fingerprint -> what it will find

    @rule(slots=st.integers(1, 3))
    def ask(self, slots: int) -> None:
        trial = self.seeker.next(slots)
        if trial is not None:
            assert trial.fingerprint not in self.out, "handed out twice at once"
            assert trial.fingerprint not in self.results, "computed again"
            self.out[trial.fingerprint] = trial.lr

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["finished", "finished", "failed", "stopped"]))
    def end(self, data: st.DataObject, how: str) -> None:
        fingerprint = data.draw(st.sampled_from(sorted(self.out)))
        lr = self.out.pop(fingerprint)
        if how == "finished":
            self.results[fingerprint] = {"final/validation_top1": 1 - lr}
        else:
            self.lost.add(fingerprint)
        self.seeker.ended(fingerprint, stopped_after=1 if how == "stopped" else None)

    @invariant()
    def nothing_waits_for_nobody(self) -> None:
        """Where nothing runs, a driver has a trial to give, or the search is over."""
        if self.out or self.seeker.over:
            return
        trial = self.seeker.next(1)
        if trial is None:
            assert self.seeker.over, "no trial runs, none is given, and the search is not over"
        else:
            self.out[trial.fingerprint] = trial.lr

    def teardown(self) -> None:
        if not hasattr(self, "seeker"):
            return
        while not self.seeker.over:
            for fingerprint, lr in list(self.out.items()):
                del self.out[fingerprint]
                self.results[fingerprint] = {"final/validation_top1": 1 - lr}
                self.seeker.ended(fingerprint)
            trial = self.seeker.next(1)
            if trial is not None:
                self.out[trial.fingerprint] = trial.lr
        for running in self.seeker.studies:
            asked = running.optuna.get_trials(deepcopy=False)
            assert len(asked) >= TRIALS or running.exhausted
            if running.exhausted:
                assert len(running.tried) == running.study.settings
            for frozen in asked:
                known = running.asked[frozen.number].trial
                if frozen.state is TrialState.COMPLETE:
                    assert frozen.values == [1 - known.lr]
                else:
                    assert frozen.state in (TrialState.FAIL, TrialState.PRUNED)
                    assert known.fingerprint in self.lost


TestSearch = Search.TestCase
STEPS = int(os.environ.get("SEARCH_STEPS", "750"))  # make test-soak takes 10,000
TestSearch.settings = settings(
    max_examples=STEPS // 25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
