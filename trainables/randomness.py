"""Everything random in a trial comes from its seed, by name, and never from the process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch


def derive(seed: int, *names: str | int) -> int:
    """The seed of one named use of randomness: an integer in [0, 2**63), the same on every machine, for ever.

    A hash and not `seed + i`: neighbouring trial seeds must not share streams, and a new use of
    randomness must not shift the old ones.
    """
    # JSON keeps 1 apart from "1" and ("ab", "c") from ("a", "bc"), and refuses numpy integers and other
    # things whose text depends on a library's version.
    path = json.dumps([seed, *names]).encode()
    return int.from_bytes(blake2b(path, digest_size=8).digest()) >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator for one named use. On the CPU even for GPU trials, so that both see the same draws."""
    return torch.Generator().manual_seed(derive(seed, *names))


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Inside, torch's global generators are seeded; afterwards they are as if nothing had been drawn.

    For code that takes no generator: module initialisation, dropout. Covers the CPU, and the current
    CUDA device if CUDA is in use.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        value = derive(seed, *names)
        # Not torch.manual_seed: before CUDA starts it leaves a call behind that would seed CUDA later.
        torch.default_generator.manual_seed(value)
        if devices:
            torch.cuda.manual_seed(value)
        yield
