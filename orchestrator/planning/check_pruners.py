"""Checks that pruners and networks fit together, before anything trains."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from orchestrator.planning.check_networks import model_of
from pruners import PRUNERS, PruningError, concerns
from pruners.errors import in_one_line, message_of
from pruners.granularity import check
from pruners.transformer_blocks import transformer_blocks
from search_spaces import TRAINING, Network, SpaceError, Trial
from trainables.datasets import lookup
from trainables.measures import MEASURES
from trainables.training.trainer import pruner_of

NO_DECAY = "pruner {}: weight_decay is 0, so its thresholds do not rise, and all is pruned at once late in training"


def require_compatible(trials: Iterable[Trial], force: bool) -> tuple[str, ...]:
    """Reject trials whose masks would be meaningless; with `force` return the reasons as notices instead.

    A recipe in which a pruner does little is a notice in any case.

    Raises:
        SpaceError: in one sentence. A granularity or a measure that does not fit the network is rejected in any case.
    """
    reasons: dict[str, None] = {}
    remarks: dict[str, None] = {}
    for trial in trials:
        if trial.granularity != "weight":
            _require_granularity(trial.network, trial.dataset, trial.granularity, trial.compression, trial.kappa)
        if trial.pruner in PRUNERS and not trial.mask:
            _require_applicable(trial.network, trial.dataset, trial.pruner)
        if trial.measure != TRAINING:
            _require_measure(trial.network, trial.dataset, trial.measure)
        if remark := _about_speed(trial.network, trial.dataset, trial.granularity):
            remarks[remark] = None
        pruner = pruner_of(trial)
        if pruner.by_decay and not trial.weight_decay:
            remarks[NO_DECAY.format(trial.pruner)] = None
        if "linearize" in pruner.options:  # scores from flows, not from data: only these fail on some kinds of layers
            shown = f"architecture {trial.network.label}"
            given = tuple(sorted(trial.options.items()))
            told = _concerns(trial.network, trial.dataset, trial.pruner, trial.mode, given)
            reasons |= dict.fromkeys(f"{shown}: {reason}" for reason in told)
    if reasons and not force:
        raise SpaceError(f"{next(iter(reasons))} --force runs it anyway")
    return (*reasons, *remarks)


@cache
def _concerns(
    network: Network, dataset: str, pruner: str, mode: str, options: tuple[tuple[str, object], ...]
) -> tuple[str, ...]:
    shape = lookup(dataset).input_shape
    try:
        return tuple(concerns(model_of(network, dataset), pruner, shape, mode=mode, options=dict(options)))
    except SpaceError:
        raise
    except Exception:  # noqa: BLE001 - not rejected if scoring fails here; trials report why
        return ()


@cache
def _require_granularity(network: Network, dataset: str, granularity: str, compression: float, kappa: float) -> None:
    try:
        check(model_of(network, dataset), granularity, compression, kappa)
    except Exception as error:  # noqa: BLE001 - a user's network may raise anything
        line = message_of(error) if isinstance(error, ValueError) else in_one_line(error)
        raise SpaceError(f"architecture {network.label}: {line}") from None


@cache
def _about_speed(network: Network, dataset: str, granularity: str) -> str:
    """Return a notice if pruning by `granularity` saves no time in trials; else ""."""
    if ":" in granularity:
        return (
            f"granularity {granularity}: its zeros bring no speed on this machine, because trials time dense kernels "
            "and use no sparse tensor cores"
        )
    if granularity == "head" and not all(
        block.removable for block in transformer_blocks(model_of(network, dataset), "head")
    ):
        return (
            f"architecture {network.label}: its pruned heads are masked but not removed, so they save no time; only "
            "those of torch's MultiheadAttention (vit-tiny, torchvision/vit_b_16, …) are removed"
        )
    return ""


@cache
def _require_applicable(network: Network, dataset: str, pruner: str) -> None:
    check_network = PRUNERS[pruner].check
    if check_network is None:
        return
    model = model_of(network, dataset)
    try:
        check_network(model, lookup(dataset).input_shape)
    except PruningError as error:
        raise SpaceError(f"architecture {network.label}: {message_of(error)}") from None
    except Exception:  # noqa: BLE001 - not rejected if a network fails here; trials report why
        return


@cache
def _require_measure(network: Network, dataset: str, measure: str) -> None:
    try:
        MEASURES[measure].check(model_of(network, dataset))
    except Exception as error:  # noqa: BLE001 - as above
        line = message_of(error) if isinstance(error, ValueError) else in_one_line(error)
        raise SpaceError(f"measure: {measure} is not for architecture {network.label}: {line}") from None
