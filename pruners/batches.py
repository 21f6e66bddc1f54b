"""Reading of batches in the usual formats as pairs of inputs and labels, which are then handed out as copies."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast, overload

import numpy as np
import torch
from torch import Tensor, nn

from pruners.errors import PruningError, in_one_line
from pruners.pruner import Batch

_WHAT = "pass batches=[(inputs, labels), ...], tensors (N, ...) and class numbers (N,)"
_INPUTS = (
    *("pixel_values", "image", "images", "img", "imgs", "input", "inputs", "x", "data", "features", "feature"),
    *("input_ids", "input_values", "input_features", "inputs_embeds"),
)
_LABELS = ("labels", "label", "target", "targets", "y", "class", "classes", "fine_label")
# Further inputs of Hugging Face's models, with the value that is their default: inputs of this value can be left out.
_NEUTRAL = {"attention_mask": 1, "pixel_mask": 1, "token_type_ids": 0}


class Batches(Sequence[Batch]):
    """Pairs to score on, copied at each access, because a network or a score may change its inputs in place.

    Inputs of a floating type that is not in `dtypes` are converted to the first of these. All are moved to `device`,
    if it is given.
    """

    def __init__(
        self, pairs: Sequence[Batch], dtypes: Sequence[torch.dtype] = (), device: torch.device | None = None
    ) -> None:
        """Keep the pairs without copying them."""
        self._pairs, self._dtypes, self._device = pairs, dtypes, device

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return Batches(self._pairs[index], self._dtypes, self._device)
        inputs, labels = self._pairs[index]
        dtype = inputs.dtype
        if inputs.is_floating_point() and self._dtypes and dtype not in self._dtypes:
            dtype = self._dtypes[0]
        return (
            inputs.to(self._device or inputs.device, dtype, copy=True),
            labels.to(self._device or labels.device, copy=True),
        )

    def __iter__(self) -> Iterator[Batch]:
        return (self[index] for index in range(len(self)))


def read_batches(given: Any, *, labelled: bool = True, first: bool = False) -> list[Batch]:
    """Return `given` as pairs of tensors: inputs (N, ...) and labels, int64 (N, ...) or probabilities (N, classes).

    `given` is an iterable of batches or a single batch. A batch is a pair, a mapping or an object with fields; its
    parts are tensors, numpy arrays or, for labels, a list. Class numbers of any type become int64, and labels (N, 1)
    become (N,). With `first`, only the first batch is read. Unless `labelled`, inputs may lack labels and may be NaN.
    Raises PruningError, with the batch and what it must be, for anything that is not clearly a batch.
    """
    if given is None:
        return []
    if isinstance(given, str | bytes | int | float | nn.Module):
        raise PruningError(f"The batches are of type {type(given).__name__}: {_WHAT}.")
    pairs: list[Batch] = []
    for number, batch in enumerate(_each(given, labelled)):
        pairs.append(_pair(batch, f"Batch {number}", labelled))
        if first:
            break
    return pairs


def _each(given: Any, labelled: bool) -> Iterator[Any]:
    """Return an iterator over the batches in `given`, which may also be a single batch."""
    if isinstance(given, Tensor | np.ndarray):
        if not labelled:
            return iter([given])
        raise PruningError(f"The batches are one array without labels: {_WHAT}.")
    if _fields(given) is not None or _is_pair(given):
        return iter([given])
    if not isinstance(given, Iterable) and not hasattr(given, "__getitem__"):
        raise PruningError(f"The batches are of type {type(given).__name__}: {_WHAT}.")
    return cast("Iterator[Any]", iter(given))


def _is_pair(given: Any) -> bool:
    """Return True if this is a single batch, inputs and then their labels, and not a list of two batches."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        return False
    inputs, labels = given
    if not isinstance(inputs, Tensor | np.ndarray) or not inputs.ndim:
        return False
    if isinstance(labels, list | tuple):
        return len(labels) == len(inputs) and all(isinstance(label, int) for label in labels)
    if not isinstance(labels, Tensor | np.ndarray):
        return False
    # Two batches without labels look alike. Labels have fewer dimensions than inputs, or rows that are probabilities.
    if labels.ndim < inputs.ndim or labels.ndim <= 1:
        return True
    rows = torch.as_tensor(labels)
    return rows.dim() == 2 and len(rows) == len(inputs) and bool(((rows.sum(1) - 1).abs() < 1e-2).all())


