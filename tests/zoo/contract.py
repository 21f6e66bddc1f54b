"""What must hold for every network that runs in plain PyTorch, each against an independent and slow way.

`hold` runs a trial's own machinery (`trainables.training.trainer`) on a network of `tests.zoo` in float64, so that a
difference is one of meaning and not of rounding. The plain side builds the network anew from the same seed and uses
torch alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pruners import PruningError, apply_masks, compact, prune
from search_spaces import Trial
from tests.zoo import networks
from trainables.architectures import Shape, build
from trainables.datasets import DatasetSpec
from trainables.datasets.memory import InMemory
from trainables.export import Trained, load, save
from trainables.profiling import macs
from trainables.randomness import Drawn
from trainables.training.trainer import Trainer, make_trainer

NO_WEIGHTS = "no weights"  # the row of products without a parameter
CPU = torch.device("cpu")
CLASSES, IMAGES, TESTED, BATCH = networks.CLASSES, 20, 12, 8
# The user's own architecture, as a trial carries it; the whole text would take longer to compile than all the rest.
CODE = {name: f"from tests.zoo.{name} import build\n" for name in ("networks", "blocks")}
LENGTHS = {"original1": "original0", "weight_v": "weight_g"}  # of torch's weight_norm, and of the old one
BASE: dict[str, Any] = {
    "dataset": "zoo",
    "pruner": "magnitude",
    "compression": 3.0,
    "samples_per_class": 2,
    "epochs": 1,
    "batch_size": BATCH,
    "lr": 0.02,
    "weight_decay": 1e-3,
}


class Doubles(InMemory):
    """Images in float64."""

    def _normalised(self, images: Iterator[Tensor], device: torch.device | str) -> Iterator[Tensor]:
        return (x.double() for x in super()._normalised(images, device))


class Singles(InMemory):
    """Images in float32, for networks that hold both kinds of numbers."""


@cache
def dataset(shape: Shape, exact: bool = True) -> InMemory:
    """A few random images of each class."""
    draw = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (n, *shape), generator=draw, dtype=torch.uint8) for n in (IMAGES, TESTED)]
    classes = [torch.arange(n) % CLASSES for n in (IMAGES, TESTED)]
    middle = (0.5,) * shape[0]
    spec = DatasetSpec(
        name="zoo",
        summary="noise",
        input_shape=shape,
        num_classes=CLASSES,
        train_size=IMAGES,
        test_size=TESTED,
        smallest_class=IMAGES // CLASSES,
        mean=middle,
        std=(0.3,) * shape[0],
    )
    kind = Doubles if exact else Singles
    return kind(spec, classes[0], classes[1], torch.arange(IMAGES), torch.arange(0), images[0], images[1])


@dataclass
class Case:
    """A network with what is asked of it: its trial, its images, and what is known about it."""

    trial: Trial
    data: InMemory
    weights: int  # how many are prunable; -1: pruning may be refused
    draws: bool = False
    tolerance: float = 1e-7
    paths: dict[str, str] = field(default_factory=dict)  # which of the fast ones it took

    def build(self) -> nn.Module:
        """The network as a trial finds it, in plain memory."""
        return self.exact(build(self.trial.network, self.data.input_shape, CLASSES, self.trial.seed))

    def exact(self, model: nn.Module) -> nn.Module:
        """The model in float64, in place, where its images are."""
        return model.double() if isinstance(self.data, Doubles) else model

    def bench(self) -> Trainer:
        """A new bench of the trial, its model in float64: so differences are of meaning, and not of rounding."""
        run = make_trainer(self.trial, self.data, CPU, 1e9)
        self.exact(run.model)
        return run

    def masked(self, masks: dict[str, Tensor]) -> nn.Module:
        """The same with its weights multiplied by `masks`: the plain product."""
        model = self.build()
        multiply(model, masks)
        return model


@torch.no_grad()
def multiply(model: nn.Module, masks: dict[str, Tensor]) -> None:
    """Multiply the parameters by their masks.

    Under weight_norm a row of zeros has no direction, so that a row without a kept weight has a length of zero instead.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        length = next((name[: -len(v)] + g for v, g in LENGTHS.items() if name.endswith(v)), "")
        if length in parameters:
            gone = ~mask.flatten(1).any(1)
            parameters[length][gone] = 0
            parameters[name].mul_(mask | gone.view(-1, *[1] * (mask.dim() - 1)))
        else:
            parameters[name].mul_(mask)


