"""Networks on datasets: that they run, find their weights and can train them all, before anything trains."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from pruners import dead_weights
from pruners.errors import in_one_line, words
from pruners.weights import dense_share
from search_spaces import Network, Space, SpaceError, Trial
from trainables import given_weights
from trainables.architectures import ARCHITECTURES, build, lookup, pretrained
from trainables.datasets import lookup as dataset_of
from trainables.place import Place

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
        _require_logits(network, dataset)
        if network.pretrained:
            notices |= dict.fromkeys(_about_weights(network, dataset, files.get(network.pretrained)))
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
            given_weights.provide(network, place, files.get(network.pretrained))


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
    except Exception:  # noqa: BLE001 - a user's code may raise anything; if it is at fault it does so again
        return model_of(network.fresh, dataset)


@cache
def model_of(network: Network, dataset: str) -> nn.Module:
    """The network as a trial of seed 0 would draw it, without pretrained weights.

    Raises:
        SpaceError: if it cannot be made for the dataset's images.
    """
    spec = dataset_of(dataset)
    try:
        return build(network.fresh, spec.input_shape, spec.num_classes, seed=0)
    except Exception as error:  # noqa: BLE001 - a user's code may raise anything
        line = words(error) if isinstance(error, ValueError) else in_one_line(error)
        raise SpaceError(_named(network, line)) from None


def _require_logits(network: Network, dataset: str) -> None:
    """Two images through the network must give two rows of logits."""
    spec = dataset_of(dataset)
    model = copy.deepcopy(outline(network, dataset)).train()
    images = torch.zeros(2, *spec.input_shape, device=next(model.parameters()).device)
    size = "x".join(map(str, spec.input_shape))
    try:
        with torch.no_grad(), torch.random.fork_rng([]):
            found = model(images)
    except Exception as error:  # noqa: BLE001 - as above
        what = f"it does not run on the {size} images of {dataset}: {in_one_line(error)}"
        raise SpaceError(_named(network, what)) from None
    if not isinstance(found, Tensor) or found.shape != (2, spec.num_classes):
        given = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        wanted = (2, spec.num_classes)
        raise SpaceError(
            _named(network, f"it makes {given} of two images of {dataset}; it must return {wanted} logits")
        )


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


@cache
def _share_dead(network: Network, dataset: str) -> float:
    dead = dead_weights(model_of(network, dataset), dataset_of(dataset).input_shape)
    return sum(int(mask.sum()) for mask in dead.values()) / sum(mask.numel() for mask in dead.values())


def _dead(network: Network, dataset: str) -> str:
    """Why compressions of the network mean little on the dataset; "" if they do mean something."""
    size = "x".join(map(str, dataset_of(dataset).input_shape[1:]))
    try:
        share = _share_dead(network, dataset)
    except Exception:  # noqa: BLE001 - what cannot be followed is measured no further; trials say why
        return ""
    if share <= DEAD:
        return ""
    what = f"{100 * share:.0f} % of its prunable weights can never train on the {size} images of {dataset}"
    better = _better(network, dataset)
    advice = f"ask for '{better}'" if better else "its maps shrink to one pixel; ask for one that shrinks them less"
    return _named(network, f"{what}, so its compressions would say little; {advice}.")


def _better(network: Network, dataset: str) -> str:
    """The name of the same network for small images, if there is one and all of it trains."""
    bare = network.name.removeprefix("torchvision/").replace("_", "-")
    for name in (f"{bare}-cifar", bare):
        if name in ARCHITECTURES and name != network.name:
            try:
                if _share_dead(replace(network, name=name, options=(), keep_dense=()), dataset) <= DEAD:
                    return name
            except SpaceError:
                continue
    return ""


def _named(network: Network, what: str) -> str:
    what = what.removeprefix("architecture: ")
    return f"architecture {network.label}: {what}"
