"""Weights that a module computes from other parameters: torch's parametrizations and its older hooks.

weight_norm, spectral_norm, torch.nn.utils.prune and any registered parametrization replace a module's weight by another
parameter. A mask can be put on that parameter if its zeros are zeros of the weight.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils import prune as torch_prune
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from pruners.model_copy import copied

_TESTED = "pruners_original"  # attribute of a parametrization list: its length when tested, and the result


class Owner(NamedTuple):
    """Location of a parameter: its module, and its name there."""

    module: nn.Module
    key: str

    @property
    def parameter(self) -> nn.Parameter | None:
        """Return the parameter itself."""
        return self.module._parameters[self.key]


def owner(module: nn.Module, key: str) -> Owner | None:
    """Return the location of the parameter whose zeros are zeros of the module's weight `key`; None if none is."""
    if key in module._parameters:
        return Owner(module, key)
    if parametrize.is_parametrized(module, key):
        computed: Any = module.parametrizations[key]  # type: ignore[index]
        original = _original(computed)
        return Owner(computed, original) if original else None
    hook = _hook(module, key)
    if hook is None:
        return None
    return owner(module, f"{key}_v" if isinstance(hook, WeightNorm) else f"{key}_orig")


def length_of(module: nn.Module, key: str) -> str:
    """Return the name of the length for the direction `key` of a module under weight_norm; "" for other parameters."""
    if isinstance(module, parametrize.ParametrizationList):
        return "original0" if key == "original1" and isinstance(module[0], _WeightNorm) else ""
    name = key.removesuffix("_v")
    return f"{name}_g" if name != key and isinstance(_hook(module, name), WeightNorm) else ""


def computed(module: nn.Module) -> list[str]:
    """Return the names of the module's tensors that are computed from other parameters in each forward pass."""
    registered: Any = module.parametrizations if parametrize.is_parametrized(module) else ()
    hooked = [_hooked(hook) for hook in module._forward_pre_hooks.values()]
    return [*registered, *(name for name in dict.fromkeys(hooked) if name)]


def plain_copy(model: nn.Module) -> tuple[nn.Module, dict[str, str]]:
    """Return a copy whose reparametrised tensors are plain parameters, and the names that change: old -> new.

    The values are those of eval mode. If no tensor is reparametrised, the model itself is returned.
    """
    if not any(computed(module) for module in model.modules()):
        return model, {}
    found = copied(model).eval()
    before = {id(weight): name for name, weight in found.named_parameters()}
    renamed: dict[str, str] = {}
    for prefix, module in list(found.named_modules()):
        for key in computed(module):
            place = owner(module, key)
            if place is not None:
                renamed[before[id(place.parameter)]] = f"{prefix}.{key}" if prefix else key
            _remove(module, key)
    for mine, theirs in zip(_kept(found), _kept(model), strict=True):
        mine.training = theirs.training
    return found, renamed


def of_plain_weights(score: Callable[..., Any]) -> Callable[..., Any]:
    """Return a score function that scores reparametrised layers by the weights that they compute.

    A direction under weight_norm may have any length, and torch's own masks leave the parameters that they prune as
    they were, so only the computed weight counts. Scores and masks keep the names of the parameters.
    """

    def scored(model: nn.Module, batches: Any, **settings: Any) -> Any:
        weights, names = plain_copy(model)
        if weights is model:
            return score(model, batches, **settings)
        if settings.get("masks") is not None:
            settings["masks"] = {names.get(name, name): mask for name, mask in settings["masks"].items()}
        scores = score(weights, batches, **settings)
        if not isinstance(scores, Mapping):
            return scores
        old = {new: name for name, new in names.items()}
        found = {old.get(name, name): value for name, value in scores.items()}
        order = [name for name, _ in model.named_parameters() if name in found]
        return {name: found[name] for name in [*order, *(found.keys() - set(order))]}

    return scored


def _kept(model: nn.Module) -> list[nn.Module]:
    """Return the modules of a model without those that parametrizations add."""
    return [module for name, module in model.named_modules() if "parametrizations" not in name.split(".")]


def _hook(module: nn.Module, key: str) -> Any:
    return next((hook for hook in module._forward_pre_hooks.values() if _hooked(hook) == key), None)


def _hooked(hook: Any) -> str:
    """Return the name of the tensor that one of torch's hooks computes; "" for other hooks."""
    if isinstance(hook, WeightNorm | SpectralNorm):
        return str(hook.name)
    return str(hook._tensor_name) if isinstance(hook, torch_prune.BasePruningMethod) else ""


@torch.no_grad()
def _remove(module: nn.Module, key: str) -> None:
    hook = _hook(module, key)
    registered: Any = module.parametrizations if parametrize.is_parametrized(module) else {}
    if key in registered:
        # Not torch's remove_parametrizations: it changes the module's class, which copies share with the original.
        value = getattr(module, key)
        if len(registered) == 1:
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module._modules["parametrizations"]
        else:
            del registered[key]
        module._parameters[key] = nn.Parameter(value)
    elif isinstance(hook, WeightNorm):
        remove_weight_norm(module, key)
    elif isinstance(hook, SpectralNorm):
        remove_spectral_norm(module, key)
    else:
        torch_prune.remove(module, key)  # type: ignore[no-untyped-call]


def _original(computed: parametrize.ParametrizationList) -> str:
    """Return the name of the original tensor whose zeros, and no others, are zeros of the weight; "" if there is none.

    This is tested once on the parametrization itself, with random numbers and a mask on half of the original.
    """
    tested: tuple[int, str] | None = getattr(computed, _TESTED, None)
    if tested is None or tested[0] != len(computed):
        with torch.device("cpu"):  # also if the default device is another one, such as "meta"
            tested = len(computed), _tested(computed)
        setattr(computed, _TESTED, tested)
    return tested[1]


@torch.no_grad()
def _tested(computed: parametrize.ParametrizationList) -> str:
    generator = torch.Generator().manual_seed(0)
    names = ["original"] if computed.is_tensor else [f"original{i}" for i in range(computed.ntensors)]
    try:
        trial = copy.deepcopy(computed)
        on_meta = [name for name, tensor in trial.state_dict().items() if tensor.is_meta]
        trial = (trial.to_empty(device="cpu") if on_meta else trial.cpu()).eval()
        for name, tensor in trial.state_dict().items():
            if tensor.is_floating_point() and (name in names or name in on_meta):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
        whole = trial()
        for name in reversed(names):  # weight_norm's direction before its length, which may have the same shape
            original: Tensor = getattr(trial, name)
            if original.shape != whole.shape:
                continue
            before = original.clone()
            mask = torch.rand(original.shape, generator=generator) < 0.5
            original.mul_(mask)
            masked = trial().nan_to_num(0.0)  # a direction of zeros is divided by its length
            if torch.equal(masked[whole != 0] != 0, mask[whole != 0]) and not masked[~mask].any():
                return name
            original.copy_(before)
    except Exception:  # noqa: BLE001 - someone else's code, which may raise anything: then no mask is known to hold
        return ""
    return ""