def of_name(name: str, **fields: Any) -> Case:
    """The case of a network of `tests.zoo.networks`."""
    entry = networks.ENTRIES[name]
    own = {"architecture": "networks.py:build", "architecture_code": CODE["networks"]}
    trial = Trial(**BASE | own | {"architecture_options": {"name": name}} | fields)
    return Case(
        trial=trial,
        data=dataset(entry.shape, entry.exact),
        weights=entry.weights,
        draws=entry.draws,
        tolerance=1e-7 if entry.exact else 1e-4,
    )


def of_description(description: dict[str, Any], shape: Shape, **fields: Any) -> Case:
    """The case of a random network."""
    own = {"architecture": "blocks.py:build", "architecture_code": CODE["blocks"]}
    trial = Trial(**BASE | own | {"architecture_options": {"description": json.dumps(description)}} | fields)
    case = Case(trial, dataset(shape), 0)
    model = case.build()
    case.weights = model.weights
    case.draws = any(b.get("stochastic") or b.get("what") == "dropout" for b in description["blocks"])
    return case


def hold(case: Case, folder: Path) -> dict[str, str]:
    """Hold the whole contract; return which way the network took at each turn."""
    run = case.bench()
    masks = prune_leaves_the_model_as_it_was(case, run)
    if masks is None:
        return case.paths
    counts_are_exact(case, masks)
    if not masked_is_the_plain_product(case, masks):
        return case.paths
    compacted_computes_the_same(case, masks, folder)
    macs_are_torchs(case)
    evaluated_as_it_is(case, run)
    trained_as_it_is(case, run, masks)
    return case.paths


def trains_in_plain_pytorch(case: Case) -> bool:
    """Return False if torch itself refuses the network: what a backward pass needs was overwritten in place."""
    model = case.build()
    (x, _), *_ = case.data.scoring_batches(case.trial.seed, case.trial.samples_per_class)
    try:
        logits = model(x.clone())
        if logits.requires_grad:
            logits.square().mean().backward()
    except RuntimeError as error:
        if "modified by an inplace operation" in str(error):
            return False
        raise
    return True


def prune_leaves_the_model_as_it_was(case: Case, run: Trainer) -> dict[str, Tensor] | None:
    """Masks of the trial's own scoring, None where it is refused; and what `prune` leaves of a model in use.

    Of that parameters, buffers, gradients, modes, hooks, what hangs on it from its last pass, and the random state.
    """
    trial = case.trial
    try:
        masks = run.find(trial.compression).masks
    except PruningError as error:
        # Filters cannot be followed through any network, and a score may say nothing of one.
        asked_too_much = "of the weights are alive" in str(error) or "fewer than that are alive" in str(error)
        simple = trial.granularity == "weight" and trial.pruner in ("magnitude", "random")
        if case.weights >= 0 and simple and not asked_too_much:
            raise
        case.paths["pruned"] = f"refused: {_short(error)}"
        return None
    case.paths["pruned"] = "masks"
    model, x = case.build(), _images(case)
    logits = model(x.clone())
    if logits.requires_grad:
        logits.square().mean().backward()
    some = [module for number, module in enumerate(model.modules()) if number % 3 == 1]
    for module in some:
        module.training = False
    batches = case.data.scoring_batches(trial.seed, trial.samples_per_class)
    images = [x.clone() for x, _ in batches]
    before, random = _snapshot(model), torch.get_rng_state()
    asked = {"scope": trial.scope, "granularity": trial.granularity, "schedule": "oneshot", "iterations": 1}
    try:
        prune(model, trial.pruner, trial.compression, batches, mode="train", seed=trial.seed, **asked)
    except PruningError as error:
        # The trial scores in eval mode. In train mode all activations of a narrow network may be zero.
        if "a mask would be arbitrary" not in str(error):
            raise
    after = _snapshot(model)
    assert before.keys() == after.keys()
    changed = [name for name in before if not _equal(before[name], after[name])]
    assert not changed, f"prune changed {changed}"
    assert torch.equal(random, torch.get_rng_state()), "prune drew random numbers"
    assert all(map(torch.equal, images, [x for x, _ in batches])), "prune changed the images"
    return masks


