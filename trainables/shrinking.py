"""What pruning bought: the smaller model that computes the same, and the weights that take part at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from pruners import compact, connected, dead_weights, effective, empty_layers
from pruners.errors import OF_THE_MACHINE, in_one_line
from trainables.architectures import Shape
from trainables.profiling import file_mb, latency_ms, macs, peak_mb
from trainables.unmeasured import Unmeasured


def paths(model: nn.Module, masks: Mapping[str, Tensor], input_shape: Shape) -> tuple[dict[str, float], str]:
    """Metrics of the weights on a path from input to output, or none and the reason.

    An architecture that cannot be followed must not cost a trial its result, whatever it raises; a machine that fails
    is no property of it, and raises.
    """
    try:
        alive = effective(model, masks, input_shape)
        dead = dead_weights(model, input_shape)
    except OF_THE_MACHINE:
        raise
    except Exception as error:  # noqa: BLE001
        return {}, in_one_line(error)
    total = sum(mask.numel() for mask in alive.values())
    return {
        "prune/effective_density": sum(int(mask.sum()) for mask in alive.values()) / total,
        "prune/dead_weights": sum(int(mask.sum()) for mask in dead.values()),
    }, ""


def collapsed(model: nn.Module, masks: Mapping[str, Tensor], input_shape: Shape) -> bool:
    """Can the input no longer reach the output through kept weights?

    Where that cannot be told, as for `paths`: has any layer no weight left?
    """
    try:
        return not connected(model, masks, input_shape)
    except OF_THE_MACHINE:
        raise
    except Exception:  # noqa: BLE001
        return bool(empty_layers(masks))


def measured(
    model: nn.Module, masks: Mapping[str, Tensor], input_shape: Shape, unmeasured: Unmeasured | None = None
) -> tuple[dict[str, float], str]:
    """Return metrics of the compacted model; of the model as it is, and the reason, where it cannot be compacted.

    A cost that cannot be measured is absent, and `unmeasured` is told why.
    """
    try:
        compacted = compact(model, masks, input_shape)
        small, reason = compacted.model, compacted.reason
    except OF_THE_MACHINE:
        raise
    except Exception as error:  # noqa: BLE001
        small, reason = model, in_one_line(error)
    costs: dict[str, Callable[[], float]] = {
        "model/params_compacted": lambda: sum(parameter.numel() for parameter in small.parameters()),
        "model/macs_compacted": lambda: sum(map(sum, macs(small, input_shape).values())),
        "model/latency_ms": lambda: latency_ms(small, input_shape),
        "model/peak_mb": lambda: peak_mb(small, input_shape),
        "model/file_mb": lambda: file_mb(small),
    }
    unmeasured = unmeasured or Unmeasured()
    numbers = {cost: unmeasured.attempt(cost, measure) for cost, measure in costs.items()}
    return {cost: number for cost, number in numbers.items() if number is not None}, reason
