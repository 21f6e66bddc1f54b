"""Slicing of a network's layers to the channels that are kept, and the way back to the full size."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruners.channels import Channels, PrunableLayer
from pruners.compaction.narrow_attention import Indices, narrow


def kept_indices(model: nn.Module, channels: Channels, alive: Tensor) -> dict[str, Indices]:
    """Return, per name in the state dict, the rows and, for layers, the columns to keep; other tensors stay whole."""
    kept: dict[str, Indices] = {}
    for prefix, module in model.named_modules():
        if module not in channels.outputs:
            continue
        rows = alive[channels.outputs[module]].nonzero().flatten()
        for key, tensor in {**module._parameters, **module._buffers}.items():
            if tensor is None or tensor.dim() == 0:
                continue
            name = f"{prefix}.{key}" if prefix else key
            kept[name] = (rows,)
            if key == "weight" and isinstance(module, PrunableLayer):
                columns = alive[channels.inputs[module]].nonzero().flatten()
                grouped = not isinstance(module, nn.Linear) and module.groups > 1
                # The columns of a grouped convolution are positions in a group, and groups are removed as a whole.
                kept[name] = (rows, torch.arange(tensor.shape[1]) if grouped else columns)
    return kept


def take(tensor: Tensor, indices: Indices) -> Tensor:
    """Return the part of `tensor` at `indices`, one per leading axis, in the memory format of the whole."""
    last = tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
    for axis, index in enumerate(indices):
        if len(index) < tensor.shape[axis]:
            tensor = tensor.index_select(axis, index.to(tensor.device))
    return tensor.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def put(whole: Tensor, part: Tensor, indices: Indices) -> Tensor:
    """Return a copy of `whole` with `part` at `indices`, one per leading axis: the inverse of `take`."""
    result = whole.clone()
    grid = torch.meshgrid(*(index.to(whole.device) for index in indices), indexing="ij")
    result[grid] = part.to(whole)
    return result


def slice_(model: nn.Module, kept: Mapping[str, Indices]) -> None:
    """Replace, in place, the tensors named in `kept` by their kept parts; shared weights stay shared."""
    done: dict[int, nn.Parameter] = {}
    for prefix, module in model.named_modules():
        main = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        sizes = kept.get(f"{prefix}.{main}" if prefix else main)
        for key, parameter in module._parameters.items():
            indices = kept.get(f"{prefix}.{key}" if prefix else key)
            if parameter is not None and indices is not None:
                if id(parameter) not in done:
                    part = take(parameter.detach(), indices)
                    done[id(parameter)] = nn.Parameter(part, requires_grad=parameter.requires_grad)
                module._parameters[key] = done[id(parameter)]
        for key, buffer in module._buffers.items():
            indices = kept.get(f"{prefix}.{key}" if prefix else key)
            if buffer is not None and indices is not None:
                module._buffers[key] = take(buffer, indices)
                sizes = indices
        if sizes is not None:
            _resize(module, *map(len, sizes))


def refit(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the state dict of a compacted model into a whole `model` of the same kind, in place, with its sizes.

    Raises RuntimeError, as `load_state_dict` does, if the names or sizes are not those of such a model.
    """
    whole = model.state_dict()
    # It does not matter which channels were kept: the first ones stand for them, and their values are replaced.
    first = {
        name: tuple(map(torch.arange, part.shape[:2]))
        for name, part in state.items()
        if name in whole and part.shape != whole[name].shape
    }
    slice_(model, first)
    model.load_state_dict(state)


def _resize(module: nn.Module, rows: int, columns: int = 0) -> None:
    if isinstance(module, nn.Linear):
        module.in_features, module.out_features = columns, rows
    elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        module.groups = module.groups * rows // module.out_channels if module.groups > 1 else 1
        module.in_channels, module.out_channels = columns * module.groups, rows
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        module.num_features = rows
    elif isinstance(module, nn.MultiheadAttention):
        narrow(module, rows)
