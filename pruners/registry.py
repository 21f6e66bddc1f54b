"""Registry of all pruners by name. To add a pruner, write its file and add two lines below."""

from pruners import custom
from pruners.errors import require_known
from pruners.pruner import Pruner
from pruners.scores.bn_scale import BN_SCALE
from pruners.scores.during_training import (
    AC_DC,
    EDGE_POPUP,
    GRA_NET,
    GRADUAL,
    MOVEMENT,
    RIGL,
    SET,
    SRIGL,
    STR,
    TOP_KAST,
)
from pruners.scores.early_crop import EARLY_CROP
from pruners.scores.fpgm import FPGM
from pruners.scores.grasp import GRASP
from pruners.scores.group_norm import GROUP_NORM
from pruners.scores.lamp import LAMP
from pruners.scores.magnitude import IMP, MAGNITUDE
from pruners.scores.ntk_sap import NTK_SAP
from pruners.scores.obd import OBD
from pruners.scores.obs import OBS
from pruners.scores.phew import PHEW
from pruners.scores.prospr import PROSPR
from pruners.scores.px import PX
from pruners.scores.random import RANDOM, SMART_RATIO
from pruners.scores.snip import FORCE, ITER_SNIP, SNIP
from pruners.scores.sparsegpt import SPARSEGPT
from pruners.scores.synflow import SYNFLOW
from pruners.scores.taylor import TAYLOR
from pruners.scores.wanda import WANDA
from search_spaces.catalog import is_custom

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
    "smart-ratio": SMART_RATIO,
    "early-crop": EARLY_CROP,
    "lamp": LAMP,
    "taylor": TAYLOR,
    "fpgm": FPGM,
    "bn-scale": BN_SCALE,
    "group-norm": GROUP_NORM,
    "wanda": WANDA,
    "obd": OBD,
    "obs": OBS,
    "sparsegpt": SPARSEGPT,
    "imp": IMP,
    "gradual": GRADUAL,
    "set": SET,
    "rigl": RIGL,
    "srigl": SRIGL,
    "gra-net": GRA_NET,
    "ac-dc": AC_DC,
    "str": STR,
    "top-kast": TOP_KAST,
    "movement": MOVEMENT,
    "edge-popup": EDGE_POPUP,
}


def lookup(name: str, code: str = "") -> Pruner:
    """Return the pruner of that name, or of the user's own file (`my_file.py:MyScore`, see `pruners.custom`).

    If `code` is given, it is the text of that file, which is then not read.

    Raises PruningError, with the nearest name, if there is no such pruner.
    """
    if is_custom(name):
        return custom.load(name, code)
    require_known("pruner", name, PRUNERS)
    return PRUNERS[name]
