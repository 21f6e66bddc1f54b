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

    For code that takes no generator: module initialisation. Covers the CPU, and the current CUDA device if CUDA is
    in use.
    """
    with Drawn(seed, *names).piece():
        yield


class Drawn:
    """What one named use draws from torch's global generators, piece by piece, with others drawing in between.

    For dropout: a training step is a piece. The pieces together are what one `seeded` block would have drawn.
    """

    def __init__(self, seed: int, *names: str | int, states: Mapping[str, Tensor] | None = None) -> None:
        """From its beginning, or from where its `states` were, by kind of device."""
        self._seed = derive(seed, *names)
        self.states = dict(states or {})

    @contextmanager
    def piece(self) -> Iterator[None]:
        """Inside, the generators go on from where the last piece left them."""
        generators = _generators()
        others = {kind: each.get_state() for kind, each in generators.items()}
        try:
            for kind, each in generators.items():
                if kind in self.states:
                    each.set_state(self.states[kind].cpu())
                else:  # and not torch.manual_seed: before CUDA starts it leaves a call that would seed CUDA later
                    each.manual_seed(self._seed)
            yield
            self.states = {kind: each.get_state() for kind, each in generators.items()}
        finally:
            for kind, each in generators.items():
                each.set_state(others[kind])


def _generators() -> dict[str, torch.Generator]:
    """The CPU's, and the current CUDA device's if CUDA is in use."""
    found = {"cpu": torch.default_generator}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found["cuda"] = torch.cuda.default_generators[torch.cuda.current_device()]
    return found
