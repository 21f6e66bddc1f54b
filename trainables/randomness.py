"""Everything random in a trial comes from its seed, by name, and never from the process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b

import torch
from torch import Tensor


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


def random_states() -> dict[str, Tensor]:
    """Where torch's global generators are, in the middle of what `seeded` has begun."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else {})  # type: ignore[no-untyped-call]


def restore(states: Mapping[str, Tensor]) -> None:
    """Put torch's global generators where `random_states` found them; of an empty one nothing is changed."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"].cpu())
    if "cuda" in states and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.set_rng_state(states["cuda"].cpu())
