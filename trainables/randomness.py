"""Random streams of a trial: each is derived from the trial's seed and a name, never from the process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b

import torch
from torch import Tensor


def derive(seed: int, *names: str | int) -> int:
    """Return the seed of one named use of randomness: an integer in [0, 2**63), the same on every machine, for ever.

    It is a hash and not `seed + i`: neighbouring trial seeds must not share streams, and a new use of randomness must
    not shift the old ones.
    """
    # JSON keeps 1 apart from "1" and ("ab", "c") from ("a", "bc"). It refuses numpy integers and other objects whose
    # text depends on a library's version.
    path = json.dumps([seed, *names]).encode()
    return int.from_bytes(blake2b(path, digest_size=8).digest()) >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator for one named use. GPU trials use it too, so that they see the same draws."""
    return torch.Generator().manual_seed(derive(seed, *names))


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Seed torch's global generators inside the block; restore their states afterwards.

    For code that takes no generator, such as module initialisation. Covers the CPU, and the current CUDA device if CUDA
    is in use.
    """
    with Drawn(seed, *names).piece():
        yield


class Drawn:
    """Random stream of one named use, drawn in pieces from torch's global generators, between other uses.

    For dropout, where a training step is a piece. All pieces together draw what one `seeded` block would have drawn.
    """

    def __init__(self, seed: int, *names: str | int, states: Mapping[str, Tensor] | None = None) -> None:
        """Start the stream at its beginning, or continue from `states`, by device type."""
        self._seed = derive(seed, *names)
        self.states = dict(states or {})

    @contextmanager
    def piece(self) -> Iterator[None]:
        """Let the generators continue inside the block from where the last piece ended; restore them afterwards."""
        generators = _generators()
        others = {kind: each.get_state() for kind, each in generators.items()}
        try:
            for kind, each in generators.items():
                if kind in self.states:
                    each.set_state(self.states[kind].cpu())
                else:  # not torch.manual_seed: before CUDA starts, it queues a call that would seed CUDA later
                    each.manual_seed(self._seed)
            yield
            self.states = {kind: each.get_state() for kind, each in generators.items()}
        finally:
            for kind, each in generators.items():
                each.set_state(others[kind])


def _generators() -> dict[str, torch.Generator]:
    """Return the generators of the CPU and, if CUDA is in use, of the current CUDA device."""
    found = {"cpu": torch.default_generator}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found["cuda"] = torch.cuda.default_generators[torch.cuda.current_device()]
    return found
