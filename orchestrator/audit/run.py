"""Audit of one finished run: read what it logged, recompute all of it, and compare."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from orchestrator.audit import compare
from orchestrator.audit.compare import HISTORIES, Check, Logged
from orchestrator.audit.connectivity import input_reaches_output
from orchestrator.audit.counts import count_macs
from orchestrator.audit.plain import Tested, TooLongError, load_masked, test, test_images
from orchestrator.audit.sources import Sources, UnavailableError
from orchestrator.results.details import Details, read_bytes, read_json
from orchestrator.results.own_runs import trial_runs
from orchestrator.results.results import experiment_named, rank
from orchestrator.results.store import ReportError, mlflow_errors
from pruners.errors import in_one_line
from search_spaces import TRAINING, Trial
from trainables.datasets import Dataset
from trainables.record.predictions import PREDICTIONS, read_predictions

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Verdict = Literal["agrees", "differs", "not auditable"]


@dataclass(frozen=True)
class Audited:
    """Result of the audit of one run."""

    run_id: str
    name: str
    checks: tuple[Check, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)  # the metrics named `audit/…`
    notes: tuple[str, ...] = ()  # parts that could not be checked, and why
    reason: str = ""  # why nothing could be checked

    @property
    def differences(self) -> tuple[Check, ...]:
        """Return the checks that do not agree."""
        return tuple(check for check in self.checks if not check.agrees)

    @property
    def verdict(self) -> Verdict:
        """Return the result in a word."""
        return "not auditable" if self.reason else "differs" if self.differences else "agrees"

    @property
    def words(self) -> str:
        """Return the verdict with the differences, or why nothing could be checked; equal findings give equal text."""
        said = self.reason or "; ".join(check.words for check in self.differences)
        return f"{self.verdict}: {said}" if said else self.verdict


class _WrongFileError(Exception):
    """Error for a file of a run that its trial cannot have written."""


def load_finished(client: MlflowClient, experiment: str) -> list[Run]:
    """Return the finished trial runs of an experiment, one per trial, ordered by a hash of the fingerprint.

    Any part of that order is a sample that depends on the trials alone.

    Raises:
        ReportError: if there is no such experiment.
    """
    with mlflow_errors():
        found = trial_runs(client, experiment_named(client, experiment).experiment_id)
        last = {run.data.tags["fingerprint"]: run for run in sorted(found, key=rank)}
    finished = [run for run in last.values() if run.info.status == "FINISHED"]
    return sorted(finished, key=lambda run: _place(run.data.tags["fingerprint"]))


def pick(found: Sequence[Run], count: int | None) -> list[Run]:
    """Return the first `count` runs in the given order; all of them if `count` is None."""
    return list(found[:count])


def _place(fingerprint: str) -> str:
    return hashlib.sha256(f"audit {fingerprint}".encode()).hexdigest()


def audit_run(client: MlflowClient, run: Run, sources: Sources) -> Audited:
    """Recompute what `run` logged and compare. A wrong file is a difference; a missing file is not.

    Raises:
        ReportError: if MLflow cannot be read.
    """
    name = run.data.tags.get("mlflow.runName", run.info.run_id)
    try:
        return _Audit(client, run, sources).result(name)
    except (UnavailableError, TooLongError) as error:
        return Audited(run.info.run_id, name, reason=str(error))
    except _WrongFileError as error:
        return Audited(run.info.run_id, name, checks=(Check(str(error), "", "", False),))
    except ReportError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's network or image file may raise anything
        return Audited(run.info.run_id, name, reason=f"it cannot be tested here: {in_one_line(error)}")


class _Audit:
    """Audit of one run, step by step."""

    def __init__(self, client: MlflowClient, run: Run, sources: Sources) -> None:
        self._client, self._run, self._sources = client, run, sources
        self._notes: list[str] = []

    def result(self, name: str) -> Audited:
        """Compare everything that can be compared."""
        trial = self._trial()
        weights, masks = self._tensors("weights.safetensors"), self._tensors("masks.safetensors")
        masks = {key: mask.bool() for key, mask in masks.items()}
        data = self._sources.dataset(trial)
        model = self._model(trial, data, weights, masks)
        logged = self._logged()
        checks, metrics = self._compared(trial, data, model, logged, weights, masks)
        return Audited(self._run.info.run_id, name, tuple(checks), metrics, tuple(self._notes))

    def _compared(
        self,
        trial: Trial,
        data: Dataset,
        model: nn.Module,
        logged: Logged,
        weights: dict[str, Tensor],
        masks: dict[str, Tensor],
    ) -> tuple[list[Check], dict[str, float]]:
        same = logged.tags.get("device", "cpu") == self._sources.device.type
        rounding = compare.SAME_DEVICE if same else compare.OTHER_DEVICE
        checks = [*compare.record(logged, trial), compare.updated(logged, trial), compare.zeros(weights, masks)]
        checks += compare.kept(logged, trial, model, masks)
        checks += self._of_macs(logged, model, masks, data.input_shape)
        checks += self._of_paths(trial, logged, data, masks)
        tested = self._tested(model, data, rounding, held_out=False)
        checks += [*compare.accuracy(logged, tested, rounding), *compare.curves(logged, trial)]
        checks += self._of_predictions(logged, data)
        if len(data.held_out):
            held_out = self._tested(model, data, rounding, held_out=True)
            checks += compare.accuracy(logged, held_out, rounding, "final/validation_")
        found = {"loss": tested.loss, "top1": tested.top1.count / tested.images}
        found["top5"] = tested.top5.count / tested.images
        found["weights_kept"] = sum(int(mask.sum()) for mask in masks.values())
        found |= {
            check.name.removeprefix("model/"): float(check.found)
            for check in checks
            if check.name in ("model/params_kept", "model/compression", "model/macs", "model/macs_kept")
        }
        found["differences"] = sum(not check.agrees for check in checks)
        return checks, {f"audit/{key}": float(value) for key, value in found.items()}

    def _trial(self) -> Trial:
        content = self._file("trial.json")
        try:
            trial = Trial.model_validate_json(content)
        except ValidationError:
            raise _WrongFileError("trial.json is not a trial's record") from None
        if trial.measure != TRAINING:
            raise UnavailableError("it is a measure, which leaves no trained network")
        return trial

    def _file(self, name: str) -> bytes:
        with mlflow_errors():
            content = read_bytes(self._client, self._run.info.artifact_uri, name)
        if content is None:
            kept = " (a sweep keeps 1 GB of weights in all)" if name.startswith("weights") else ""
            raise UnavailableError(f"there is no {name}{kept}")
        return content

    def _tensors(self, name: str) -> dict[str, Tensor]:
        try:
            return dict(load(self._file(name)))
        except (SafetensorError, ValueError, KeyError) as error:
            raise _WrongFileError(f"{name} cannot be read ({in_one_line(error)[:100]})") from None

    def _model(self, trial: Trial, data: Dataset, weights: dict[str, Tensor], masks: dict[str, Tensor]) -> nn.Module:
        model = self._sources.network(trial, data)
        shapes = {key: parameter.shape for key, parameter in model.named_parameters()}
        for key, mask in masks.items():
            if shapes.get(key) != mask.shape:
                raise _WrongFileError(f"masks.safetensors: {key} {tuple(mask.shape)} matches no weight of the network")
        try:
            return load_masked(model, weights, masks).to(self._sources.device)
        except RuntimeError as error:
            raise _WrongFileError(f"weights.safetensors does not fit ({in_one_line(error)[:200]})") from None

    def _logged(self) -> Logged:
        run, data = self._run.info, self._run.data
        with mlflow_errors():
            details = Details(self._client, {run.run_id: run.artifact_uri})
            histories = {key: details.histories([run.run_id], key)[run.run_id] for key in HISTORIES}
            table = read_json(self._client, run.artifact_uri, "layers.json")
        rows = None if table is None else [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        if rows is None:
            self._notes.append("there is no layers.json")
        return Logged(data.params, data.metrics, data.tags, rows, histories)

    def _of_macs(
        self, logged: Logged, model: nn.Module, masks: dict[str, Tensor], input_shape: tuple[int, ...]
    ) -> Iterator[Check]:
        try:
            counted = count_macs(model, input_shape)
        except Exception as error:  # noqa: BLE001 - a network that torch's counter cannot follow may raise anything
            self._notes.append(f"MACs not counted: {in_one_line(error)}")
            return
        if counted.kept(masks) is None:
            self._notes.append("MACs of kept weights not counted: the network computes with transformed weights")
        yield from compare.of_macs(logged, counted, masks, model)

    def _of_predictions(self, logged: Logged, data: Dataset) -> Iterator[Check]:
        with mlflow_errors():
            content = read_bytes(self._client, self._run.info.artifact_uri, PREDICTIONS)
        if content is None:  # a run of an earlier version
            self._notes.append(f"there is no {PREDICTIONS}")
            return
        try:
            stored = read_predictions(content)
        except ValueError as error:
            raise _WrongFileError(f"{PREDICTIONS} cannot be read ({in_one_line(error)[:100]})") from None
        yield from compare.predictions(logged, stored, data.test_y, (data.spec.name, data.test_digest))

    def _of_paths(self, trial: Trial, logged: Logged, data: Dataset, masks: dict[str, Tensor]) -> Iterator[Check]:
        try:
            reached = input_reaches_output(lambda: self._sources.network(trial, data), masks, data.input_shape)
        except Exception as error:  # noqa: BLE001 - a network that does not run in float64 may raise anything
            self._notes.append(f"paths not followed: {in_one_line(error)}")
            return
        if reached is None or "paths" in logged.tags:
            self._notes.append("paths not followed: the test by a pass of ones does not apply to this network")
            return
        yield compare.collapse(logged, reached)

    def _tested(self, model: nn.Module, data: Dataset, rounding: float, *, held_out: bool) -> Tested:
        return test(model, test_images(data, held_out, self._sources.device), rounding, self._sources.seconds)
