"""Pretrained weights: torchvision's, or a state dict of the user's, identified by its content.

A record holds `IMAGENET1K_V2`, or `sha256:<digest>.safetensors`: the same weights give the same trial wherever the file
is. A sweep puts all weights that it needs into one folder before any trial runs (`provide`); trials read them there.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import VisionTransformer, get_model, get_model_weights
from torchvision.models.vision_transformer import interpolate_embeddings

from pruners.errors import message_of
from search_spaces import SpaceError
from search_spaces.errors import choose
from trainables.architectures.ends import classifier, stem
from trainables.record.files import appears, held

HASH = "sha256:"
SUFFIXES = (".safetensors", ".pt", ".pth")
# torchvision's models with a second head that exists only in training, where forward would return a tuple.
ONE_HEAD = {name: {"aux_logits": False} for name in ("googlenet", "inception_v3")}


def is_file(asked: str) -> bool:
    """Return True if a space asks for a file, not for weights by name."""
    return "/" in asked or Path(asked).suffix in SUFFIXES


def canonical(asked: str, weights: str) -> str:
    """Return the name under which a record holds the weights that a space asks for; "" if it asks for none.

    `asked` is a path, "imagenet" (torchvision's best), or a name such as IMAGENET1K_V1. `weights` is torchvision's name
    of the network, "" if torchvision's weights do not fit it.

    Raises:
        SpaceError: if there is no such file, or there are no such weights (with the nearest name).
    """
    if not asked:
        return ""
    if is_file(asked):
        path = Path(asked).expanduser().resolve()
        if path.suffix not in SUFFIXES:
            raise SpaceError(
                f"pretrained: '{asked}' is not a file of a state dict; it must end in {', '.join(SUFFIXES)}"
            )
        if not path.is_file():
            raise SpaceError(f"pretrained: there is no file '{asked}'")
        stat = path.stat()
        return f"{HASH}{_digest(path, stat.st_size, stat.st_mtime_ns)}{path.suffix}"
    if not weights:
        raise SpaceError(
            f"pretrained: torchvision has no '{asked}' for this architecture; give the file of a state dict"
        )
    known = get_model_weights(weights)
    return str(known.DEFAULT.name if asked == "imagenet" else choose("pretrained", asked, known.__members__))


def provide(asked: str, weights: str, folder: Path, source: Path | None) -> None:
    """Put the weights of the record `asked` into `folder`, where `state` reads them: copy `source`, or download.

    Raises:
        SpaceError: if the download fails or the file has changed since its digest was taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / ".lock"):
        if not asked.startswith(HASH):
            _torchvision(asked, weights, folder)
        elif source is not None and not (target := folder / asked.removeprefix(HASH)).exists():
            part = target.with_name(f"{target.name}.part")
            shutil.copyfile(source, part)
            if _sha256(part) != target.stem:
                part.unlink()
                raise SpaceError(f"pretrained: '{source}' changed while it was read")
            part.replace(target)


def file(asked: str, weights: str, folder: Path) -> Path:
    """Return the path in `folder` where the weights of the record `asked` are, or would be."""
    if asked.startswith(HASH):
        return folder / asked.removeprefix(HASH)
    url: str = get_model_weights(weights)[asked].url
    return folder / "checkpoints" / url.rpartition("/")[2]  # torch.hub's name for it


def state(asked: str, weights: str, folder: Path) -> dict[str, Tensor]:
    """Return the state dict of the record `asked`, on the CPU.

    Raises:
        SpaceError: if it is not in `folder` and cannot be downloaded, or is no state dict.
    """
    if asked.startswith(HASH):
        given = folder / asked.removeprefix(HASH)
        appears(given.exists)  # the driver has put it there, on its node
        return read(given)
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / ".lock"):
        try:
            return _torchvision(asked, weights, folder)
        except SpaceError:  # without internet, this node has only what the driver has put there
            if not appears(file(asked, weights, folder).exists):
                raise
            return _torchvision(asked, weights, folder)


def shapes(asked: str, weights: str, source: Path | None) -> dict[str, Tensor]:
    """Return the state dict in `source`, or else the shapes of torchvision's (on device "meta"). Downloads nothing."""
    if source is not None:
        return read(source)
    with torch.device("meta"):
        model: nn.Module = get_model(weights, **ONE_HEAD.get(weights, {}))
    return model.state_dict()


def read(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file; a pickle of anything else is not loaded.

    Raises:
        SpaceError: if there is no such file or it holds something else.
    """
    if not path.is_file():
        raise SpaceError(f"pretrained: there is no file '{path}'")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise SpaceError(f"pretrained: '{path.name}' is not a state dict: {message_of(error)[:200]}") from None
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise SpaceError(f"pretrained: '{path.name}' is not a state dict: it must map names to tensors")
    return {name.removeprefix("module."): tensor for name, tensor in found.items()}


def fitted(model: nn.Module, given: Mapping[str, Tensor], num_classes: int) -> tuple[dict[str, Tensor], int]:
    """Return the weights `given` as a state of `model`, and their number of classes if it differs, else 0.

    If the number of classes differs, the classifier keeps the model's own weights. Colours are summed if `model` takes
    grey images, and position embeddings of a vision transformer are interpolated to its image size.

    Raises:
        SpaceError: if anything else is missing, superfluous or of another shape, naming it.
    """
    own = model.state_dict()
    ready = {name: own[name] for name in own if name.endswith("num_batches_tracked")} | dict(given)
    name = next((f"{key}.weight" for key, module in model.named_modules() if module is stem(model)), "")
    if name in ready and ready[name].shape[1:2] == (3,) and own[name].shape[1] == 1:
        ready[name] = ready[name].sum(1, keepdim=True)
    if isinstance(model, VisionTransformer) and "encoder.pos_embedding" in ready:
        ready = dict(interpolate_embeddings(model.image_size, model.patch_size, OrderedDict(ready)))
    head, other = classifier(model, num_classes), 0
    if head in given and given[head].shape[0] != num_classes and given[head].shape[1:] == own[head].shape[1:]:
        other = given[head].shape[0]
        ready |= {name: own[name] for name in (head, f"{head.removesuffix('weight')}bias") if name in own}
    return _checked(own, ready), other


def _checked(own: Mapping[str, Tensor], ready: dict[str, Tensor]) -> dict[str, Tensor]:
    wrong = [f"{name} is missing" for name in own if name not in ready]
    wrong += [f"{name} is not in this network" for name in ready if name not in own]
    wrong += [
        f"{name} is {tuple(ready[name].shape)} and must be {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in ready and ready[name].shape != tensor.shape
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise SpaceError(f"pretrained: these weights are of another network: {'; '.join(wrong[:3])}{more}")
    return ready


def _torchvision(asked: str, weights: str, folder: Path) -> dict[str, Tensor]:
    """Return torchvision's weights, loaded by torchvision's own builder, which knows how older files differ."""
    try:
        with _hub(folder):
            model: nn.Module = get_model(weights, weights=asked, progress=False, **ONE_HEAD.get(weights, {}))
    except (OSError, RuntimeError) as error:
        raise SpaceError(
            f"pretrained: {asked} of {weights} could not be downloaded: {message_of(error)[:200]}"
        ) from None
    return model.state_dict()


@contextmanager
def _hub(folder: Path) -> Iterator[None]:
    """Let torch.hub download into `folder`, not into the home folder, inside the context."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(folder))
    try:
        yield
    finally:
        torch.hub.set_dir(before)


@cache
def _digest(path: Path, size: int, modified: int) -> str:
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
