"""Every pruner by name. To add one: its file, and two lines below."""

from pruners import custom
from pruners.dynamic import GRADUAL, RIGL, SET
from pruners.errors import require_known
from pruners.force import FORCE
from pruners.grasp import GRASP
from pruners.iter_snip import ITER_SNIP
from pruners.lamp import LAMP
from pruners.magnitude import IMP, MAGNITUDE
from pruners.ntk_sap import NTK_SAP
from pruners.phew import PHEW
from pruners.prospr import PROSPR
from pruners.pruner import Pruner
from pruners.px import PX
from pruners.random import RANDOM
from pruners.snip import SNIP
from pruners.synflow import SYNFLOW

PRUNERS: dict[str, Pruner] = {
    "random": RANDOM,
    "magnitude": MAGNITUDE,
    "snip": SNIP,
    "grasp": GRASP,
    "synflow": SYNFLOW,
    "iter-snip": ITER_SNIP,
    "force": FORCE,
    "ntk-sap": NTK_SAP,
    "prospr": PROSPR,
    "px": PX,
    "phew": PHEW,
    "lamp": LAMP,
    "imp": IMP,
    "gradual": GRADUAL,
    "set": SET,
    "rigl": RIGL,
}


def lookup(name: str, code: str = "") -> Pruner:
    """The pruner of that name, or of the user's own file (`my_file.py:MyScore`, see `pruners.custom`).

    `code`, if given, is the text of that file, which is then not looked for.

    Raises PruningError with the nearest name if there is none.
    """
    if custom.is_custom(name):
        return custom.load(name, code)
    require_known("pruner", name, PRUNERS)
    return PRUNERS[name]
