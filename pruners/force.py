"""FORCE: what a connection matters in the pruned network; what was pruned may return.

|w · dL/d(c w)|: the gradient of the masked network times the weight as it would be unmasked. L is the sum of the
batches' mean losses (`loss`) at the weights c ⊙ w (de Jorge et al. 2021, section 4), c the masks so far. Where c = 1
this is SNIP's score; where c = 0 it is what the weight would matter if it returned, and the best of all weights are
kept whatever they were before.
"""

from dataclasses import replace

from pruners.iter_snip import ITER_SNIP

FORCE = replace(
    ITER_SNIP,
    summary="|w dL/dw| in the pruned network, pruned weights at the value they had",
    takes_masks=True,
    revives=True,
)
