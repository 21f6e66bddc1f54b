"""Whether a trial is worth more epochs: decided elsewhere, among others, after each epoch of its own training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from search_spaces import Trial

Judge = Callable[[Mapping[str, float], int], str]  # metrics, epoch -> the rule by which the trial is given up, or ""


class Judged:
    """A trial before its judge. Trainings that come before its own (dense ones, levels) are not what is compared."""

    def __init__(self, trial: Trial, judge: Judge | None) -> None:
        """Without a `judge` it is never given up."""
        self._epochs, self._judge = trial.epochs, judge
        self.epoch = 0
        self.given_up = ""  # when and by which rule: "epoch 12 by …"

    def hear(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Pass on what was measured after `epoch`, unless that was the last one: it is over anyway."""
        if self._judge is None or "train/loss" not in metrics or epoch >= self._epochs:
            return
        self.epoch = epoch
        rule = self._judge(metrics, epoch)
        self.given_up = f"epoch {epoch} by {rule}" if rule else ""
