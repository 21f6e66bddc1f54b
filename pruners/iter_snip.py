"""Iterative SNIP: SNIP's score, taken anew each time a little more has been pruned."""

from dataclasses import replace

from pruners.snip import SNIP

# 60 exponential steps are the published CIFAR recipe. SNIP's |w dL/dw| of a pruned weight is 0, and `select`
# sees to it that a pruned weight stays pruned.
ITER_SNIP = replace(
    SNIP,
    summary="|w dL/dw| after each of many small steps; pruned weights stay pruned",
    paper="de Jorge et al. 2021, Progressive Skeletonization: Trimming more fat from a network at initialization",
    schedule="exponential",
    iterations=60,
)
