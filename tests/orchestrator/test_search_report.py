"""The report of a search: what was tried is shown and counted, and never taken for a result."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from invented_sweep import log_plan
from matplotlib.axes import Axes

from orchestrator.comparing.certainty import T95
from orchestrator.comparing.importance import importances
from orchestrator.comparing.tuned import tuned
from orchestrator.figures import search_history, search_importance, search_pareto
from orchestrator.figures.drawing import house_style
from orchestrator.reading.lines import compressions, facets, pruners, rows_at
from orchestrator.reading.results import Results, read
from orchestrator.reading.where import where
from orchestrator.report import compose
from orchestrator.reporting.headline import headline
from orchestrator.reporting.page import _said_once, page
from orchestrator.reporting.tables import tables
from orchestrator.searches.objectives import Objective, undominated
from search_spaces import Cell, Trial

TRIALS, SEEDS = 12, (1, 2, 3)
PLACES = [("snip", 4.0), ("synflow", 4.0)]


@dataclass(frozen=True)
class Made:
    """What was logged of a search, to compute from."""

    uri: str
    tried: dict[str, list[tuple[float, float | None]]]  # study -> learning rate, validation accuracy
    test: dict[str, dict[int, float]]  # pruner -> seed -> test accuracy of the best settings


def cell(trial: Trial, **more: Any) -> Cell:
    place = {key: getattr(trial, key) for key in ("dataset", "architecture", "pruner", "compression", "seed")}
    return Cell(**place, fingerprint=trial.fingerprint, **more)


def trial(pruner: str, compression: float, lr: float, iterations: int = 1, seed: int = 0) -> Trial:
    return Trial(dataset="digits", architecture="conv", pruner=pruner, compression=compression, lr=lr,
                 iterations=iterations, seed=seed, validation=0.2, epochs=3)  # fmt: skip


def log(client: Any, experiment: str, parent: str, one: Trial, metrics: Mapping[str, float], **tags: str) -> None:
    from mlflow.entities import Metric

    known = {"kind": "trial", "fingerprint": one.fingerprint, "mlflow.parentRunId": parent, "collapsed": "false"}
    run = client.create_run(experiment, tags=known | tags).info.run_id
    client.log_batch(run, metrics=[Metric(key, value, int(time.time() * 1000), 0) for key, value in metrics.items()])
    client.set_terminated(run, "KILLED" if "stopped" in tags else "FAILED" if "error" in tags else "FINISHED")


def plan_of(client: Any, experiment: str, found: list[tuple[Cell, Trial]], search: Mapping[str, Any]) -> str:
    parent = log_plan(client, experiment, "s", [c for c, _ in found], {t.fingerprint: t for _, t in found}, "")
    if search:
        from mlflow.artifacts import load_dict

        record = load_dict(client.get_run(parent).info.artifact_uri + "/plan.json")
        client.log_dict(parent, {**record, "search": search}, "plan.json")
    return parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A grid at a fixed learning rate; then a study per cell over learning rate and iterations, its best confirmed."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("search")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("searched", artifact_location=(folder / "artifacts").as_uri())
    grid = [(cell(one), one) for one in (trial(*place, lr=0.1, seed=1) for place in PLACES)]
    parent = plan_of(client, experiment, grid, {})
    for _, one in grid:
        log(client, experiment, parent, one, {"final/top1": 0.5})
    values: dict[str, list[tuple[float, float | None]]] = {}
    test: dict[str, dict[int, float]] = {}
    found: list[tuple[Cell, Trial]] = []
    runs: list[tuple[Trial, dict[str, float], dict[str, str]]] = []
    for shift, (pruner, compression) in enumerate(PLACES):
        study = f"digits conv {pruner} {compression:g}x"
        for number in range(TRIALS + 2):
            lr, iterations = 0.001 * 1.4 ** ((5 * number) % 14), (1, 20, 100)[number % 3]
            one = trial(pruner, compression, lr, iterations)
            chosen = {"lr": lr, "pruner.iterations": iterations}
            found.append((cell(one, searched=chosen, role="search", study=study), one))
            top = 0.9 + 0.01 * shift - 0.05 * abs(math.log10(lr / 0.01)) + 0.0001 * iterations
            tags = {3: {"stopped": "epoch 2 by asha"}, 5: {"error": "ValueError: no"}}.get(number, {})
            values.setdefault(study, []).append((lr, None if tags else top))
            runs.append((one, {"final/validation_top1": top, "final/top1": top - 0.1}, tags))
        best = max((top, -at) for at, (_, top) in enumerate(values[study]) if top is not None)
        winner, settings = found[len(found) - (TRIALS + 2) - best[1]][1], found[len(found) - (TRIALS + 2) - best[1]][0]
        for seed in SEEDS:
            again = winner.model_copy(update={"seed": seed})
            found.append((cell(again, searched=settings.searched, study=study), again))
            test.setdefault(pruner, {})[seed] = 0.85 + 0.02 * shift + 0.003 * seed * (1 + shift)
            runs.append((again, {"final/top1": test[pruner][seed]}, {}))
    record = {"trials": TRIALS + 2, "per": "cell", "objective": ["validation/top1"], "sampler": "tpe"}
    parent = plan_of(client, experiment, found, record)
    for one, metrics, tags in runs:
        log(client, experiment, parent, one, metrics, **tags)
    return Made(uri, values, test)


@pytest.fixture(scope="module")
def results(made: Made) -> Results:
    return read(made.uri, "searched")


def test_on_the_page_what_is_equal_in_all_rows_is_said_once() -> None:
    table = [["cell", "lr", "n", "of"], ["a", "0.1", "3", ""], ["a", "0.2", "3", ""]]
    assert _said_once(table) == ([["lr"], ["0.1"], ["0.2"]], "In all rows: cell = a, n = 3.")
    assert _said_once(table[:2]) == (table[:2], "")
    assert _said_once([]) == ([], "")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_what_was_tried_is_no_repetition_and_no_result(results: Results, made: Made) -> None:
    assert len(results.tried) == 2 * (TRIALS + 2)
    assert not {row.cell.fingerprint for row in results.tried} & {row.cell.fingerprint for row in results.rows}
    places = [
        rows_at(results, facet, pruner, compression)
        for facet in facets(results)
        for pruner in pruners(results)
        for compression in compressions(results, facet)
    ]
    for rows in filter(None, places):  # the grid's learning rate and the searched one are never one point
        assert len({row.cell.study for row in rows}) == 1
    titles = {facet.title for facet in facets(results)}
    assert titles == {"conv · digits · lr=0.1", "conv · digits · lr=searched"}


def test_every_trial_is_listed_with_how_it_ended(results: Results, made: Made) -> None:
    listed = rows_of(tables(results)["search.csv"])
    for study, tried in made.tried.items():
        mine = [row for row in listed if row["study"] == study]
        assert [float(row["lr"]) for row in mine] == [lr for lr, _ in tried]
        assert [row["validation/top1"] for row in mine] == ["" if top is None else repr(top) for _, top in tried]
        assert mine[3]["status"] == "stopped" and "epoch 2 by asha" in mine[3]["why"]
        assert mine[5]["status"] == "failed" and mine[5]["why"] == "ValueError: no"
        best = max(top for _, top in tried if top is not None)
        assert [row["validation/top1"] for row in mine if row["best"]] == [repr(best)]


def test_best_settings_with_their_spread_over_fresh_seeds(results: Results, made: Made) -> None:
    listed = rows_of(tables(results)["best-settings.csv"])
    assert len(listed) == len(PLACES)
    for row in listed:
        tops = list(made.test[row["pruner"].partition(" ")[0]].values())
        tried = made.tried[f"digits conv {row['pruner'].partition(' ')[0]} 4x"]
        lr, best = max(((lr, top) for lr, top in tried if top is not None), key=lambda one: one[1])
        assert (float(row["lr"]), float(row["its value"])) == (lr, best)
        assert (row["n"], row["of"], row["trials"]) == ("3", "3", str(TRIALS + 2))
        assert float(row["test top1 mean"]) == pytest.approx(fmean(tops))
        assert float(row["test top1 std"]) == pytest.approx(stdev(tops))


def test_pairs_have_an_interval_over_the_fresh_seeds(results: Results, made: Made) -> None:
    [row] = rows_of(tables(results)["pairs.csv"])
    gaps = [100 * (made.test["snip"][seed] - made.test["synflow"][seed]) for seed in SEEDS]
    reach = T95[len(gaps) - 2] * stdev(gaps) / math.sqrt(len(gaps))
    assert float(row["one minus other"]) == pytest.approx(fmean(gaps), abs=0.01)
    assert float(row["95 % from"]) == pytest.approx(fmean(gaps) - reach, abs=0.01)
    assert float(row["to"]) == pytest.approx(fmean(gaps) + reach, abs=0.01)
    crosses = fmean(gaps) - reach <= 0 <= fmean(gaps) + reach
    assert (row["shown"] == "no difference is shown") == crosses


def test_the_answer_says_what_was_tuned_on_what(results: Results) -> None:
    said = " ".join(headline(results))
    assert "Tuned: lr and pruner.iterations, for validation/top1 on 20 % of the training images" in said
    assert f"2 studies of {TRIALS + 2} trials each (tpe)" in said
    assert "2 were given up early and 2 failed" in said
    assert "run again with 3 fresh seeds" in said


def test_the_history_draws_all_trials_and_the_best_so_far(results: Results, made: Made) -> None:
    with house_style():
        [drawing] = search_history.draw(results)
    [axis] = drawing.figure.axes
    steps = [line for line in axis.lines if line.get_drawstyle() == "steps-post"]
    assert len(steps) == len(PLACES)
    for line, tried in zip(steps, made.tried.values(), strict=True):
        assert np.max(np.asarray(line.get_ydata())) == pytest.approx(
            100 * max(top for _, top in tried if top is not None)
        )
    dots = [line for line in axis.lines if line.get_linestyle() == "None" and np.size(line.get_xdata()) > 1]
    assert sum(np.size(line.get_xdata()) for line in dots) == 2 * TRIALS


def test_importance_needs_trials_and_finds_what_matters(results: Results) -> None:
    for study in tuned(results):
        shares = importances(study)
        assert sum(shares.values()) == pytest.approx(1)
        assert next(iter(shares)) == "lr"  # by which the values were invented
        assert importances(type(study)(study.name, study.objectives, {}, study.rows[:9])) == {}
    with house_style():
        [drawing] = search_importance.draw(results)
        assert list(search_pareto.draw(results)) == []
    assert isinstance(drawing.figure.axes[0], Axes)


def test_a_selection_selects_what_was_tried_too(results: Results) -> None:
    assert {row.cell.pruner.partition(" ")[0] for row in where(results, "pruner = snip").tried} == {"snip"}


def test_the_page_has_a_section_only_where_something_was_searched(results: Results, store: Any) -> None:
    assert '<section id="search">' in page(results, [], "sqlite:///x")
    plain = page(read(store.uri, "small"), [], "sqlite:///x")
    assert '<section id="search">' not in plain and "search.csv" not in plain


def brute(places: list[tuple[float, float]]) -> Iterator[int]:
    for mine, (x, y) in enumerate(places):
        if not any(a >= x and b <= y and (a, b) != (x, y) for a, b in places):
            yield mine


def test_several_objectives_have_a_front_and_no_best(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri := f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.create_experiment("front", artifact_location=(tmp_path / "artifacts").as_uri())
    found, places = [], []
    for number in range(12):
        pruner, compression = ("snip", "synflow")[number % 2], (2.0, 5.0, 10.0)[number % 3]
        one = trial(pruner, compression, lr=0.01 + 0.001 * number)
        found.append((cell(one, searched={"lr": one.lr}, role="search", study="front"), one))
        places.append((0.95 - 0.02 * math.log(compression) - 0.01 * (number * 7 % 5), 1000 / compression))
    goals = {"trials": 12, "per": "sweep", "objective": ["validation/top1", "model/params_kept"], "sampler": "nsga2"}
    parent = plan_of(client, experiment, found, goals)
    for (_, one), (top, kept) in zip(found, places, strict=True):
        log(client, experiment, parent, one, {"final/validation_top1": top, "model/params_kept": kept})
    results = read(uri, "front")
    assert results.rows == ()
    [study] = tuned(results)
    assert study.best == list(brute(places)) == undominated(places, map(Objective, goals["objective"]))  # type: ignore[call-overload]
    files = compose(results, uri, kinds=("svg",))
    assert "figures/search-pareto-front.svg" in files and "figures/accuracy.svg" not in files
    assert f"On the Pareto front: {len(study.best)} of 12 finished trials" in files["report.html"].decode()
    assert [row["number"] for row in rows_of(files["tables/search.csv"].decode()) if row["best"]] == [
        str(number + 1) for number in study.best
    ]
    listed = rows_of(files["tables/pareto.csv"].decode())
    assert [(float(row["validation/top1"]), float(row["model/params_kept"])) for row in listed] == sorted(
        (places[number] for number in study.best), reverse=True
    )
    for row in listed:
        cell_of = study.rows[int(row["number"]) - 1].cell
        assert (row["pruner"], float(row["compression"])) == (cell_of.pruner, cell_of.compression)
    page_of = files["report.html"].decode()
    assert "On the Pareto front</h3>" in page_of
    assert all(f'id="{empty}"' not in page_of for empty in ("answer", "figures", "tables", "trials", "holes"))
