"""Masks that are given to a trial: computed once, by another trial or elsewhere, and trained many times.

A record identifies masks by their content: the same masks give the same trial wherever they came from. A sweep puts
them into its storage before any trial runs (`provide`), and trials on every node read them from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parsed
from torch import Tensor

from pruners.errors import message_of
from search_spaces import SpaceError
from trainables.context import Place
from trainables.record.files import appears, write_atomically
from trainables.record.object_store import Bucket, refused


def digest(content: bytes) -> str:
    """Return the name of masks in a record: the SHA-256 of their file, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def parse(content: bytes) -> dict[str, Tensor]:
    """Return the masks in the bytes of a safetensors file: parameter name -> bool tensor on the CPU, True = kept.

    Raises:
        ValueError: if it is no safetensors file, or has other values than 0 and 1.
    """
    try:
        tensors = parsed(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"is not a safetensors file ({message_of(error)[:100]})") from None
    for name, tensor in tensors.items():
        if tensor.dtype != torch.bool and not ((tensor == 0) | (tensor == 1)).all():
            raise ValueError(f"holds no masks: {name} has values other than 0 and 1")
    return {name: tensor.bool() for name, tensor in tensors.items()}


def provide(name: str, place: Place, read: Callable[[], bytes]) -> None:
    """Put the masks with the digest `name` into the storage of `place`; `read` returns them if they are not there.

    Raises:
        SpaceError: if the masks have changed since, or the storage cannot be written.
    """
    file = place.masks / f"{name}.safetensors"
    if not file.exists():
        content = read()
        if digest(content) != name:
            raise SpaceError("mask: the masks changed while they were read; run the command again")
        place.masks.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda path: path.write_bytes(content))
    if place.mirror:
        with refused(place.mirror):
            bucket = Bucket(place.mirror)
            if not bucket.has("masks", file.name):
                bucket.put(file, "masks", file.name)


def load(name: str, place: Place, device: torch.device) -> dict[str, Tensor]:
    """Return the masks with the digest `name` on `device`; copy them from the object store if this node lacks them.

    Raises:
        FileNotFoundError: if they are not in the storage.
        ValueError: if they are damaged.
    """
    file = place.masks / f"{name}.safetensors"
    if place.mirror and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        Bucket(place.mirror).get(file, "masks", file.name)
    appears(file.exists)  # the driver has written it, on its node
    content = file.read_bytes()
    if digest(content) != name:
        raise ValueError(f"the masks in {file} are damaged; remove the file, and the next sweep writes it again")
    return {key: mask.to(device) for key, mask in parse(content).items()}
