"""Distribution of pretrained weights to the nodes, from the driver's storage through an object store."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from search_spaces import Network
from trainables.architectures import lookup, pretrained
from trainables.context import Place
from trainables.record.files import held
from trainables.record.object_store import Bucket, refused


def provide(network: Network, place: Place, source: Path | None) -> None:
    """Put the weights that `network` starts from into the storage of `place`: copy `source`, or download.

    Raises:
        SpaceError: if the download fails, the file has changed since its digest was taken, or the store cannot be
            written.
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
    """Copy the weights that `network` starts from to this node, if the store has them and this node does not."""
    if not (network.pretrained and place.mirror):
        return
    file = pretrained.file(network.pretrained, lookup(network.name, network.code).weights, place.pretrained)
    file.parent.mkdir(parents=True, exist_ok=True)
    with held(place.pretrained / ".lock"), suppress(FileNotFoundError):  # the trial that needs them reports it
        if not file.exists():
            Bucket(place.mirror).get(file, *_key(file, place))


def _key(file: Path, place: Place) -> tuple[str, ...]:
    return file.relative_to(place.storage).parts
