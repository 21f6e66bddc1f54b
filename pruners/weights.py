"""Prunable weights of a model, their names and the layers that they belong to; and parameters that are kept dense."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pruners.errors import PruningError, require_known
from pruners.reparametrised import Owner, owner

LAYERS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
    nn.Bilinear,
)
# Attributes of modules that hold names of their own parameters. Copies of a model have these attributes too, while
# attributes of a parameter would be lost.
_DENSE = "pruners_keep_dense"
_FOUND = "pruners_found_prunable"
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)

Parts = Mapping[str, tuple[str, slice]]  # layer -> its parameter, and which of its rows


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that compete to be kept, by parameter name, in the model's order.

    Those are the weights that convolutions and matrix products use: of convolutions and linear layers, of attention
    (`in_proj_weight`), of recurrent layers and cells and of bilinear layers; and in any other module those that
    `pruners.mark_prunable` found. Biases, norms, embeddings and positions never appear, nor do weights that
    `keep_dense` excludes. A weight that several modules share appears once, under the name that
    `model.named_parameters()` gives it, so that every name works with a state dict or an optimizer as well. For a
    layer under weight_norm, spectral_norm, torch's own pruning or another parametrization, it is the parameter whose
    zeros are zeros of the weight.

    Raises:
        PruningError: naming the layers, if a parametrization has no such parameter, or a lazy layer has no weight yet.
    """
    _require_initialised(model)
    if refused := _refused(model):
        raise PruningError(
            f"The weights of {', '.join(refused)} are computed by a parametrization that does not preserve zeros, so "
            "no mask can prune them: call torch.nn.utils.parametrize.remove_parametrizations on them, or keep them "
            "dense (keep_dense)."
        )
    dense = _marked(model, _DENSE)
    return {name: weight for name, weight in layer_weights(model).items() if id(weight) not in dense}


def layer_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return all weights that `prunable` returns, and those that are kept dense."""
    weights = {id(place.parameter) for _, _, place in _weights(model) if place} | _marked(model, _FOUND)
    return {name: weight for name, weight in model.named_parameters() if id(weight) in weights}


def dense_parameters(model: nn.Module) -> dict[str, int]:
    """Return the sizes of the parameters that are never pruned: name -> count, in the model's order."""
    competing = {id(weight) for weight in prunable(model).values()}
    return {name: weight.numel() for name, weight in model.named_parameters() if id(weight) not in competing}


def dense_share(model: nn.Module) -> str:
    """Return one line on what stays dense: its share of all parameters, and the shares of its kinds."""
    counts = dense_parameters(model)
    total = sum(weight.numel() for weight in model.parameters())
    if not counts:
        return "no parameter stays dense"
    kinds: Counter[str] = Counter()
    for name, count in counts.items():
        kinds[_kind(model, name)] += count
    named = ", ".join(f"{kind} {100 * count / total:.2g} %" for kind, count in kinds.most_common(4))
    others = f" and {len(kinds) - 4} more" if len(kinds) > 4 else ""
    return f"{100 * sum(counts.values()) / total:.2g} % of all {total} parameters stay dense: {named}{others}"


def keep_dense(model: nn.Module, patterns: Iterable[str]) -> None:
    """Exclude from `prunable(model)` the weights whose names match a pattern ("fc.weight", "stem.*").

    The model is changed in place, and deep copies keep the change. Compressions then count the other weights alone, as
    with `dense_classifier` in the published SynFlow program. Filter granularity keeps such a layer whole: its own
    filters stay, and so do the channels that it reads. A layer whose parametrization allows no mask is named by its
    weight.
    Raises PruningError for a pattern that matches none of the model's weights, and if nothing is left to prune.
    """
    _require_initialised(model)
    weights, refused = layer_weights(model), _refused(model)
    chosen: set[int] = set()
    names = [*weights, *refused]
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            require_known("weight to keep dense", pattern, names)
        chosen |= {id(weights[name]) for name in found if name in weights}
        for name in set(found) & refused.keys():
            _mark(*refused[name], _DENSE)
    for module in model.modules():
        for key, parameter in module._parameters.items():
            if id(parameter) in chosen:
                _mark(module, key, _DENSE)
    if chosen and not prunable(model):
        raise PruningError("Every layer is kept dense, so there is no weight to prune.")