def counts_are_exact(case: Case, masks: dict[str, Tensor]) -> None:
    """n - floor((1 - 1/compression) n), of all weights or of each layer; and all weights take part."""
    sizes = {name: mask.numel() for name, mask in masks.items()}
    if case.weights >= 0:
        assert sum(sizes.values()) == case.weights, f"{sizes} are prunable, and not {case.weights} weights"
    if case.trial.granularity != "weight":  # whole filters: as near as they come
        return
    pruned = 1 - 1 / Fraction(str(case.trial.compression))
    # The weight of attention's inputs is three layers.
    layers = [part for name, mask in masks.items() for part in mask.chunk(3 if name.endswith("in_proj_weight") else 1)]
    groups = layers if case.trial.scope == "layer" else [torch.cat([mask.flatten() for mask in masks.values()])]
    for mask in groups:
        n = mask.numel()
        assert int(mask.sum()) == n - math.floor(pruned * n), f"{int(mask.sum())} of {n} weights are kept"


def masked_is_the_plain_product(case: Case, masks: dict[str, Tensor]) -> bool:
    """`apply_masks` and the product of parameters and masks give the same bits; return whether those are numbers.

    Spectral norm divides an empty layer by its size, zero.
    """
    ours = case.build()
    apply_masks(ours, masks)
    theirs = case.masked(masks)
    for (name, mine), plain in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(mine, plain), name
    x = _images(case)
    logits = _logits(theirs, x, False)
    torch.testing.assert_close(_logits(ours, x, False), logits, rtol=0, atol=0, equal_nan=True)
    if finite := bool(logits.isfinite().all()):
        return finite
    case.paths["masked"] = "not finite in plain PyTorch"
    return finite


def compacted_computes_the_same(case: Case, masks: dict[str, Tensor], folder: Path) -> None:
    """The smaller network has the masked one's logits, and so has the file of it, loaded into a new network."""
    small = compact(case.build(), masks, case.data.input_shape)
    case.paths["compacted"] = _short(small.reason) or "smaller"
    x = _images(case)
    expected = _logits(case.masked(masks), x, False)
    _close(case, "logits of the compacted network", _logits(small.model, x, False), expected)
    if not case.draws:
        trained = _logits(case.masked(masks), x, True)
        again = compact(case.build(), masks, case.data.input_shape).model
        _close(case, "logits of the compacted network in train mode", _logits(again, x, True), trained)
    size = sum(parameter.numel() for parameter in small.model.parameters())
    file = folder / "exported.safetensors"
    save(Trained(case.trial, small.model.eval(), case.data.spec, size, small.reason), file)
    loaded = load(file, case.build())
    assert not loaded.training
    _close(case, "logits of the exported network", _logits(loaded, x, False), expected)


def macs_are_torchs(case: Case) -> None:
    """Multiply-accumulates of weights, and those of activations alone, add up to what torch's own counter sees."""
    # With gradients, frozen or not: without them attention takes a fused path that torch's counter knows nothing of.
    model = case.build().eval().requires_grad_(True)
    like = next(model.parameters())
    x = torch.zeros(1, *case.data.input_shape, dtype=like.dtype)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(x)
    found = {str(operation): flops // 2 for operation, flops in counter.get_flop_counts()["Global"].items()}
    counts = macs(case.build(), case.data.input_shape)
    of_activations = sum(counts.pop(NO_WEIGHTS, (0, 0)))  # attention's, which are no weight's
    ours = sum(of_weights for of_weights, _ in counts.values())
    assert ours + of_activations == sum(found.values()), f"{ours} and {of_activations} MACs, torch counts {found}"


def evaluated_as_it_is(case: Case, run: Trainer) -> None:
    """`Trainer.test` says of the model as it is what a loop in plain PyTorch says."""
    model = _copied(case, run.model)
    _same_result(case, run.test(), model, "an untrained network")
    _unchanged(case, run.model, model, "testing")


def trained_as_it_is(case: Case, run: Trainer, masks: dict[str, Tensor]) -> None:
    """An epoch of the trial's training gives the weights and losses of an epoch in plain PyTorch."""
    told: list[dict[str, float]] = []
    run.train(
        dict(masks),
        state=None,
        save=lambda state: None,
        report=lambda metrics, epoch: told.append(metrics),
        tell=lambda what, how: case.paths.__setitem__(what, _short(how)),
    )
    plain = case.masked(masks)
    loss = _train_plainly(case, plain, masks)
    _close(case, "loss of training", torch.tensor(told[-1]["train/loss"]), torch.tensor(loss))
    trained = dict(run.model.named_parameters())
    for name, parameter in plain.named_parameters():
        _close(case, f"trained {name}", trained[name].detach(), parameter.detach())
    x = _images(case)
    _close(case, "logits of the trained network", _logits(run.model, x, False), _logits(plain, x, False))
    found = {key.removeprefix("test/"): value for key, value in told[-1].items() if key.startswith("test/")}
    _same_result(case, found, plain, "a trained network")
    for name, mask in masks.items():
        if not name.endswith(tuple(LENGTHS)):
            assert not trained[name][~mask].any(), f"pruned weights of {name} came back"


def _train_plainly(case: Case, model: nn.Module, masks: dict[str, Tensor]) -> float:
    """Train for an epoch; return the mean loss over its images."""
    trial, total, images = case.trial, 0.0, 0
    settings = {"momentum": trial.momentum, "nesterov": trial.nesterov, "weight_decay": trial.weight_decay}
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.lr, foreach=False, **settings)
    dropout = Drawn(trial.seed, "dropout", 1)
    model.train()
    for x, y in case.data.train_batches(trial.seed, 1, trial.batch_size):
        with dropout.piece():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x.clone()), y)
            loss.backward()
            optimizer.step()
        multiply(model, masks)
        total, images = total + float(loss.detach()) * len(y), images + len(y)
    return total / images