def _fields(batch: Any) -> dict[str, Any] | None:
    """Return the named parts of a batch; None if its parts have no names."""
    if isinstance(batch, Mapping):
        return {str(key): value for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        named = dict(zip(batch._fields, batch, strict=True))
        return named if {*named} & {*_INPUTS, *_LABELS} or len(named) != 2 else None
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return dict(vars(batch)) if isinstance(batch, SimpleNamespace) else None


def _pair(batch: Any, where: str, labelled: bool) -> Batch:
    fields = _fields(batch)
    if fields is not None:
        inputs, labels = _named(fields, where)
    elif isinstance(batch, Tensor | np.ndarray):
        inputs, labels = batch, None
    elif isinstance(batch, tuple | list) and len(batch) in (1, 2):
        inputs, labels = (*batch, None)[:2]
    else:
        count = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
        raise PruningError(f"{where} is a {type(batch).__name__}{count}: {_WHAT}.")
    x = _inputs(inputs, where, labelled)
    if labels is None and not labelled:
        return x, torch.zeros(len(x), dtype=torch.int64)
    if labels is None:
        raise PruningError(f"{where} has inputs {list(x.shape)} and no labels: {_WHAT}.")
    return x, _labels(labels, len(x), where)


def _named(fields: Mapping[str, Any], where: str) -> tuple[Any, Any]:
    """Return the inputs, and the labels or None, of a batch whose parts have names."""
    present = {key: value for key, value in fields.items() if value is not None}
    keys = {key: key.lower() for key in present}
    inputs = [key for key in present if keys[key] in _INPUTS]
    labels = [key for key in present if keys[key] in _LABELS]
    if len(inputs) != 1 or len(labels) > 1:
        raise PruningError(
            f"{where} has the keys {', '.join(present) or '(none)'}: its inputs and labels cannot be told apart. "
            "It must have one of image, pixel_values, inputs, input_ids, x, ... and one of labels, label, target, y."
        )
    for key, value in present.items():
        if key in (*inputs, *labels) or not isinstance(value, Tensor | np.ndarray) or value.ndim < 2:
            continue  # not an input of the network: numbers, names and paths
        if key not in _NEUTRAL or not bool((torch.as_tensor(value) == _NEUTRAL[key]).all()):
            raise PruningError(
                f"{where} has {key} {list(value.shape)} beside {inputs[0]}: the model is called with one input, "
                "so wrap it in a module that takes one."
            )
    return present[inputs[0]], present[labels[0]] if labels else None


def _tensor(value: Any, where: str, what: str) -> Tensor:
    if hasattr(value, "__array__") and not isinstance(value, Tensor):  # numpy, pandas
        value = np.asarray(value)
        if value.dtype.kind not in "biuf":
            raise PruningError(f"{where}: its {what} are a numpy array of type {value.dtype}; they must be numbers.")
        return torch.from_numpy(
            np.array(value, dtype=np.float64 if value.dtype.itemsize > 8 else value.dtype.newbyteorder("="))
        )
    if isinstance(value, list | tuple) and what == "labels":
        try:
            return torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise PruningError(f"{where}: its labels are not class numbers: {in_one_line(error)}.") from None
    if not isinstance(value, Tensor):
        raise PruningError(f"{where}: its {what} are of type {type(value).__name__}: {_WHAT}.")
    if value.is_meta:
        raise PruningError(f"{where}: its {what} are on the meta device and have no values.")
    return value.detach() if value.layout == torch.strided else value.detach().to_dense()


def _inputs(value: Any, where: str, labelled: bool) -> Tensor:
    x = _tensor(value, where, "inputs")
    if x.is_complex():
        raise PruningError(f"{where}: its inputs are complex; pass real numbers.")
    if not x.dim() or not x.numel():
        raise PruningError(f"{where}: its inputs are empty, of shape {list(x.shape)}: {_WHAT}.")
    if labelled and x.is_floating_point() and not x.isfinite().all():
        raise PruningError(
            f"{where}: its inputs hold {int(x.isnan().sum())} NaN and {int(x.isinf().sum())} infinite values."
        )
    return x


def _labels(value: Any, count: int, where: str) -> Tensor:
    y = _tensor(value, where, "labels")
    if not y.dim():
        raise PruningError(
            f"{where}: its label is a single number, so it is one example, not a batch: use a DataLoader, or {_WHAT}."
        )
    if len(y) != count:
        raise PruningError(f"{where} has {count} inputs and {len(y)} labels: {_WHAT}.")
    if y.dim() == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.is_complex() or (y.is_floating_point() and not y.isfinite().all()):
        raise PruningError(f"{where}: its labels are complex, NaN or infinite: {_WHAT}.")
    if not y.is_floating_point():
        return y.long()
    if y.dim() > 1:
        return y
    if (y != y.round()).any():
        raise PruningError(f"{where}: its labels are fractions such as {float(y[y != y.round()][0]):g}: {_WHAT}.")
    return y.long()
