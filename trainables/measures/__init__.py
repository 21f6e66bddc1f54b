"""Measures: experiments in place of the usual training of a pruned network. To add one: a file, and two lines here."""

from trainables.measures.critical_compression import CRITICAL_COMPRESSION
from trainables.measures.imp_conservation import IMP_CONSERVATION
from trainables.measures.layer_conservation import LAYER_CONSERVATION
from trainables.measures.measure import Found, Measure
from trainables.measures.schedule_conservation import SCHEDULE_CONSERVATION
from trainables.measures.unit_conservation import UNIT_CONSERVATION

MEASURES: dict[str, Measure] = {
    "critical-compression": CRITICAL_COMPRESSION,
    "unit-conservation": UNIT_CONSERVATION,
    "layer-conservation": LAYER_CONSERVATION,
    "imp-conservation": IMP_CONSERVATION,
    "schedule-conservation": SCHEDULE_CONSERVATION,
}

__all__ = ["MEASURES", "Found", "Measure"]
