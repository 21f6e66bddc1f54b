"""Fast forms of a network, each verified against the plain network before a trial uses it.

A trial may keep images channels-last, fold batch norms for evaluation, give exact zero gradients to biases that a batch
norm cancels, normalize several pixels at a time, and train a compacted network in place of a masked one. Each of these
relies on the traced structure of the network, and a user's network may do anything. So both forms make one training
step and one evaluation from the same numbers: they must agree up to rounding in float64, and the fast form must run in
the trial's precision. Weights are drawn at random, because the zeros and ones of a fresh network's norms and biases
would hide most differences.

The result depends on the trial's record alone, not on earlier trials of the process or on global random state.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from pruners import apply_masks
from pruners.errors import OF_THE_MACHINE, in_one_line, is_out_of_memory
from search_spaces import Network, Trial
from trainables.architectures import Shape, build
from trainables.randomness import generator, seeded
from trainables.training.batch_norm import quick_norms, still_biases
from trainables.training.compacted import CompactedTraining
from trainables.training.evaluation import LayerAndNorm, foldable, folded, memory_of
from trainables.training.precision import used

SMALL = 16  # pixels: channels-last is 1.4 times faster for ResNet-20 on 32x32 images, but slower on 8x8 ones
TRAINED, TESTED = 4, 3  # images in the training step and in the evaluation of a comparison
EXACT = 1e-7  # of the largest number: float64 rounds by 1e-16, which deep batch norms of few images amplify to 1e-10
CLOSE = 1e-3  # the same tolerance in float32, for networks that run in no other precision
STEP = 0.1  # size of the update of the weight with the largest gradient
FORMS = {"channels_last": "channels-last", "folded": "folded norms", "still": "still biases", "quick": "quick norms"}

Make = Callable[[], nn.Module]
StepResult = dict[str, Tensor]  # result of a step and an evaluation: logits, and the state dict after the step


@dataclass(frozen=True)
class FastPaths:
    """Fast forms in which a network is trained and evaluated. By default none: the plain network."""

    channels_last: bool = False
    folded: tuple[LayerAndNorm, ...] = ()  # norms that are folded for evaluation
    still: tuple[LayerAndNorm, ...] = ()  # layers whose biases get zero gradients (`still_biases`)
    quick: bool = False  # batch norms of few channels are fast (`quick_norms`)
    off: Mapping[str, str] = field(default_factory=dict)  # form that looked applicable -> why it is not used

    def laid_out(self, model: nn.Module) -> nn.Module:
        """Return the model converted, in place, to its memory format."""
        return model.to(memory_format=torch.channels_last) if self.channels_last else model

    @contextmanager
    def training(self, network: nn.Module, *, quick: bool = True) -> Iterator[None]:
        """Put `network` into its fast training forms inside the block; `quick=False` leaves batch norms as they are."""
        with ExitStack() as stack:
            if self.quick and quick:
                stack.enter_context(quick_norms(network))
            stack.enter_context(still_biases(network, list(self.still)))
            yield

    def evaluated(self, network: nn.Module) -> nn.Module:
        """Return the form of `network` to evaluate, in eval mode: a copy if batch norms are folded."""
        return folded(network, list(self.folded))

    @property
    def tag(self) -> str:
        """Forms that are not used, and why; "" if all that looked applicable are used."""
        return "; ".join(f"{form}: {why}" for form, why in self.off.items())


PLAIN = FastPaths()


def laid_out(model: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """Return the model, converted in place, in the memory format that is fastest for images (C, H, W); not verified."""
    return FastPaths(channels_last=_is_large(input_shape)).laid_out(model)


def fast_paths(trial: Trial, input_shape: Shape, num_classes: int, device: torch.device) -> FastPaths:
    """Return the verified fast forms of the trial's network on `device`. Verified once per network, data and device."""
    network = trial.network.fresh
    seed = trial.seed if network.code else 0  # a user's code may use the seed for more than weights
    what = network, input_shape, num_classes, seed
    with _unless_out_of_memory():
        return _proved(*what, device, used(trial, device))
    # In float64 the two networks may need more GPU memory than training does. So the CPU verifies them instead.
    torch.cuda.empty_cache()
    return replace(_proved(*what, torch.device("cpu"), used(trial, device)), quick=False)


