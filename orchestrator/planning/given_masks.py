"""Masks that a space names as `mask: mlflow:RUN_ID` or a file: reading, checking and storing them.

Masks are identified by their content, not by the run's id or the file's path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from orchestrator.planning.check_networks import outline
from orchestrator.results.details import read_bytes
from orchestrator.results.store import connect, public, require_answer, run_of
from pruners import prunable
from pruners.scopes import kept_of
from search_spaces import Network, SpaceError, Trial, amount
from search_spaces.density import density_of
from search_spaces.trial import ORIGIN
from trainables.context import Place
from trainables.shared import masks as given_masks

RUN, SUFFIX = "mlflow:", ".safetensors"


@dataclass(frozen=True)
class GivenMasks:
    """Masks that a space names, and the facts about them."""

    asked: str
    fields: Mapping[str, Any]  # of the trials that train them: the digest and the origin of the masks
    shapes: Mapping[str, tuple[int, ...]]  # by parameter name
    words: str


def find_masks(asked: str, tracking_uri: str) -> GivenMasks:
    """Return the masks of a finished run of the store at `tracking_uri`, or of a file. Writes nothing.

    For a run, pruner, settings and compression are those of its trial; for a file, the pruner is the file's name and
    the compression is that of the masks.

    Raises:
        SpaceError: in one sentence, if there are none.
    """
    content, source = _read(asked, tracking_uri)
    try:
        masks = given_masks.parse(content)
    except ValueError as error:
        raise SpaceError(f"mask: '{asked}' {error}") from None
    if not masks:
        raise SpaceError(f"mask: '{asked}' has no masks: nothing was pruned there")
    if not any(mask.any() for mask in masks.values()):
        raise SpaceError(f"mask: '{asked}' keeps no weight at all")
    fields: dict[str, Any] = {"pruner": Path(asked).name, "compression": _compression(masks)}
    words = f"{fields['compression']:g}x of {asked}"
    if source is not None:
        own = {key: getattr(source, key) for key in ORIGIN if key != "code"}  # the pruner will not run again
        fields = own | ({"compression": fields["compression"]} if source.kappa else {})
        words = f"{source.pruner} {amount(source)} of {source.network.label} on {source.dataset}, "
        words += f"seed {source.seed} ({asked})"
    fields["mask"] = given_masks.digest(content)
    return GivenMasks(asked, fields, {name: tuple(mask.shape) for name, mask in masks.items()}, words)


def require_fitting(trials: Iterable[Trial], masks: Mapping[str, GivenMasks]) -> None:
    """Reject masks that do not fit their network: each prunable weight needs one, of its shape.

    Raises:
        SpaceError: with the first parameter that does not fit.
    """
    for network, dataset, mask in dict.fromkeys((trial.network, trial.dataset, trial.mask) for trial in trials):
        if mask and (wrong := _misfit(network, dataset, masks[mask].shapes)):
            raise SpaceError(f"mask: '{masks[mask].asked}' does not fit architecture {network.label}: {wrong}")


def provide(masks: Mapping[str, GivenMasks], tracking_uri: str, place: Place) -> None:
    """Put `masks` into the storage, where trials read them.

    Raises:
        SpaceError: if they cannot be read or written any more.
    """
    for digest, given in masks.items():
        given_masks.provide(digest, place, lambda asked=given.asked: _read(asked, tracking_uri)[0])  # type: ignore[misc]


def _read(asked: str, tracking_uri: str) -> tuple[bytes, Trial | None]:
    """Return the content of the masks' file, and the trial that made it if that is known."""
    if asked.startswith(RUN):
        return _of_run(asked.removeprefix(RUN), tracking_uri)
    if not asked.endswith(SUFFIX):
        raise SpaceError(f"mask: '{asked}' is not allowed; it must be {RUN}RUN_ID or a file that ends in {SUFFIX}")
    try:
        return Path(asked).expanduser().read_bytes(), None
    except OSError as error:
        raise SpaceError(f"mask: '{asked}' cannot be read ({error.strerror})") from None


def _of_run(run_id: str, tracking_uri: str) -> tuple[bytes, Trial | None]:
    require_answer(tracking_uri)
    client = connect(tracking_uri)
    run = run_of(client, run_id)
    if run is None:
        raise SpaceError(
            f"mask: there is no run '{run_id}' in {public(tracking_uri)}; give the id of a run that pruned, as in "
            "--set mask=mlflow:0123456789abcdef0123456789abcdef"
        )
    name, status = run.data.tags.get("mlflow.runName", run_id), run.info.status
    if status != "FINISHED" or run.info.lifecycle_stage != "active":
        state = status if run.info.lifecycle_stage == "active" else "deleted"
        raise SpaceError(f"mask: run '{run_id}' ({name}) is {state}; masks are taken from FINISHED runs only")
    content = read_bytes(client, run.info.artifact_uri, "masks.safetensors")
    if content is None:
        raise SpaceError(f"mask: run '{run_id}' ({name}) has no masks.safetensors; give the run of a pruned trial")
    try:
        return content, Trial.model_validate_json(read_bytes(client, run.info.artifact_uri, "trial.json") or b"")
    except ValidationError:
        return content, None  # not a run of this project


def _compression(masks: Mapping[str, Tensor]) -> float:
    """Return the roundest compression that keeps exactly as many weights: 10, not 10.0003."""
    n, kept = sum(mask.numel() for mask in masks.values()), sum(int(mask.sum()) for mask in masks.values())
    guesses = (float(f"{n / kept:.{digits}g}") for digits in range(1, 17))
    return next((guess for guess in guesses if guess >= 1 and kept_of(n, density_of(guess)) == kept), n / kept)


def _misfit(network: Network, dataset: str, given: Mapping[str, tuple[int, ...]]) -> str:
    """Return what is wrong with masks of these shapes; "" if they fit."""
    own = {name: tuple(weight.shape) for name, weight in prunable(outline(network, dataset)).items()}
    if unknown := [name for name in given if name not in own]:
        return f"it has no prunable weight {min(unknown)}"
    if missing := [name for name in own if name not in given]:
        return f"there is no mask of {missing[0]}; if it is to stay dense, name it in keep_dense"
    other = [name for name, shape in own.items() if given[name] != shape]
    return f"the mask of {other[0]} is {given[other[0]]} and the weight {own[other[0]]}" if other else ""
