"""Pretrained weights on their way to the nodes: the driver has them in its storage; an object store hands them on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from search_spaces import Network
from trainables.architectures import lookup, pretrained
from trainables.context import Place
from trainables.record.files import held
from trainables.record.object_store import Bucket, refused


def provide(network: Network, place: Place, source: Path | None) -> None:
    """Make sure that trials of `place` find the weights that `network` starts from: copy the `source`, or download.

    Raises:
        SpaceError: if the download fails, if the file has changed since it was read, or if the store cannot be written.
    """
    weights = lookup(network.name, network.code).weights
    pretrained.provide(network.pretrained, weights, place.pretrained, source)
    file = pretrained.file(network.pretrained, weights, place.pretrained)
    if place.mirror and file.exists():
        with refused(place.mirror):
            bucket = Bucket(place.mirror)
            if not bucket.has(*_key(file, place)):
                bucket.put(file, *_key(file, place))


def bring(network: Network, place: Place) -> None:
    """Bring them to this node, if they are in the store and not here yet."""
    if not (network.pretrained and place.mirror):
        return
    file = pretrained.file(network.pretrained, lookup(network.name, network.code).weights, place.pretrained)
    file.parent.mkdir(parents=True, exist_ok=True)
    with held(place.pretrained / ".lock"), suppress(FileNotFoundError):  # who needs them says so
        if not file.exists():
            Bucket(place.mirror).get(file, *_key(file, place))


def _key(file: Path, place: Place) -> tuple[str, ...]:
    return file.relative_to(place.storage).parts
