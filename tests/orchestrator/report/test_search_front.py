"""A search of several objectives: a front, and no best."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path

from invented_search import cell, log, plan_of, trial

from orchestrator.report.studies import tuned
from orchestrator.report.write import compose
from orchestrator.results.objectives import Objective, undominated
from orchestrator.results.results import read


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


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
    assert "<h3>On the Pareto front " in page_of
    assert all(f'id="{empty}"' not in page_of for empty in ("answer", "figures", "tables", "trials", "missing"))
