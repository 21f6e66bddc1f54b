"""Saved views: searches that find what they say, in an order that shows a fair part of a large sweep."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invented_sweep import Store, build
from mlflow import MlflowClient

from orchestrator.report import write
from orchestrator.report.mlflow_ui import notes
from orchestrator.report.mlflow_ui.curves import log_curves
from orchestrator.report.mlflow_ui.view import KEY, _asked, apart, link, overview, save_views, side_by_side
from orchestrator.results.lines import Facet, facets
from orchestrator.results.results import Results, read

PREFIX = "mlflow.sharedViewState."
NAMES = {"final/top1", "model/compression", "model/macs_kept", "model/speedup", "profile/density",
         "profile/macs_kept", "test/top1", "train/loss", "curve/top1", "curve/macs_kept", "curve/speedup",
         "curve/log2_compression", "time/total_seconds", ""}  # fmt: skip


@pytest.fixture(scope="module")
def viewed(store: Store) -> tuple[MlflowClient, Results]:
    made = build(store.folder, "viewed", ["mlp", "conv"], ["snip", "synflow"], [1, 2, 10], [0, 1])
    client = MlflowClient(made.uri)
    results = read(client, "viewed")
    log_curves(client, results)
    save_views(client, results)
    return client, results


def views(client: MlflowClient, results: Results) -> dict[str, tuple[str, dict[str, Any]]]:
    tags = client.get_experiment(results.experiment_id).tags
    found = {}
    for tag, value in tags.items():
        if tag.startswith(PREFIX):
            assert len(value) < 20_000  # what an experiment's tag may hold
            view = json.loads(value)
            state = json.loads(zlib.decompress(b64decode(view["state"].removeprefix("deflate;"))))
            found[tag.removeprefix(PREFIX)] = view["name"], state
    return found


def listed(client: MlflowClient, results: Results, state: dict[str, Any]) -> list[Any]:
    """The runs as the page lists them."""
    order = f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"
    return list(client.search_runs([results.experiment_id], state["searchFilter"], order_by=[order]))


def test_a_view_of_all_and_two_for_each_panel(viewed: tuple[MlflowClient, Results]) -> None:
    names = {key: name for key, (name, _) in views(*viewed).items()}
    assert names == {
        KEY: "Pruning sweep",
        f"{KEY}-0": "mlp · cifar10",
        f"{KEY}-0-pruners": "mlp · cifar10 at 10x",
        f"{KEY}-1": "conv · cifar10",
        f"{KEY}-1-pruners": "conv · cifar10 at 10x",
    }
    assert link("7").endswith(f"viewStateShareKey={KEY}")


def test_every_chart_has_a_section_and_names_that_are_logged(viewed: tuple[MlflowClient, Results]) -> None:
    for _, state in views(*viewed).values():
        sections = {section["uuid"] for section in state["compareRunSections"]}
        for chart in state["compareRunCharts"]:
            assert chart["metricSectionId"] in sections
            named = {chart.get("metricKey", ""), chart.get("selectedXAxisMetricKey", "")}
            named |= {*chart.get("selectedMetricKeys", ()), *chart.get("selectedMetrics", ())}
            assert named | {chart.get(axis, {}).get("key", "") for axis in ("xaxis", "yaxis")} <= NAMES


def test_curves_come_first_then_trials_in_an_order_that_favours_none(viewed: tuple[MlflowClient, Results]) -> None:
    client, results = viewed
    kinds = [run.data.tags["kind"] for run in listed(client, results, overview())]
    assert kinds == ["curve"] * 4 + ["trial"] * (len(kinds) - 4)
    fingerprints = [run.data.tags["fingerprint"] for run in listed(client, results, overview())][4:]
    assert fingerprints == sorted(fingerprints, reverse=True)


def test_a_panel_shows_its_own_curves_and_trials(viewed: tuple[MlflowClient, Results]) -> None:
    client, results = viewed
    _, state = views(client, results)[f"{KEY}-1"]
    runs = listed(client, results, state)
    assert {run.data.params["architecture"] for run in runs} == {"conv"}
    assert sum(run.data.tags["kind"] == "curve" for run in runs) == 2


def test_side_by_side_all_else_is_equal(viewed: tuple[MlflowClient, Results]) -> None:
    client, results = viewed
    _, state = views(client, results)[f"{KEY}-0-pruners"]
    found = {
        (run.data.params["architecture"], run.data.params["compression"]) for run in listed(client, results, state)
    }
    assert found == {("mlp", "10")}
    assert state["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "pruner"}]


def test_one_seed_needs_no_groups(viewed: tuple[MlflowClient, Results]) -> None:
    _, results = viewed
    one = replace(results, rows=tuple(row for row in results.rows if row.cell.seed == 0))
    assert side_by_side(one, facets(one)[0], {}, ("compression", "10"))["groupBy"] is None


def test_variants_of_a_pruner_are_no_seeds_of_each_other(viewed: tuple[MlflowClient, Results]) -> None:
    _, results = viewed
    (fingerprint, *_) = {row.cell.fingerprint for row in results.rows if row.cell.pruner == "snip"} - {
        row.cell.fingerprint for row in results.rows if row.cell.compression != 10 or row.cell.architecture == "conv"
    }
    trials = {**results.trials, fingerprint: results.trials[fingerprint].model_copy(update={"scope": "layer"})}
    state = side_by_side(replace(results, trials=trials), facets(results)[0], {}, ("compression", "10"))
    assert [key["groupByData"] for key in state["groupBy"]["groupByKeys"]] == ["pruner", "scope"]


def test_panels_are_told_apart_by_as_little_as_does_it(viewed: tuple[MlflowClient, Results]) -> None:
    _, results = viewed
    known = {facet.architecture: params for facet, params in apart(results).items()}
    assert known == {"mlp": {"architecture": "mlp"}, "conv": {"architecture": "conv"}}
    longer = {key: trial.model_copy(update={"epochs": 9, "lr": 0.5}) for key, trial in results.trials.items()}
    rows = tuple(
        replace(row, cell=row.cell.model_copy(update={"architecture": "mlp", "settings": {"epochs": 9}}))
        for row in results.rows
        if row.cell.architecture == "mlp"
    )
    assert apart(replace(results, rows=rows, trials=longer)) == {Facet("cifar10", "mlp", (("epochs", "9"),)): {}}


def test_what_mlflow_does_not_take_costs_nothing_else(
    viewed: tuple[MlflowClient, Results],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def changed(*_: object) -> None:
        raise TypeError("a later MLflow knows no such thing")

    client, results = viewed
    run_id = results.sweeps[0].run_id
    (tmp_path / "report.html").write_text("a page")
    monkeypatch.setattr(write, "save_views", changed)
    write._log(client, results, run_id, tmp_path, ["report.html"])
    assert "views were not logged: a later MLflow" in caplog.text
    assert "report.html" in [file.path for file in client.list_artifacts(run_id)]
    assert notes.HEADING in client.get_run(run_id).data.tags[notes.NOTE]


def test_what_was_pruned_by_kappa_is_found_by_kappa(viewed: tuple[MlflowClient, Results]) -> None:
    client, results = viewed
    trials = {
        key: trial if trial.pruner == "dense" else trial.model_copy(update={"kappa": 0.5, "compression": 1.0})
        for key, trial in results.trials.items()
    }
    by_kappa = replace(results, trials=trials)
    steps = _asked(by_kappa, facets(results)[0])
    assert steps == [(("kappa", "0.5"), "kappa=0.5")]
    state = side_by_side(by_kappa, facets(results)[0], {}, steps[0][0])
    assert state["searchFilter"] == "tags.kind = 'trial' and params.`kappa` = '0.5'"
    assert state["groupBy"] is not None
    assert client.search_runs([results.experiment_id], state["searchFilter"].replace("0.5", "0"))


def test_no_section_is_empty(viewed: tuple[MlflowClient, Results]) -> None:
    for name, (_, state) in views(*viewed).items():
        sections = {section["name"] for section in state["compareRunSections"]}
        assert not {"level", "validation"} & sections  # nothing of them was logged
        assert ("curve" in sections) is not name.endswith("-pruners")
        assert {"final", "model", "time"} <= sections