@contextmanager
def _unless_out_of_memory() -> Iterator[None]:
    """Suppress out-of-memory errors of a GPU in the block."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise


@cache
def _proved(network: Network, shape: Shape, classes: int, seed: int, device: torch.device, precision: str) -> FastPaths:
    return prove(partial(build, network, shape, classes, seed), shape, device, precision)


def prove(make: Make, shape: Shape, device: torch.device | None = None, precision: str = "float32") -> FastPaths:
    """Return the fast forms in which the network that `make` builds gives the same results as in plain form.

    Raises:
        RuntimeError, MemoryError: only if the machine is at fault, for example by too little memory.
    """
    proof = _Proof(make, shape, device or torch.device("cpu"), precision)
    try:
        wanted = _wanted(_built(make), shape, proof.device)
    except OF_THE_MACHINE:
        raise
    except Exception as error:  # noqa: BLE001 - tracing runs the network's own code
        return FastPaths(off={"all": _line(error)})
    if wanted == PLAIN or not proof.difference(wanted):
        return wanted
    if why := proof.difference(PLAIN):
        return FastPaths(off={"all": f"the plain network gives no reliable result to compare with: {why}"})
    forms = {key: replace(PLAIN, **{key: getattr(wanted, key)}) for key in FORMS if getattr(wanted, key)}
    off = {key: why for key, form in forms.items() if (why := proof.difference(form))}
    left = replace(wanted, **{key: getattr(PLAIN, key) for key in off})
    if why := proof.difference(left):
        return FastPaths(off={"all": why})
    return replace(left, off={FORMS[key]: why for key, why in off.items()})


def _wanted(model: nn.Module, shape: Shape, device: torch.device) -> FastPaths:
    """Return the forms that look applicable to the model, before any comparison."""
    norms = any(isinstance(module, _NormBase) for module in model.modules())
    pairs = tuple(foldable(model)) if norms else ()
    kernels = [weight for weight in model.parameters() if weight.dim() > 3]
    apart = len({memory_of(kernel) for kernel in kernels}) == len(kernels)  # converting shared kernels would untie them
    last = _is_large(shape) and bool(kernels) and apart
    return FastPaths(last, pairs, pairs, quick=last and norms and device.type == "cpu")


def _is_large(shape: tuple[int, ...]) -> bool:
    return min(shape[1:]) >= SMALL


class _Proof:
    """Comparison of fast forms of one network with its plain form."""

    def __init__(self, make: Make, shape: Shape, device: torch.device, precision: str) -> None:
        self.device = device
        self._make, self._shape, self._half = make, shape, precision == "bfloat16"
        self._plain: StepResult | None = None
        self._double = True

    def difference(self, form: FastPaths) -> str:
        """Return how the results of `form` differ from the plain network's; "" if only by rounding."""
        try:
            if self._plain is None:
                self._plain = self._as_it_is()
            why = _difference(self._plain, self._outcome(form), EXACT if self._double else CLOSE)
            if not why and form != PLAIN:
                # It must also run in the trial's precision, where other kernels with other memory formats are used.
                self._outcome(form, as_trained=True)
            return why
        except OF_THE_MACHINE:
            raise
        except Exception as error:  # noqa: BLE001 - a network's own code may raise anything
            return _line(error)

    def _as_it_is(self) -> StepResult:
        try:
            return self._outcome(PLAIN)
        except OF_THE_MACHINE:
            raise
        except Exception:  # noqa: BLE001 - the network's code may require float32
            self._double = False
            return self._outcome(PLAIN)

    def _outcome(self, form: FastPaths, as_trained: bool = False) -> StepResult:
        model = form.laid_out(stirred(_built(self._make)).to(self.device))
        if self._double and not as_trained:
            model.double()
        seen = _seen(model, form, self._shape, half=as_trained and self._half)
        return seen | dict(model.named_parameters()) | dict(model.named_buffers())


def compacted_differs(
    instead: CompactedTraining, masks: Mapping[str, Tensor], make: Make, form: FastPaths, shape: Shape
) -> str:
    """Return how training `instead` in `form` differs from training its whole network under `masks`; "" if it does not.

    `make` builds the whole network anew. Two steps are made: the first one moves numbers such as biases away from zero.
    """
    try:
        whole, small = _built(make), copy.deepcopy(instead).double()
        whole.load_state_dict(instead.whole.state_dict())
        whole.to(next(instead.parameters()).device).double()
        for _ in range(2):
            plain = _seen(whole, PLAIN, shape, masks)
            found = _seen(small, form, shape, small.masks)
        return _difference(plain | small.part(whole.state_dict()), found | small.state_dict(), EXACT)
    except OF_THE_MACHINE as error:
        if is_out_of_memory(error):  # two networks in float64 need more than training; the whole one gives the same
            return "its comparison with the whole network needs more memory than the GPU has"
        raise
    except Exception as error:  # noqa: BLE001 - a network's own code may raise anything
        return _line(error)


