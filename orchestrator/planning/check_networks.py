"""Checks of networks on their datasets, before anything trains: they run, and all their weights can train."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from orchestrator.planning.try_network import PreflightError, shortened, takes_part, try_out
from pruners import dead_weights
from pruners.errors import in_one_line, message_of
from pruners.weights import dense_share
from search_spaces import Network, Space, SpaceError, Trial
from trainables.architectures import ARCHITECTURES, build, lookup, pretrained
from trainables.architectures.module import first_names, layers_of
from trainables.context import Place
from trainables.datasets import lookup as dataset_of
from trainables.shared import weights

DEAD = 0.01  # largest share of prunable weights that may never train; above it compressions are misleading


def weight_files(space: Space) -> dict[str, Path]:
    """Return the files of pretrained weights that a space names, by the `pretrained` field of the trials' records."""
    asked = [(entry["name"], str(entry.get("pretrained", ""))) for entry in space.axes["architecture"]]
    return {lookup(name).pretrained(text): Path(text).expanduser() for name, text in asked if pretrained.is_file(text)}


def require_networks(trials: Collection[Trial], files: Mapping[str, Path], force: bool) -> tuple[str, ...]:
    """Reject networks that do not run on their dataset or have too many weights that never train; return notices.

    `files` comes from `weight_files`. With `force`, weights that never train are only a notice.

    Raises:
        SpaceError: in one sentence with the network, the dataset and what would help.
    """
    notices: dict[str, None] = {}
    for network, dataset in dict.fromkeys((trial.network, trial.dataset) for trial in trials):
        _tried(network.fresh, dataset)
        if network.pretrained:
            notices |= dict.fromkeys(_about_weights(network, dataset, files.get(network.pretrained)))
        elif len({trial.seed for trial in trials if trial.network == network}) > 1:
            notices |= dict.fromkeys(filter(None, [_about_seeds(network, dataset)]))
    pruned = dict.fromkeys((trial.network.fresh, trial.dataset) for trial in trials if trial.pruner != "dense")
    reasons = [reason for network, dataset in pruned if (reason := _dead(network, dataset))]
    if reasons and not force:
        raise SpaceError(f"{reasons[0]} --force runs it anyway")
    return (*notices, *reasons)


def provide_weights(networks: Iterable[Network], files: Mapping[str, Path], place: Place) -> None:
    """Put the pretrained weights of all `networks` into the storage, where trials read them.

    Raises:
        SpaceError: if a download fails, a file changed in the meantime, or the storage cannot be written.
    """
    for network in dict.fromkeys(networks):
        if network.pretrained:
            weights.provide(network, place, files.get(network.pretrained))


@cache
def outline(network: Network, dataset: str) -> nn.Module:
    """Return the network on the device "meta", without values in its weights: instant for any size.

    A network whose code needs values is built with them.

    Raises:
        SpaceError: if it cannot be built for the dataset's images.
    """
    spec = dataset_of(dataset)
    try:
        with torch.device("meta"):
            return build(network.fresh, spec.input_shape, spec.num_classes, seed=0)
    except (Exception, SystemExit):  # noqa: BLE001 - a user's code may raise anything; real faults recur below
        return model_of(network.fresh, dataset)


@cache
def model_of(network: Network, dataset: str) -> nn.Module:
    """Return the network with the weights that a trial of seed 0 draws, not the pretrained ones.

    Raises:
        SpaceError: if it cannot be built for the dataset's images.
    """
    return _built(network, dataset, seed=0)


def _built(network: Network, dataset: str, seed: int) -> nn.Module:
    """Return a new copy of the network for a seed."""
    spec = dataset_of(dataset)
    try:
        return build(network.fresh, spec.input_shape, spec.num_classes, seed)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code may raise anything
        line = message_of(error) if isinstance(error, ValueError) else in_one_line(error)
        raise SpaceError(_named(network, shortened(line))) from None


@cache
def _tried(network: Network, dataset: str) -> tuple[str, ...]:
    """Try the network out; return the names of the parameters that get no gradient.

    Raises:
        SpaceError: in one line, if it cannot be trained and tested, or two builds with one seed differ.
    """
    spec = dataset_of(dataset)
    first = model_of(network, dataset)
    again = _built(network, dataset, seed=0) if network.code else copy.deepcopy(first)
    if network.code and (name := _differing(first, again)):
        raise SpaceError(
            _named(
                network,
                f"two builds with one seed differ in {name}: it must draw from the global generators of torch, "
                "numpy or Python, which are seeded, and leave no memory uninitialised",
            )
        )
    try:
        return try_out(again, spec.input_shape, spec.num_classes, dataset)
    except PreflightError as error:
        raise SpaceError(_named(network, str(error))) from None


def _differing(one: nn.Module, other: nn.Module) -> str:
    """Return the name of the first tensor in which the states of two networks differ; "" if none does."""
    left, right = one.state_dict(), other.state_dict()
    for name in {**left, **right}:
        if name not in left or name not in right or left[name].shape != right[name].shape:
            return name
        if not torch.allclose(left[name], right[name], rtol=0, atol=0, equal_nan=True):
            return name
    return ""


@cache
def _about_seeds(network: Network, dataset: str) -> str:
    """Return a notice if a user's network starts with the same weights for every seed; "" if it does not."""
    if not network.code or _differing(model_of(network, dataset), _built(network, dataset, seed=1)):
        return ""
    return _named(network, "every seed gives it the same initial weights: only the batches differ between seeds")