def mark(model: nn.Module, names: Iterable[str]) -> None:
    """Make the parameters of these names prunable, in `model` and in its later copies."""
    for name in names:
        path, _, key = name.rpartition(".")
        _mark(model.get_submodule(path), key, _FOUND)


def layers(model: nn.Module, *, with_dense: bool = False) -> dict[str, tuple[str, slice]]:
    """Return the layers that the prunable weights belong to: name -> parameter name and which of its rows.

    With `with_dense`, layers that are kept dense are included.

    A parameter is one layer, under its own name, except the `in_proj_weight` of attention, which is three layers:
    "attn.in_proj_weight[q]", "[k]" and "[v]". The gates of a recurrent weight are one layer together.
    """
    stacked = {id(place.parameter) for _, key, place in _weights(model) if place and key == "in_proj_weight"}
    found: dict[str, tuple[str, slice]] = {}
    for name, weight in (layer_weights(model) if with_dense else prunable(model)).items():
        if id(weight) in stacked:
            each = len(weight) // 3
            found |= {f"{name}[{part}]": (name, slice(i * each, (i + 1) * each)) for i, part in enumerate("qkv")}
        else:
            found[name] = (name, slice(None))
    return found


def per_layer(tensors: Mapping[str, Tensor], parts: Parts) -> dict[str, Tensor]:
    """Return views, by layer (`layers`), of tensors that are named and shaped like prunable weights."""
    return {layer: tensors[name][rows] for layer, (name, rows) in parts.items() if name in tensors}


def joined(of_layers: Mapping[str, Tensor], parts: Parts) -> dict[str, Tensor]:
    """Join tensors of layers into tensors by parameter name: the inverse of `per_layer`."""
    found: dict[str, list[Tensor]] = {}
    for layer, (name, _) in parts.items():
        if layer in of_layers:
            found.setdefault(name, []).append(of_layers[layer])
    return {name: torch.cat(tensors) if len(tensors) > 1 else tensors[0] for name, tensors in found.items()}


def weight_keys(module: nn.Module) -> list[str]:
    """Return the names, within the module, of the weights that it uses in products; [] for other modules."""
    if isinstance(module, LAYERS):
        return ["weight"]
    if isinstance(module, nn.MultiheadAttention):
        return ["in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"]
    if isinstance(module, nn.RNNBase):
        return [name for name in module._flat_weights_names if name.startswith("weight")]
    return ["weight_ih", "weight_hh"] if isinstance(module, nn.RNNCellBase) else []


def _weights(model: nn.Module) -> Iterator[tuple[nn.Module, str, Owner | None]]:
    """Yield the modules' weights that are used in products, and where their parameters are; None if nowhere."""
    for module in model.modules():
        for key in weight_keys(module):
            if key not in module._parameters or module._parameters[key] is not None:
                yield module, key, owner(module, key)


def _refused(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Return the weights that allow no mask and are not kept dense: name -> module and name within it."""
    prefixes = {module: f"{prefix}." if prefix else "" for prefix, module in model.named_modules()}
    return {
        prefixes[module] + key: (module, key)
        for module, key, place in _weights(model)
        if place is None and key not in getattr(module, _DENSE, ())
    }


def _mark(module: nn.Module, key: str, attribute: str) -> None:
    setattr(module, attribute, (*getattr(module, attribute, ()), key))


def _marked(model: nn.Module, attribute: str) -> set[int]:
    marked = ((module, key) for module in model.modules() for key in getattr(module, attribute, ()))
    return {id(module._parameters[key]) for module, key in marked if key in module._parameters}


def _kind(model: nn.Module, name: str) -> str:
    """Return the label of a dense parameter: its kind, or its own name."""
    path, _, key = name.rpartition(".")
    module = model.get_submodule(path)
    if key in getattr(module, _DENSE, ()):
        return f"{name} (kept dense)"
    if isinstance(module, _NORMS):
        return "norms"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "embeddings"
    return "biases" if "bias" in key and model.get_parameter(name).dim() == 1 else name


def _require_initialised(model: nn.Module) -> None:
    lazy = {name.rpartition(".")[0]: None for name, weight in model.named_parameters() if is_lazy(weight)}
    if lazy:
        names = ", ".join(name or type(model).__name__ for name in lazy)
        raise PruningError(f"The lazy layers {names} have no weights yet: run a forward pass on an example first.")