def _seen(
    model: nn.Module, form: FastPaths, shape: Shape, masks: Mapping[str, Tensor] | None = None, half: bool = False
) -> StepResult:
    """Make one training step of `model` in `form` and evaluate it; return the logits of both."""
    like = next(model.parameters())
    network = model.net if isinstance(model, CompactedTraining) else model
    with _drawn_alike(), form.training(network):
        with torch.autocast(like.device.type, torch.bfloat16, enabled=half):
            logits: Tensor = model.train()(random_images(TRAINED, shape).to(like))
        classes = torch.arange(TRAINED, device=like.device) % 2
        F.cross_entropy(logits.float() if half else logits, classes).backward()  # type: ignore[no-untyped-call]
        _move(model)
        apply_masks(model, masks or {})
        model.eval()
        with torch.no_grad():
            evaluated = form.evaluated(network)(random_images(TESTED, shape).to(like))
    return {"logits in train mode": logits.detach(), "logits in eval mode": evaluated}


@torch.no_grad()
def _move(model: nn.Module) -> None:
    """Make a step of gradient descent with weight decay; the largest gradient moves its weight by `STEP`."""
    gradients = [(weight, weight.grad) for weight in model.parameters() if weight.grad is not None]
    largest = max((float(gradient.abs().max()) for _, gradient in gradients), default=0.0)
    for weight, gradient in gradients:
        weight.mul_(0.9).sub_(gradient, alpha=STEP / largest if largest else 0.0)
        weight.grad = None


def _difference(plain: Mapping[str, Tensor], found: Mapping[str, Tensor], tolerance: float) -> str:
    """Return the first tensor that differs by more than `tolerance` of its largest number; "" if none does.

    The largest number counts as at least `STEP`, because some biases hold only the rounding of their gradients.
    """
    for name, tensor in plain.items():
        expected, other = tensor.detach().double(), found[name].detach().double()
        if expected.shape != other.shape:
            return f"{name} has shape {tuple(other.shape)} instead of {tuple(expected.shape)}"
        if not expected.numel():
            continue
        apart, largest = (expected - other).abs().max().item(), expected.abs().max().item()
        if not apart <= tolerance * max(largest, STEP):  # or NaN
            return f"{name} differs by {apart:.2g} of {largest:.2g}"
    return ""


def random_images(count: int, shape: Shape) -> Tensor:
    """Return random images [count, *shape], from low contrast to high contrast."""
    x = torch.randn(count, *shape, generator=generator(0, "images", count))
    return x * torch.logspace(-0.5, 0.5, count).view(-1, 1, 1, 1)


@torch.no_grad()
def stirred(model: nn.Module) -> nn.Module:
    """Give `model`, in place, random weights and running statistics as training might leave them; return it.

    Vectors that are all positive stay positive. Dropout is set to 0, because it draws numbers in the order of memory,
    which depends on the memory format.
    """
    draw = generator(0, "weights")

    def noise(like: Tensor) -> Tensor:
        return 0.3 * torch.randn(like.shape, generator=draw).to(like)

    for weight in filter(torch.is_floating_point, model.parameters()):
        if weight.dim() < 2 and weight.numel() and weight.min() > 0:
            weight.mul_(noise(weight).exp())
        elif weight.dim() < 2 or not weight.any():  # other matrices are random already
            weight.add_(noise(weight))
    for module in model.modules():
        if isinstance(module, _NormBase) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.add_(noise(module.running_mean))
            module.running_var.mul_(noise(module.running_var).exp())
        if isinstance(module, _DropoutNd):
            module.p = 0.0
    return model


def _built(make: Make) -> nn.Module:
    """Build the same network each time, even if its code draws from Python's or NumPy's generators."""
    with _drawn_alike():
        return make()


@contextmanager
def _drawn_alike() -> Iterator[None]:
    """Seed the random generators of torch, Python and NumPy inside the block, and restore them afterwards."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with seeded(0, "fast paths"), torch.enable_grad():
            random.seed(0)
            np.random.seed(0)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def _line(error: Exception) -> str:
    return in_one_line(error)[:200]
