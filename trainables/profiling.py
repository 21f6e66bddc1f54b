"""Costs of a model and its per-layer profile: MACs, latency, memory, file size, and collapse."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from pruners import compact, connected, dead_weights, effective, empty_layers, layers
from pruners.errors import OF_THE_MACHINE, in_one_line, is_out_of_memory
from pruners.float32 import ieee_float32
from trainables.architectures import Shape
from trainables.mac_counter import NO_WEIGHTS, MacCounter
from trainables.paired_times import Clock, paired_times
from trainables.peak_memory import PeakMemory

P = ParamSpec("P")
T = TypeVar("T")


class Unmeasured:
    """Reasons why some costs of a trial could not be measured, by the cost's name."""

    def __init__(self) -> None:
        """Start without any reasons."""
        self.reasons: dict[str, str] = {}

    def attempt(self, cost: str, measure: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return the result of `measure`; None if it fails for this network, and remember the reason.

        Failures of the machine (memory, disk, GPU) are not a property of the network and are raised.
        """
        try:
            return measure(*args, **kwargs)
        except (*OF_THE_MACHINE, OSError):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.reasons[cost] = in_one_line(error)
            return None

    def tags(self) -> dict[str, str]:
        """Return a tag per cost: `unmeasured.model/peak_mb: RuntimeError: ...`."""
        return {f"unmeasured.{cost}": reason[:500] for cost, reason in self.reasons.items()}


MEASURED_ALONE = "alone"  # value of the tag `latency`: nothing else ran on the device
BATCH = 64  # examples per forward pass where latency and memory are measured
TIMED_MACS = 25 * 10**9  # at most, of a timed pass on a CPU: about half a second on one thread; VGG-16 on CIFAR has 20


@dataclass(frozen=True)
class LayerProfile:
    """Profile of one weight. `params` and `kept` count its numbers; `macs` are for one input, None if not known.

    The row of products without weights has an empty shape, and `params` and `kept` are 0.
    """

    name: str
    shape: tuple[int, ...]
    params: int
    kept: int
    macs: int | None
    macs_kept: float | None
    score_mean: float | None
    score_std: float | None

    @property
    def density(self) -> float:
        """Fraction of weights kept; 1 if there are no weights."""
        return self.kept / self.params if self.params else 1.0


def macs(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[int, int]]:
    """Return the multiply-accumulates of each layer's weight for one input of `input_shape`: (weights', biases').

    A weight counts once for each position it is applied at (a depthwise convolution therefore costs little), a
    bias once for each output element, as in the papers' "FLOPs" tables (VGG-16 on CIFAR-10: 313.48 million).
    Counted in torch's operations, on the model's device, which may be "meta". A parameter that is not a layer's weight
    has a row if it takes part in a product. Products without a parameter are in the row `NO_WEIGHTS`, as (0, all).
    """
    x = _zeros(model, (1, *input_shape))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # with it a whole transformer layer is one operation
    try:
        counter = MacCounter(model, x)
        with _in_eval_mode(model), counter:
            model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.counts


def profile(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    input_shape: tuple[int, ...],
    unmeasured: Unmeasured | None = None,
) -> list[LayerProfile]:
    """Return the per-layer profile in the model's order. A layer without a mask (dense) keeps all weights.

    Parameters that are not a layer's weight but take part in products are included; products without weights come last.
    With `unmeasured`, multiply-accumulates that cannot be counted are None, and it records the reason.
    """
    counts = macs(model, input_shape) if unmeasured is None else unmeasured.attempt("macs", macs, model, input_shape)
    parameters = dict(model.named_parameters())
    parts = layers(model, with_dense=True)
    weights = {name for name, _ in parts.values()}
    others = {name: (name, ...) for name in parameters if name in (counts or {}) and name not in weights}
    place = {name: number for number, name in enumerate(parameters)}
    rows = []
    for layer, (name, part) in sorted((parts | others).items(), key=lambda item: place[item[1][0]]):
        whole, weight = parameters[name], parameters[name][part]
        mask, score = (given[name][part] if name in given else None for given in (masks, scores))
        share = weight.numel() / whole.numel()  # of its parameter's products: all positions have the same number
        count = None if counts is None else tuple(round(share * of) for of in counts.get(name, (0, 0)))
        rows.append(_layer(layer, weight, mask, score, count))
    if counts and NO_WEIGHTS in counts:
        without = sum(counts[NO_WEIGHTS])
        rows.append(LayerProfile(NO_WEIGHTS, (), 0, 0, without, without, None, None))
    return rows


def _layer(
    name: str, weight: Tensor, mask: Tensor | None, score: Tensor | None, count: tuple[int, ...] | None
) -> LayerProfile:
    """Return the row of a layer; `count` has its multiply-accumulates of weights and of biases."""
    params = weight.numel()
    kept = params if mask is None else int(mask.sum())
    score = None if score is None else score.double()
    return LayerProfile(
        name=name,
        shape=tuple(weight.shape),
        params=params,
        kept=kept,
        macs=None if count is None else sum(count),
        macs_kept=None if count is None else count[0] * kept / params + count[1],
        score_mean=None if score is None else float(score.mean()),
        score_std=None if score is None else float(score.std(correction=0)),
    )


@dataclass(frozen=True)
class Latency:
    """Time of a network's forward pass beside that of the dense network, medians over the pairs measured."""

    ms: float  # milliseconds of a pass of `BATCH` inputs through the network
    dense_ms: float  # through the dense one
    speedup: float  # the dense network's time / the network's, of each pair
    spread: float  # interquartile range of the pairs' speedups
    inputs: int  # of a timed pass

    @property
    def metrics(self) -> dict[str, float]:
        """Return the metrics that a trial logs."""
        return {
            "model/latency_ms": self.ms,
            "model/latency_inputs": self.inputs,
            "model/speedup": self.speedup,
            "model/speedup_spread": self.spread,
        }


def latency(dense: nn.Module, model: nn.Module, input_shape: tuple[int, ...], clock: Clock | None = None) -> Latency:
    """Return the latency of `model` beside that of `dense`, measured in pairs (see `paired_times`), in eval mode.

    Both are measured as they are: no norms are folded, and a dense network may have weights of zero, which take as long
    as others. The time is wall time until the device has finished. On one CPU thread it is the CPU time of that thread,
    which leaves out the time that other processes take. `clock` is used instead if it is given. On a CPU a pass has as
    many inputs as `timed_inputs` says, and the milliseconds are scaled to `BATCH`.
    """
    inputs = timed_inputs(dense, input_shape)
    x = _zeros(dense, (inputs, *input_shape))
    with _in_eval_mode(dense), _in_eval_mode(model):
        pairs = paired_times(partial(dense, x), partial(model, x), clock or _clock(x))
    dense_ms, ms = (1000 * BATCH / inputs * statistics.median(times) for times in zip(*pairs, strict=True))
    low, speedup, high = statistics.quantiles((before / after for before, after in pairs), method="inclusive")
    return Latency(ms, dense_ms, speedup, high - low, inputs)


def timed_inputs(dense: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Return the inputs of a timed pass: `BATCH`; on a CPU fewer, a power of two, where these are over `TIMED_MACS`.

    The number depends on the network alone, so all trials of a network are measured with the same.
    """
    if next(dense.parameters()).is_cuda:
        return BATCH
    counts = Unmeasured().attempt("macs", macs, dense, input_shape)  # the reason, if any, is recorded with `model/macs`
    if counts is None:
        return BATCH
    most = TIMED_MACS // max(1, sum(map(sum, counts.values())))
    return min(BATCH, 1 << max(0, most.bit_length() - 1))


def _clock(x: Tensor) -> Clock:
    """Return the clock for passes of `x`: on one CPU thread its CPU time, else wall time."""
    if not x.is_cuda:
        return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter

    def when_done() -> float:
        torch.cuda.synchronize(x.device)
        return time.perf_counter()

    return when_done


def latency_setting(share: float) -> str:
    """Return the tag `latency` of a trial with this `share` of a GPU (0: no share was given).

    Other processes on the same GPU make latencies longer, so only latencies measured "alone" can be compared.
    """
    return "beside other trials" if 0 < share < 1 else MEASURED_ALONE


def peak_mb(model: nn.Module, input_shape: tuple[int, ...]) -> float:
    """Return the megabytes (10^6) of tensors alive at the peak of one forward pass of 64 inputs, parameters included.

    Counted from the tensors themselves, so the number is the same on every machine.
    """
    x = _zeros(model, (BATCH, *input_shape))
    memory = PeakMemory([*model.parameters(), *model.buffers(), x])
    with _in_eval_mode(model), memory:
        model(x)
    return memory.peak / 1e6


def file_mb(model: nn.Module) -> float:
    """Return the megabytes (10^6) of the model's safetensors file, with shared tensors stored once."""
    tensors = {_place(tensor): (name, tensor) for name, tensor in reversed(model.state_dict().items())}
    return len(to_safetensors(own_memory(dict(reversed(tensors.values()))))) / 1e6


def own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors contiguous and without shared memory, as safetensors requires."""
    seen: set[int] = set()
    alone = {}
    for name, tensor in tensors.items():
        whole = tensor.contiguous()
        storage = whole.untyped_storage()
        alone[name] = whole.clone() if storage.data_ptr() in seen or storage.nbytes() > whole.nbytes else whole
        seen.add(storage.data_ptr())
    return alone


def _place(tensor: Tensor) -> tuple[object, ...]:
    return tensor.data_ptr() or id(tensor), tensor.shape, tensor.stride(), tensor.dtype


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode and torch into inference mode and IEEE float32 inside the block."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), ieee_float32():
            yield
    finally:
        model.train(was_training)


def _zeros(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    like = next(model.parameters())
    return torch.zeros(shape, dtype=like.dtype, device=like.device)


def paths(model: nn.Module, masks: Mapping[str, Tensor], input_shape: Shape) -> tuple[dict[str, float], str]:
    """Return metrics of the weights on a path from input to output and "", or {} and the reason.

    An architecture that cannot be traced must not fail the trial, whatever it raises. Failures of the machine are not a
    property of the architecture and are raised.
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
    """Return True if no path of kept weights leads from the input to the output.

    If the architecture cannot be traced, as in `paths`, return True if any layer has no weights left.
    """
    try:
        return not connected(model, masks, input_shape)
    except OF_THE_MACHINE:
        raise
    except Exception:  # noqa: BLE001
        return bool(empty_layers(masks))


def compacted_or_whole(model: nn.Module, masks: Mapping[str, Tensor], input_shape: Shape) -> tuple[nn.Module, str]:
    """Return the compacted model and ""; if it cannot be compacted, the model itself and the reason."""
    try:
        compacted = compact(model, masks, input_shape)
        return compacted.model, compacted.reason
    except OF_THE_MACHINE:
        raise
    except Exception as error:  # noqa: BLE001
        return model, in_one_line(error)


def compacted_metrics(
    model: nn.Module, masks: Mapping[str, Tensor], input_shape: Shape, unmeasured: Unmeasured | None = None
) -> tuple[dict[str, float], str]:
    """Return metrics of the compacted model and ""; if it cannot be compacted, of the model itself and the reason.

    Its testing time is measured beside that of `model`, which without its masks is the dense network. A cost that
    cannot be measured is left out, and `unmeasured` records why.
    """
    small, reason = compacted_or_whole(model, masks, input_shape)
    costs: dict[str, Callable[[], float]] = {
        "model/params_compacted": lambda: sum(parameter.numel() for parameter in small.parameters()),
        "model/macs_compacted": lambda: sum(map(sum, macs(small, input_shape).values())),
        "model/peak_mb": lambda: peak_mb(small, input_shape),
        "model/file_mb": lambda: file_mb(small),
    }
    unmeasured = unmeasured or Unmeasured()
    numbers = {cost: unmeasured.attempt(cost, measure) for cost, measure in costs.items()}
    times = unmeasured.attempt("model/latency_ms", latency, model, small, input_shape)
    known = {cost: number for cost, number in numbers.items() if number is not None}
    return known | (times.metrics if times else {}), reason
