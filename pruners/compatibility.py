"""Check, by one scoring pass before any training, whether a pruner's scores mean anything on a network."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pruners.model_copy import copied
from pruners.pruner import Pruner
from pruners.registry import lookup
from pruners.reparametrised import of_plain_weights

SATURATING = (
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softsign),  # ReLU6 is a Hardtanh
    *(nn.RNNBase, nn.RNNCellBase),
)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
# Functions that do the same, by plain name: torch, torch.nn.functional and Tensor all have them.
SATURATING_CALLS = frozenset({"hardtanh", "relu6", "hardswish", "hardsigmoid", "sigmoid", "tanh", "softsign"})
NORM_CALLS = frozenset({"layer_norm", "group_norm", "rms_norm", "instance_norm"})
INPUTS = 16  # enough that few scores are zero only because no input activates a weight's ReLU
FEW = 0.05  # share of zero scores that is not reported; with more, the threshold may fall among ties


def concerns(
    model: nn.Module,
    pruner: str | Pruner,
    input_shape: tuple[int, ...],
    *,
    mode: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return one sentence per reason to mistrust `pruner` on `model` for inputs (C, H, W); [] if there is none.

    Scores once on 16 Gaussian inputs. Looks for modules and functions that stop SynFlow's flow, and for scores that
    are not finite or are exactly zero. The model is left as it was.
    Raises PruningError for a pruner, mode or option that does not exist.
    """
    chosen = lookup(pruner) if isinstance(pruner, str) else pruner
    label = pruner if isinstance(pruner, str) else "this pruner"
    granularity = "filter" if chosen.whole_filters else "weight"
    settings = chosen.settings(mode=mode, options=options, granularity=granularity)
    device = next(model.parameters()).device
    inputs = torch.randn(INPUTS, *input_shape, generator=torch.Generator().manual_seed(0)).to(next(model.parameters()))
    batch = (inputs, torch.zeros(INPUTS, dtype=torch.int64, device=device))
    with _Calls() as calls:
        scores = of_plain_weights(chosen.score)(
            copied(model),
            (batch,),
            mode=settings.mode,
            generator=torch.Generator().manual_seed(0),
            **settings.options,
        )
    stops = _stops(model, calls.names, label) if settings.options.get("linearize") is False else []
    return stops + _not_finite(scores, label) + _zeros(scores, label)


class _Calls(TorchFunctionMode):
    """Mode that records in `names` the name of every torch function called inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.add(getattr(func, "__name__", "").strip("_"))
        return func(*args, **(kwargs or {}))


def _stops(model: nn.Module, calls: set[str], label: str) -> list[str]:
    remedy = f"ask for {{name: {label}, linearize: true}}"
    reasons = (
        (
            SATURATING,
            SATURATING_CALLS,
            "saturate at the size of products of absolute weights, and pass no gradient",
        ),
        (NORMS, NORM_CALLS, "divide the flow by its own size, so that scores no longer measure it"),
    )
    sentences = []
    for kinds, functions, reason in reasons:
        hits = [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
        if hits:
            types = ", ".join(sorted({type(module).__name__ for _, module in hits}))
            places = _some([name for name, _ in hits])
            sentences.append(f"{label}: {len(hits)} modules of type {types} ({places}) {reason}; {remedy}.")
        elif called := sorted(calls & functions):
            sentences.append(f"{label}: calls of {', '.join(called)} in the model's forward {reason}; {remedy}.")
    return sentences


def _not_finite(scores: Mapping[str, Tensor], label: str) -> list[str]:
    bad = [name for name, score in scores.items() if not score.isfinite().all()]
    if not bad:
        return []
    dtype = str(next(iter(scores.values())).dtype).removeprefix("torch.")
    return [
        f"{label}: the scores of {len(bad)} layers ({_some(bad)}) are NaN or overflow {dtype}: no mask can be drawn."
    ]


def _zeros(scores: Mapping[str, Tensor], label: str) -> list[str]:
    total = sum(score.numel() for score in scores.values())
    zeros = sum(int((score == 0).sum()) for score in scores.values())
    silent = [name for name, score in scores.items() if not score.any()]
    if zeros <= FEW * total and not silent:
        return []
    layers = f", all of them in {len(silent)} of {len(scores)} layers ({_some(silent)})" if silent else ""
    return [
        f"{label}: {100 * zeros / total:.1f} % of the scores are exactly zero{layers}; only their position decides "
        "which of these weights are kept. Causes: inputs too small for the network, layers that start at zero."
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
