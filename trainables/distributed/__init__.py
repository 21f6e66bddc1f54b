"""Trials that several workers train together, each on its part of every batch, with the numbers of one worker.

The numbers differ only by rounding, and for layers that draw by other means than `F.dropout` and `Tensor.bernoulli_`
(`whole_batches`).

The first worker is the trial: it prunes, keeps the record and the checkpoints, and decides when to stop. The others
train and test with it when it tells them to (`trainables.launch.follow_first_worker`), know nothing else, and end when
it ends.
"""

from trainables.distributed.group import ALONE, START, STEP, LostError, Team, WorkerError

__all__ = ["ALONE", "START", "STEP", "LostError", "Team", "WorkerError"]
