"""Trial folders in an object store: a trial works in a folder of its node, and the store has a copy of it.

Keys are `<uri>/<fingerprint>/<attempt>/<file>`. Each attempt at a trial writes under a number of its own. So an attempt
that was believed lost and comes back (its node was cut off from the others) can never overwrite files of its successor:
it finds the successor's claim before it writes, and stops. Readers take the newest attempt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import Any
from uuid import uuid4

from search_spaces import SpaceError
from trainables.record.event_log import FILE
from trainables.record.files import write_atomically

CLAIM = "claim"  # empty object that says that the attempt has begun


@dataclass(frozen=True)
class Stored:
    """Size of an object in bytes, and the time at which it was written."""

    size: int
    mtime_ns: int


StoredAttempts = dict[str, dict[str, Stored]]  # attempt -> file -> object


def is_object_store(uri: str) -> bool:
    """Return True if `uri` is not just a path."""
    return "://" in uri


def require_writable(uri: str) -> None:
    """Check that trials can be stored at `uri`: a path, which is created if it is missing, or an object store.

    Raises:
        SpaceError: in one sentence, if they cannot.
    """
    if is_object_store(uri):
        Bucket(uri).require_writable()
        return
    with refused(uri):
        folder = Path(uri)
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid4().hex[:8]}"
        probe.write_bytes(b"probe")
        probe.unlink()


class Bucket:
    """Folders of all trials under one URI: `s3://bucket/path`, `gs://bucket/path`."""

    def __init__(self, uri: str) -> None:
        """Connect; nothing is written.

        Raises:
            SpaceError: in one sentence, if the URI is no object store, or names no bucket.
        """
        from pyarrow.fs import FileSystem  # takes 0.2 seconds, which trials on a path need not pay

        with refused(uri):
            self._system, self._root = FileSystem.from_uri(uri)
        if not self._root.strip("/"):
            raise SpaceError(f"--storage: '{shown(uri)}' names no bucket; give one as in s3://bucket/path")
        self._uri = uri

    def require_writable(self) -> None:
        """Write an object, read it and remove it.

        Raises:
            SpaceError: in one sentence, if one of these fails.
        """
        probe = f".probe-{uuid4().hex[:8]}"
        with refused(self._uri):
            self.put(b"probe", probe)
            with self._open(probe) as stream:
                if stream.read() != b"probe":
                    raise OSError("the object read differs from the object written")
            self._system.delete_file(f"{self._root}/{probe}")

    def trials(self) -> dict[str, StoredAttempts]:
        """Return everything that is stored, by fingerprint."""
        return self._list(self._root)

    def attempts(self, fingerprint: str) -> StoredAttempts:
        """Return everything that is stored of one trial."""
        return self._list(f"{self._root}/{fingerprint}").get(fingerprint, {})

    def put(self, content: Path | bytes, *key: str) -> None:
        """Store a file or bytes; readers see all of it or nothing."""
        with self._system.open_output_stream("/".join([self._root, *key])) as target:
            if isinstance(content, bytes):
                target.write(content)
            else:
                with content.open("rb") as source:
                    copyfileobj(source, target, 2**20)

    def has(self, *key: str) -> bool:
        """Return True if there is such an object."""
        from pyarrow.fs import FileType

        return bool(self._system.get_file_info("/".join([self._root, *key])).type == FileType.File)

    def get(self, path: Path, *key: str, stored: Stored | None = None) -> None:
        """Copy an object to `path`; with `stored`, only the listed number of bytes, and with the listed time.

        Raises:
            FileNotFoundError: if the object is gone.
        """

        def write(temporary: Path) -> None:
            with self._open(*key) as source, temporary.open("wb") as target:
                if stored is None:
                    copyfileobj(source, target, 2**20)
                else:
                    target.write(source.read(stored.size))

        write_atomically(path, write)
        if stored is not None:
            os.utime(path, ns=(stored.mtime_ns, stored.mtime_ns))

    def remove(self, *key: str) -> None:
        """Remove an object; it may be gone already."""
        try:
            self._system.delete_file("/".join([self._root, *key]))
        except FileNotFoundError:
            return

    def _open(self, *key: str) -> Any:
        return self._system.open_input_stream("/".join([self._root, *key]))

    def _list(self, folder: str) -> dict[str, StoredAttempts]:
        from pyarrow.fs import FileSelector, FileType

        found: dict[str, StoredAttempts] = {}
        for info in self._system.get_file_info(FileSelector(folder, allow_not_found=True, recursive=True)):
            parts = info.path.removeprefix(f"{self._root}/").split("/")
            if info.type == FileType.File and len(parts) == 3:
                fingerprint, attempt, name = parts
                stored = Stored(info.size, info.mtime_ns or 0)
                found.setdefault(fingerprint, {}).setdefault(attempt, {})[name] = stored
        return found


def newest(attempts: StoredAttempts) -> str | None:
    """Return the attempt that counts, the last one that has a record. It includes the files that it began with."""
    return max((attempt for attempt, files in attempts.items() if FILE in files), default=None)


def shown(uri: str) -> str:
    """Return the URI without the keys that may be in it."""
    scheme, found, rest = uri.partition("://")
    if not found:
        return uri
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


@contextmanager
def refused(uri: str) -> Iterator[None]:
    """Turn the errors of an object store that cannot be used into a SpaceError of one line."""
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        if "Unrecognized filesystem type" in reason:
            reason = "this kind of storage is unknown; give a path, s3://bucket/path or gs://bucket/path"
        elif "ACCESS_DENIED" in reason or "INVALID_ACCESS_KEY" in reason or "credentials" in reason.lower():
            reason = f"no credentials with permission to write there: {reason}"
        raise SpaceError(f"--storage: '{shown(uri)}' cannot be used ({reason[:300]})") from None
