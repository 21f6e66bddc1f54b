"""Networks on datasets: that they run, find their weights and can train them all, before anything trains."""

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
from pruners.errors import in_one_line, words
from pruners.weights import dense_share
from search_spaces import Network, Space, SpaceError, Trial
from trainables.architectures import ARCHITECTURES, build, lookup, pretrained
from trainables.architectures.module import layers_of, listed
from trainables.context import Place
from trainables.datasets import lookup as dataset_of
from trainables.shared import weights

DEAD = 0.01  # share of prunable weights that can never train; beyond it compressions mean something else


def weight_files(space: Space) -> dict[str, Path]:
    """The files of pretrained weights that a space names, by what the trials' records say for them."""
    asked = [(entry["name"], str(entry.get("pretrained", ""))) for entry in space.axes["architecture"]]
    return {lookup(name).pretrained(text): Path(text).expanduser() for name, text in asked if pretrained.is_file(text)}


def require_networks(trials: Collection[Trial], files: Mapping[str, Path], force: bool) -> tuple[str, ...]:
    """Refuse networks that cannot run on their dataset, or of which a part can never train. Returns notices.

    `files` is what `weight_files` found; with `force` the second kind of reason is a notice.

    Raises:
        SpaceError: in one sentence with the network, the dataset and what would do.
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
        raise SpaceError(f"{reasons[0]} --force runs it all the same")
    return (*notices, *reasons)


def provide_weights(networks: Iterable[Network], files: Mapping[str, Path], place: Place) -> None:
    """Put the pretrained weights of all `networks` into the storage, from where trials read them.

    Raises:
        SpaceError: if a download fails, a file changed in the meantime, or the storage cannot be written.
    """
    for network in dict.fromkeys(networks):
        if network.pretrained:
            weights.provide(network, place, files.get(network.pretrained))


@cache
def outline(network: Network, dataset: str) -> nn.Module:
    """The network with no numbers in its weights (device "meta"), made at once however large it is.

    One whose code cannot do without numbers is made with them.

    Raises:
        SpaceError: if it cannot be made for the dataset's images.
    """
    spec = dataset_of(dataset)
    try:
        with torch.device("meta"):
            return build(network.fresh, spec.input_shape, spec.num_classes, seed=0)
    except (Exception, SystemExit):  # noqa: BLE001 - a user's code may raise anything; if it is at fault it does so again
        return model_of(network.fresh, dataset)


@cache
def model_of(network: Network, dataset: str) -> nn.Module:
    """The network as a trial of seed 0 would draw it, without pretrained weights.

    Raises:
        SpaceError: if it cannot be made for the dataset's images.
    """
    return _built(network, dataset, seed=0)


def _built(network: Network, dataset: str, seed: int) -> nn.Module:
    """Another copy of the same, for a seed."""
    spec = dataset_of(dataset)
    try:
        return build(network.fresh, spec.input_shape, spec.num_classes, seed)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code may raise anything
        line = words(error) if isinstance(error, ValueError) else in_one_line(error)
        raise SpaceError(_named(network, shortened(line))) from None


@cache
def _tried(network: Network, dataset: str) -> tuple[str, ...]:
    """The parameters to which no gradient comes; refuses a network that cannot be trained and tested.

    Raises:
        SpaceError: in one line.
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
    """The first tensor of their states in which two networks differ; "" if there is none."""
    left, right = one.state_dict(), other.state_dict()
    for name in {**left, **right}:
        if name not in left or name not in right or left[name].shape != right[name].shape:
            return name
        if not torch.allclose(left[name], right[name], rtol=0, atol=0, equal_nan=True):
            return name
    return ""


@cache
def _about_seeds(network: Network, dataset: str) -> str:
    """That a user's network begins with the same weights whatever the seed; "" if it does not."""
    if not network.code or _differing(model_of(network, dataset), _built(network, dataset, seed=1)):
        return ""
    return _named(network, "every seed gives it the same first weights: seeds differ in their batches alone")


def dense_shares(trials: Iterable[Trial]) -> list[str]:
    """Return a line per network that is pruned: what share of its parameters never is, and what that consists of."""
    pruned = dict.fromkeys((trial.network.fresh, trial.dataset) for trial in trials if trial.pruner != "dense")
    return list(
        dict.fromkeys(f"{network.label}: {dense_share(outline(network, dataset))}" for network, dataset in pruned)
    )


@cache
def _about_weights(network: Network, dataset: str, file: Path | None) -> tuple[str, ...]:
    """What to know of a network's pretrained weights on a dataset; refuses those that do not fit."""
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
            network, f"the pretrained weights know {other} classes and {dataset} has {classes}: its classifier is new"
        ),
    )


@dataclass(frozen=True)
class _Dead:
    """Weights that never train for one reason: how large a share of the prunable ones, and in which layers."""

    share: float
    layers: tuple[str, ...]


@cache
def _dead_by_cause(network: Network, dataset: str) -> dict[str, _Dead]:
    """By cause: "idle" and "training" (layers that tests, or both modes, do without), "pixel", "maps", "other".

    Weights that a forward pass uses without a gradient (a backbone under no_grad) count as frozen ones do: as alive.
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
    """What the dead weights of a layer say: a kernel of which parts only meet padding tells of maps that are small."""
    alive = (~mask).flatten(0, 1).any(0) if mask.dim() > 2 else None
    if alive is None or alive.all() or not alive.any():
        return "other"
    return "pixel" if int(alive.sum()) == 1 else "maps"


def _dead(network: Network, dataset: str) -> str:
    """Why compressions of the network mean little on the dataset; "" if they do mean something."""
    size = "x".join(map(str, dataset_of(dataset).input_shape[1:]))
    try:
        found = _dead_by_cause(network, dataset)
    except Exception:  # noqa: BLE001 - what cannot be followed is measured no further; trials say why
        return ""
    share = sum(dead.share for dead in found.values())
    if share <= DEAD:
        return ""
    cause, dead = max(found.items(), key=lambda item: item[1].share)
    what = f"{100 * share:.0f} % of its prunable weights can never train on the {size} images of {dataset}"
    little = "so its compressions would say little"
    layers = f"layer{'s' * (len(dead.layers) > 1)} {listed(dead.layers)}"
    if cause in ("idle", "training"):
        some = len(dead.layers) > 1
        how = f"take{'' if some else 's'} no part in the forward pass{' of a test' if cause == 'training' else ''}"
        return _named(network, f"{layers} {how}: {what}, {little}; leave out what is not used, or keep_dense it.")
    if better := _better(network, dataset):
        advice = f"ask for '{better}'"
    elif cause == "other":
        advice = f"most of them are in {layers}"
    else:
        small = "to one pixel" if cause == "pixel" else "below its kernels"
        advice = f"its maps shrink {small}; ask for one that shrinks them less"
    return _named(network, f"{what}, {little}; {advice}.")


def _better(network: Network, dataset: str) -> str:
    """The name of the same network for small images, if there is one and all of it trains."""
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
