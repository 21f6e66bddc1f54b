"""What threads of one process that work on networks at the same time must not do at once.

torch keeps some state for the whole process: the generators that dropout draws from, and the kernels that attention may
take; and while torch.fx traces one network, or a memory tracker looks at one, the calls of all modules there are go
another way. A thread that changes such state has it for itself. A process with one thread notices nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ONE = threading.RLock()  # whose holder is the only one
_CHANGED = threading.Condition()
_HERE = threading.local()
_working = 0  # threads
_wanted = False  # whether a thread works alone, or waits until it may


@contextmanager
def at_work() -> Iterator[None]:
    """Inside, this thread calls networks beside others. It must `give_way` now and then, or end."""
    _begin()
    try:
        yield
    finally:
        _end()


def beside_others() -> bool:
    """Whether this thread is `at_work`: one of several."""
    return getattr(_HERE, "working", False)


def give_way() -> None:
    """Between two calls of networks: let a thread that waits to be alone have its turn. Costs nothing if none does."""
    if _wanted:
        with away():
            pass


@contextmanager
def away() -> Iterator[None]:
    """Inside, this thread calls no network, but waits for something: nobody needs to wait for it."""
    if not beside_others():
        yield
        return
    _end()
    try:
        yield
    finally:
        _begin()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Inside, torch's own generators are this thread's. Others go on with what needs none."""
    if not _ONE.acquire(blocking=False):
        with away():
            _ONE.acquire()
    try:
        yield
    finally:
        _ONE.release()


@contextmanager
def alone() -> Iterator[None]:
    """Inside, no other thread is at work: what is changed for the whole process changes nothing for others."""
    global _wanted  # noqa: PLW0603
    with one_at_a_time(), away():
        with _CHANGED:
            before, _wanted = _wanted, True  # True: by this very thread, further out
            _CHANGED.wait_for(lambda: _working == 0)
        try:
            yield
        finally:
            with _CHANGED:
                _wanted = before
                _CHANGED.notify_all()


def _begin() -> None:
    global _working  # noqa: PLW0603
    with _CHANGED:
        _CHANGED.wait_for(lambda: not _wanted)
        _working += 1
    _HERE.working = True


def _end() -> None:
    global _working  # noqa: PLW0603
    _HERE.working = False
    with _CHANGED:
        _working -= 1
        _CHANGED.notify_all()
