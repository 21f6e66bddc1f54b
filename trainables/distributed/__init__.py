"""Trials that several workers train together, each on its part of every batch: the numbers are those of one worker.

But for rounding, and for what layers draw by other means than `F.dropout` and `Tensor.bernoulli_` (`whole_batch`).

The first worker is the trial: it prunes, keeps the record and the checkpoints, and decides when to stop. The others
train and test with it when it says so (`following`), know nothing else, and go when it goes.
"""

from trainables.distributed.group import ALONE, START, STEP, LostError, Team, WorkerError

__all__ = ["ALONE", "START", "STEP", "LostError", "Team", "WorkerError"]
