"""Descriptions of random networks, as hypothesis draws and shrinks them; `tests.zoo.blocks` builds them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from tests.zoo import blocks

Drawn = st.SearchStrategy[Any]


def _rather(common: object, others: Iterable[Any], share: int = 3) -> Drawn:
    """Draw `common` in so many of `share` + 1 cases, and else one of all: networks of odd parts alone teach little."""
    rest = sorted(others)
    return st.sampled_from([common] * (share * len(rest)) + rest)  # one_of would take strategies that are alike for one


WIDTH = st.integers(2, 6)
WRAP, HOOK = _rather("none", blocks.WRAPS), _rather("none", blocks.HOOKS)
NORM, ACT = _rather("batch", blocks.NORMS, 1), _rather("relu", blocks.ACTS, 1)
CONV = _rather("plain", blocks.CONVS, 1)


def _block(kind: str, **parts: Drawn) -> Drawn:
    return st.fixed_dictionaries({"kind": st.just(kind), **parts})


UNIT = {
    "conv": CONV,
    "width": WIDTH,
    "bias": st.booleans(),
    "norm": NORM,
    "act": ACT,
    "wrap": WRAP,
    "hook": HOOK,
    "order": _rather("norm_last", ["norm_first"]),
}
ODD_MAP = st.one_of(
    _block("dense", **UNIT),
    _block("tied", bias=st.booleans(), twice=st.booleans(), norm=NORM, shared_norm=st.booleans()),
    _block("excite", bias=st.booleans()),
    _block("raw", how=st.sampled_from(["convolution", "product", "einsum"]), width=WIDTH, norm=NORM),
    _block("by_hand", width=WIDTH, bias=st.booleans(), norm=NORM),
    _block(
        "odd",
        what=_rather("pool", blocks.ODDITIES, 1),
    ),
)
PLAIN_MAP = _block("unit", **UNIT)
RESIDUAL = _block("residual", **UNIT, project=st.booleans(), stochastic=_rather(False, [True], 5))
MAP = st.integers(0, 7).flatmap(lambda n: PLAIN_MAP if n < 4 else RESIDUAL if n < 6 else ODD_MAP)
ROWWISE = _block(
    "rowwise",
    how=_rather("called", ["function", "product"], 2),
    width=WIDTH,
    bias=st.booleans(),
    norm=st.sampled_from(["none", "batch", "layer"]),
    act=ACT,
    wrap=WRAP,
    hook=HOOK,
)
MIRRORED = _block("mirrored", width=WIDTH, bias=st.booleans())
SEQUENCE = st.one_of(
    _block(
        "recurrent",
        cell=st.sampled_from(["lstm", "gru", "rnn"]),
        first=st.booleans(),
        both=st.booleans(),
        bias=st.booleans(),
    ),
    _block("attention", first=st.booleans(), across=st.booleans(), bias=st.booleans()),
    _block("encoder", first=st.booleans(), norm_first=st.booleans()),
    _block("along", width=WIDTH, bias=st.booleans(), wrap=WRAP),
    ROWWISE,
    MIRRORED,
)


@st.composite
def descriptions(draw: st.DrawFn) -> dict[str, Any]:
    """A network: one to four blocks of maps, a bridge, up to two blocks behind it, and a linear layer."""
    bridge = draw(_rather("mean", blocks.BRIDGES, 1))
    tail = SEQUENCE if bridge in ("sequence", "rows") else st.one_of(ROWWISE, MIRRORED)
    least = 1 if bridge in ("sequence", "rows") else 0
    return {
        "blocks": draw(st.lists(MAP, min_size=1, max_size=4)),
        "bridge": bridge,
        "tail": draw(st.lists(tail, min_size=least, max_size=2)),
        "head": {"bias": draw(st.booleans()), "wrap": draw(WRAP)},
        "frozen": draw(st.sampled_from([[], [], [], [], [0], [1], [0, 2], [1, 3]])),
        "in_place": draw(_rather(False, [True], 8)),
        "hooked": draw(_rather(False, [True], 8)),
    }
