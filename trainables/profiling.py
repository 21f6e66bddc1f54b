"""What a model costs and where its weights are: MACs, latency, memory, the per-layer profile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from pruners import layer_weights, layers
from pruners.float32 import ieee_float32
from trainables.mac_counter import MacCounter

BATCH = 64  # examples per forward pass where latency and memory are measured


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer. `params` and `kept` count its weights, `macs` are for one input."""

    name: str
    shape: tuple[int, ...]
    params: int
    kept: int
    macs: int
    macs_kept: float
    score_mean: float | None
    score_std: float | None

    @property
    def density(self) -> float:
        """The fraction of weights kept."""
        return self.kept / self.params


def macs(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[int, int]]:
    """Return the multiply-accumulates of each layer's weight for one input of `input_shape`: (weights', biases').

    A weight counts once for each position it is applied at (a depthwise convolution therefore costs little), a
    bias once for each output element: so the papers' "FLOPs" tables count (VGG-16 on CIFAR-10: 313.48 million).
    Counted in torch's operations, on the model's device, which may be "meta". A parameter that is no layer's weight
    has a row if it takes part in a product; the products without a parameter are in the row `NO_WEIGHTS`, as (0, all).
    """
    x = _zeros(model, (1, *input_shape))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # else a whole transformer layer is one operation
    try:
        with _in_eval_mode(model), MacCounter(model, x) as counter:
            model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.counts


def profile(
    model: nn.Module, masks: Mapping[str, Tensor], scores: Mapping[str, Tensor], input_shape: tuple[int, ...]
) -> list[Layer]:
    """The per-layer profile in the model's order. Without a mask (dense) a layer keeps all."""
    counts = macs(model, input_shape)
    weights = layer_weights(model)
    rows = []
    for layer, (name, part) in layers(model, with_dense=True).items():
        params = weights[name][part].numel()
        kept = int(masks[name][part].sum()) if name in masks else params
        share = params / weights[name].numel()  # of its parameter's positions, which are alike for all of its layers
        of_weights, of_bias = (round(share * count) for count in counts[name])
        score = scores[name][part].double() if name in scores else None
        rows.append(
            Layer(
                name=layer,
                shape=tuple(weights[name][part].shape),
                params=params,
                kept=kept,
                macs=of_weights + of_bias,
                macs_kept=of_weights * kept / params + of_bias,
                score_mean=None if score is None else float(score.mean()),
                score_std=None if score is None else float(score.std(correction=0)),
            )
        )
    return rows


def latency_ms(model: nn.Module, input_shape: tuple[int, ...], repeats: int = 15) -> float:
    """Return the median milliseconds of one forward pass of 64 inputs in eval mode, after three passes of warm-up.

    Wall time, until the device has finished. `torch.utils.benchmark.Timer` measures the same, but makes two more
    passes for each that it times, or as many as fill a given time.
    """
    x = _zeros(model, (BATCH, *input_shape))
    times = []
    with _in_eval_mode(model):
        for _ in range(3 + repeats):
            _wait(x)
            started = time.perf_counter()
            model(x)
            _wait(x)
            times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times[3:])


def latency_setting(share: float) -> str:
    """Return what the tag `latency` says of a trial with this `share` of a GPU (0: it was told of none).

    Other processes on the same GPU make latencies longer: only those measured "alone" can be compared.
    """
    return "beside other trials" if 0 < share < 1 else "alone"


def peak_mb(model: nn.Module, input_shape: tuple[int, ...]) -> float:
    """Megabytes (10^6) of tensors alive at the peak of one forward pass of 64 inputs, parameters included.

    Counted from the tensors themselves, so the number is the same on every machine.
    """
    from torch.distributed._tools.mem_tracker import MemTracker  # takes a second; the driver never needs it

    tracker = MemTracker()
    tracker.track_external(model)
    with tracker:
        _forward(model, _zeros(model, (BATCH, *input_shape)))
    snapshot = tracker.get_tracker_snapshot("peak")
    return sum(kinds["Total"] for kinds in snapshot.values()) / 1e6


def file_mb(model: nn.Module) -> float:
    """Megabytes (10^6) of the model's safetensors file."""
    return len(to_safetensors({k: v.contiguous() for k, v in model.state_dict().items()})) / 1e6


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in eval mode and nothing is kept for a backward pass."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), ieee_float32():
            yield
    finally:
        model.train(was_training)


def _forward(model: nn.Module, x: Tensor) -> None:
    with _in_eval_mode(model):
        model(x)


def _zeros(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    like = next(model.parameters())
    return torch.zeros(shape, dtype=like.dtype, device=like.device)


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
