"""Attention and recurrent layers unrolled into their linear maps, for passes that compute with other numbers.

torch computes each of these layers in one function. The caller gives its own linear map, attention and recurrent cell.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor

from pruners.errors import PruningError

RecurrentKind = Literal["lstm", "gru", "rnn"]
Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # x (..., I), weight (O, I), bias (O,) or None -> (..., O)
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # query (N, heads, L, E), key and value (N, heads, S, E) -> query's
# kind, the input's and the last output's contribution to each gate, the cell's last state -> output and state
RecurrentCell = Callable[[RecurrentKind, Sequence[Tensor], Sequence[Tensor], Tensor], tuple[Tensor, Tensor]]

GATES: Mapping[RecurrentKind, int] = {"lstm": 4, "gru": 3, "rnn": 1}
_KINDS: Mapping[str, RecurrentKind] = {"lstm": "lstm", "gru": "gru", "rnn_tanh": "rnn", "rnn_relu": "rnn"}
NAMES = frozenset({"multi_head_attention_forward", *_KINDS, *(f"{name}_cell" for name in _KINDS)})


def unrolled(
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    linear: Linear,
    attend: Attend,
    cell: RecurrentCell,
) -> Any:
    """Compute the function `func`, whose `__name__` is one of `NAMES`, with the caller's `linear`, `attend` and `cell`.

    Masks of attention, dropout and the rows that attention adds by itself (`add_bias_kv`) are left out. The weights of
    attention, if they are asked for, are uniform.

    Raises:
        PruningError: for packed sequences.
    """
    name = func.__name__
    if name == "multi_head_attention_forward":
        return _multi_head(signature(func).bind(*args, **kwargs).arguments, linear, attend)
    if name.endswith("_cell"):
        return _one_step(_KINDS[name.removesuffix("_cell")], *args, linear=linear, cell=cell)
    if not isinstance(args[2], list | tuple):
        raise PruningError("Packed sequences cannot be followed: this needs a network that pads its sequences.")
    return _sequence(_KINDS[name], args, linear, cell)


def _multi_head(given: Mapping[str, Any], linear: Linear, attend: Attend) -> tuple[Tensor, Tensor | None]:
    streams = [given["query"], given["key"], given["value"]]
    if given.get("use_separate_proj_weight"):
        weights = [given["q_proj_weight"], given["k_proj_weight"], given["v_proj_weight"]]
    else:
        weights = list(given["in_proj_weight"].chunk(3))
    biases = [None] * 3 if given["in_proj_bias"] is None else given["in_proj_bias"].chunk(3)
    heads, single = given["num_heads"], streams[0].dim() == 2
    split = []
    for stream, weight, bias in zip(streams, weights, biases, strict=True):
        row = linear(stream.unsqueeze(1) if single else stream, weight, bias)  # (L, N, E)
        split.append(row.reshape(*row.shape[:2], heads, -1).permute(1, 2, 0, 3))
    joined = attend(*split).permute(2, 0, 1, 3).flatten(2)
    output = linear(joined, given["out_proj_weight"], given["out_proj_bias"])
    shares = None
    if given.get("need_weights", True):
        length = split[1].shape[-2]
        shares = output.new_full((output.shape[1], output.shape[0], length), 1 / length)
    return output.squeeze(1) if single else output, shares


def _one_step(  # noqa: PLR0913 - the operands of a recurrent cell
    kind: RecurrentKind,
    x: Tensor,
    state: Any,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    *,
    linear: Linear,
    cell: RecurrentCell,
) -> Any:
    h, c = state if kind == "lstm" else (state, state)
    gates = GATES[kind]
    h, c = cell(kind, linear(x, w_ih, b_ih).chunk(gates, -1), linear(h, w_hh, b_hh).chunk(gates, -1), c)
    return (h, c) if kind == "lstm" else h


def _sequence(kind: RecurrentKind, args: Sequence[Any], linear: Linear, cell: RecurrentCell) -> tuple[Tensor, ...]:
    x, start, flat, has_biases, count, _, _, both_ways, batch_first = args
    if batch_first:
        x = x.transpose(0, 1)
    h_start, c_start = start if kind == "lstm" else (start, start)
    directions = 2 if both_ways else 1
    each = len(flat) // (count * directions)
    last_h, last_c = [], []
    for layer in range(count):
        outputs = []
        for direction in range(directions):
            number = layer * directions + direction
            w_ih, w_hh, *others = flat[number * each : (number + 1) * each]
            b_ih, b_hh = others[:2] if has_biases else (None, None)
            projection = others[2 if has_biases else 0 :]
            of_inputs, h, c = linear(x, w_ih, b_ih), h_start[number], c_start[number]
            steps = []
            for t in reversed(range(len(x))) if direction else range(len(x)):
                of_h = linear(h, w_hh, b_hh).chunk(GATES[kind], -1)
                h, c = cell(kind, of_inputs[t].chunk(GATES[kind], -1), of_h, c)
                if projection:
                    h = linear(h, projection[0], None)
                steps.append(h)
            outputs.append(torch.stack(steps[::-1] if direction else steps))
            last_h.append(h)
            last_c.append(c)
        x = torch.cat(outputs, -1)
    result = (x.transpose(0, 1) if batch_first else x, torch.stack(last_h))
    return (*result, torch.stack(last_c)) if kind == "lstm" else result