def dense_shares(trials: Iterable[Trial]) -> list[str]:
    """Return a line per pruned network: the share of its parameters that is never pruned, and which they are."""
    pruned = dict.fromkeys((trial.network.fresh, trial.dataset) for trial in trials if trial.pruner != "dense")
    return list(
        dict.fromkeys(f"{network.label}: {dense_share(outline(network, dataset))}" for network, dataset in pruned)
    )


@cache
def _about_weights(network: Network, dataset: str, file: Path | None) -> tuple[str, ...]:
    """Return notices on a network's pretrained weights on a dataset; raise SpaceError if the weights do not fit."""
    classes = dataset_of(dataset).num_classes
    given = pretrained.shapes(network.pretrained, lookup(network.name, network.code).weights, file)
    try:
        _, other = pretrained.fitted(outline(network, dataset), given, classes)
    except SpaceError as error:
        raise SpaceError(_named(network, str(error))) from None
    if not other:
        return ()
    return (
        _named(
            network, f"the pretrained weights have {other} classes, but {dataset} has {classes}: its classifier is new"
        ),
    )


@dataclass(frozen=True)
class _Dead:
    """Weights that never train for one reason: their share of the prunable weights, and their layers."""

    share: float
    layers: tuple[str, ...]


@cache
def _dead_by_cause(network: Network, dataset: str) -> dict[str, _Dead]:
    """Return the weights that never train, by cause.

    Causes: "idle" (layers that no forward pass uses), "training" (layers that only the forward pass of training uses),
    "pixel" and "maps" (kernels of which one element, or some, meet more than padding), "other". Weights that a forward
    pass uses without a gradient (a backbone under no_grad) count as alive, as frozen ones do.
    """
    shape = dataset_of(dataset).input_shape
    dead = dead_weights(model_of(network, dataset), shape)
    whole = tuple(name for name, mask in dead.items() if mask.all())
    tested, trained, without_gradient = set[str](), set[str](), set[str]()
    if whole:
        without_gradient = set(_tried(network, dataset))
        spoiled = _built(network, dataset, seed=0)
        tested = takes_part(spoiled, whole, shape, training=False)
        trained = takes_part(spoiled, whole, shape, training=True)
    found: dict[str, list[str]] = {}
    for name, mask in dead.items():
        if not mask.any() or name in tested & trained & without_gradient:
            continue
        cause = _of_maps(mask)
        if name in whole and name not in tested:
            cause = "training" if name in trained else "idle"
        found.setdefault(cause, []).append(name)
    total = sum(mask.numel() for mask in dead.values())
    return {
        cause: _Dead(sum(int(dead[name].sum()) for name in names) / total, tuple(layers_of(names)))
        for cause, names in found.items()
    }


def _of_maps(mask: Tensor) -> str:
    """Return the cause for a layer's dead weights: "pixel" or "maps" if parts of its kernels only meet padding."""
    alive = (~mask).flatten(0, 1).any(0) if mask.dim() > 2 else None
    if alive is None or alive.all() or not alive.any():
        return "other"
    return "pixel" if int(alive.sum()) == 1 else "maps"


def _dead(network: Network, dataset: str) -> str:
    """Return why compressions of the network are misleading on the dataset; "" if they are not."""
    size = "x".join(map(str, dataset_of(dataset).input_shape[1:]))
    try:
        found = _dead_by_cause(network, dataset)
    except Exception:  # noqa: BLE001 - not checked further if that fails; trials report why
        return ""
    share = sum(dead.share for dead in found.values())
    if share <= DEAD:
        return ""
    cause, dead = max(found.items(), key=lambda item: item[1].share)
    what = f"{100 * share:.0f} % of its prunable weights can never train on the {size} images of {dataset}"
    little = "so its compressions would be misleading"
    layers = f"layer{'s' * (len(dead.layers) > 1)} {first_names(dead.layers)}"
    if cause in ("idle", "training"):
        some = len(dead.layers) > 1
        how = f"take{'' if some else 's'} no part in the forward pass{' of a test' if cause == 'training' else ''}"
        return _named(network, f"{layers} {how}: {what}, {little}; remove unused layers, or name them in keep_dense.")
    if better := _better(network, dataset):
        advice = f"choose '{better}'"
    elif cause == "other":
        advice = f"most of them are in {layers}"
    else:
        small = "to one pixel" if cause == "pixel" else "below the size of its kernels"
        advice = f"its feature maps shrink {small}; choose a network that shrinks them less"
    return _named(network, f"{what}, {little}; {advice}.")


def _better(network: Network, dataset: str) -> str:
    """Return the name of the same network for small images, if there is one and all of it trains; else ""."""
    bare = network.name.removeprefix("torchvision/").replace("_", "-")
    for name in (f"{bare}-cifar", bare):
        if name in ARCHITECTURES and name != network.name:
            try:
                found = _dead_by_cause(replace(network, name=name, options=(), keep_dense=()), dataset)
                if sum(dead.share for dead in found.values()) <= DEAD:
                    return name
            except SpaceError:
                continue
    return ""


def _named(network: Network, what: str) -> str:
    what = what.removeprefix("architecture: ")
    return f"architecture {network.label}: {what}"