@torch.no_grad()
def _same_result(case: Case, found: dict[str, float], model: nn.Module, what: str) -> None:
    """Loss and accuracy of the test set, in one batch."""
    x = torch.cat([x for x, _ in case.data.test_batches()])
    logits, y = _logits(model, x, False), case.data.test_y
    loss = float(F.cross_entropy(logits, y))
    _close(case, f"test loss of {what}", torch.tensor(found["loss"]), torch.tensor(loss))
    top = logits.topk(2).values
    if float((top[:, 0] - top[:, 1]).min()) > case.tolerance * float(logits.abs().max()):  # ties go either way
        assert found["top1"] == float((logits.argmax(1) == y).double().mean()), f"top-1 of {what}"


def _copied(case: Case, model: nn.Module) -> nn.Module:
    """A network built anew with the numbers of `model`."""
    again = case.build()
    again.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return again


def _unchanged(case: Case, model: nn.Module, before: nn.Module, what: str) -> None:
    for (name, mine), plain in zip(model.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(mine, plain), f"{what} changed {name}"


def _images(case: Case) -> Tensor:
    return torch.cat([x for x, _ in case.data.test_batches()])[:6]


def _logits(model: nn.Module, x: Tensor, training: bool) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model.train(training)(x.clone())
    return logits


def _close(case: Case, what: str, found: Tensor, expected: Tensor) -> None:
    if found.dim() == 0:
        found, expected = found.double(), expected.double()
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    assert found.shape == expected.shape, f"{what}: {tuple(found.shape)}, and not {tuple(expected.shape)}"
    worst = float((found - expected).abs().max()) if found.numel() else 0.0
    assert worst <= case.tolerance * scale, f"{what}: {worst:.3g} off, of {scale:.3g}"


def _snapshot(model: nn.Module) -> dict[str, Any]:
    """All that a model is: numbers, gradients, modes, hooks, and what else hangs on its modules."""
    found: dict[str, Any] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found[f"parameter {name}"] = parameter.detach().clone()
        found[f"gradient {name}"] = None if parameter.grad is None else parameter.grad.clone()
        found[f"identity {name}"] = (id(parameter), parameter.requires_grad, parameter.is_leaf, parameter.stride())
    for name, buffer in model.named_buffers(remove_duplicate=False):
        found[f"buffer {name}"] = buffer.clone()
    for name, module in model.named_modules(remove_duplicate=False):
        hooks = {
            key: list(value) for key, value in vars(module).items() if key.endswith(("_hooks", "_hooks_with_kwargs"))
        }
        found[f"module {name}"] = (type(module), module.training, sorted(vars(module)), hooks)
    return found


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other


def _short(words: object) -> str:
    """The first words of a reason, without its numbers and names: kinds, and not cases."""
    plain = re.sub(r"'[^']*'|`[^`]*`", "…", str(words))
    return re.sub(r"[\d.]*\d+\S*", "#", plain)[:60]
