"""Every metric that is logged: its title and unit, which direction is better, when it is logged, how it is printed.

To add one: a line here, and its value where the other metrics of its kind are computed (`artifacts.py`, `profiling.py`,
`phases.py`, a measure), and a few words in docs/mlflow.md. MLflow, `--list`, `trials.csv`, `--where` and
`search: objective` then have it. With a `table` the report has a table of it as well, a row per pruner and a column
per compression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

When = Literal["epoch", "once", "layer", "level", "audit"]
Better = Literal["maximize", "minimize", ""]


@dataclass(frozen=True)
class Metric:
    """A named number of a trial."""

    title: str  # on axes and above columns, with its unit
    when: When = "once"  # after each epoch, once, per layer (the step is the layer), per level, or by an audit
    better: Better = ""  # "" where neither direction is better
    scale: float = 1.0  # from the logged number to the unit of the title
    digits: int = 1  # after the decimal point, in the unit of the title; more where the numbers are small
    unit: str = ""  # what a plain count counts, to be written after it: 11.2 M parameters
    objective: bool = False  # whether a search may go by it: nothing of the test set, which is for the final number
    at_end: str = ""  # the metric that has the last value once the trial is over; "" is the metric itself
    table: str = ""  # the name of the report's table of it; "" if it has none
    share_of: str = ""  # the metric of the dense network of which the table shows percents
    caption: str = ""  # the title of that table, if not its own

    @property
    def summary(self) -> str:
        """One line on the metric: what it is, when it is logged, and what it may be used for."""
        when = {"epoch": "each epoch", "layer": "each layer", "level": "each level", "audit": "of audited runs only"}
        words = [when.get(self.when, ""), "can be the objective of a search" if self.objective else ""]
        more = "; ".join(word for word in words if word)
        return f"{self.title}; {more}" if more else self.title


METRICS: dict[str, Metric] = {
    "train/loss": Metric("training loss", "epoch", "minimize"),
    "train/top1": Metric("training accuracy (%)", "epoch", "maximize", 100),
    "train/macs_kept": Metric("MACs kept, where masks change during training", "epoch"),
    "test/loss": Metric("test loss", "epoch", "minimize"),
    "test/top1": Metric("test accuracy (%)", "epoch", "maximize", 100),
    "test/top5": Metric("top-5 test accuracy (%)", "epoch", "maximize", 100),
    "validation/loss": Metric("validation loss", "epoch", "minimize", objective=True, at_end="final/validation_loss"),
    "validation/top1": Metric(
        "validation accuracy (%)", "epoch", "maximize", 100, objective=True, at_end="final/validation_top1"
    ),
    "time/epoch_seconds": Metric("time of an epoch's training (s)", "epoch", "minimize"),
    "final/loss": Metric("test loss after the last epoch", better="minimize"),
    "final/top1": Metric(
        "test accuracy after the last epoch (%)",
        better="maximize",
        scale=100,
        table="accuracy",
        caption="Test accuracy after the last epoch, in percent",
    ),
    "final/top5": Metric("top-5 test accuracy after the last epoch (%)", better="maximize", scale=100),
    "final/validation_loss": Metric("validation loss after the last epoch", better="minimize"),
    "final/validation_top1": Metric("validation accuracy after the last epoch (%)", better="maximize", scale=100),
    "best/top1": Metric("test accuracy of the best epoch (%)", better="maximize", scale=100),
    "level/top1": Metric("test accuracy after each level of pruning (%)", "level", "maximize", 100),
    "level/compression": Metric("compression after each level of pruning", "level"),
    "level/macs_kept": Metric("MACs kept after each level of pruning", "level"),
    "model/compression": Metric("compression", better="maximize", objective=True),
    "model/speedup": Metric(
        "speedup over the dense network",
        better="maximize",
        digits=2,
        objective=True,
        table="speedup",
        caption="Speedup: the dense network's testing time over that of the compacted one, measured in pairs",
    ),
    "model/speedup_spread": Metric("spread of the speedup (interquartile range of its pairs)"),
    "model/latency_ms": Metric(
        "testing time (ms)",
        better="minimize",
        digits=2,
        objective=True,
        table="latency",
        caption="Testing time: milliseconds for 64 inputs, compacted",
    ),
    "model/latency_inputs": Metric("inputs of a timed forward pass"),
    "model/macs": Metric("MACs of the dense network", unit="MACs"),
    "model/macs_kept": Metric(
        "MACs kept",
        better="minimize",
        objective=True,
        table="macs",
        share_of="model/macs",
        caption="MACs kept (the papers' FLOPs), in percent of the dense network's",
    ),
    "model/macs_compacted": Metric("MACs, compacted", better="minimize", objective=True),
    "model/params": Metric("parameters of the dense network", unit="parameters"),
    "model/params_kept": Metric(
        "parameters kept",
        better="minimize",
        objective=True,
        table="params",
        share_of="model/params",
        caption="Parameters kept, in percent of the dense network's",
    ),
    "model/params_compacted": Metric("parameters, compacted", better="minimize", objective=True),
    "model/peak_mb": Metric("peak memory (MB)", better="minimize", objective=True),
    "model/file_mb": Metric("file size (MB)", better="minimize", objective=True),
    "cost/training_macs": Metric(
        "MACs of all training and scoring that the network needs",
        better="minimize",
        table="training-cost",
        share_of="cost/dense_training_macs",
        caption="Total training cost, in percent of the dense network's training",
    ),
    "cost/dense_training_macs": Metric("MACs of training the dense network for as many epochs", unit="MACs"),
    "prune/empty_layers": Metric("layers without a weight", better="minimize"),
    "prune/zero_scores": Metric("weights with a score of zero"),
    "prune/tied_scores": Metric("share of the kept weights that rounding alone could exchange for pruned ones"),
    "prune/effective_density": Metric("share of the prunable weights on a path from input to output"),
    "prune/dead_weights": Metric("kept weights on no path from input to output", better="minimize"),
    "time/prune_seconds": Metric("time to prune (s)", better="minimize"),
    "time/train_seconds": Metric("training time (s)", better="minimize", objective=True),
    "time/total_seconds": Metric("time of the trial (s)", better="minimize"),
    "time/images_per_second": Metric("training images per second", better="maximize"),
    "time/scaling_efficiency": Metric(
        "training speed, relative to that of one worker times the number of workers", better="maximize"
    ),
    "profile/density": Metric("density of each layer", "layer"),
    "profile/macs_kept": Metric("MACs kept in each layer", "layer"),
    "conservation/error": Metric("largest relative error of the conservation law", better="minimize"),
    "conservation/median_error": Metric("median relative error of the conservation law", better="minimize"),
    "conservation/slope": Metric("slope of average scores against inverse sizes of layers, both logarithmic"),
    "conservation/correlation": Metric("correlation of average scores with inverse sizes of layers, both logarithmic"),
    "conservation/cut_to_flow": Metric("largest share of the flow that one iteration cuts", better="minimize"),
    "critical/compression": Metric("largest compression without an empty layer", better="maximize"),
    "critical/maximum": Metric("largest compression that any mask reaches without an empty layer"),
    "audit/top1": Metric("test accuracy, recomputed (%)", "audit", scale=100),
    "audit/top5": Metric("top-5 test accuracy, recomputed (%)", "audit", scale=100),
    "audit/loss": Metric("test loss, recomputed", "audit"),
    "audit/weights_kept": Metric("prunable weights kept, counted again", "audit"),
    "audit/params_kept": Metric("parameters kept, counted again", "audit"),
    "audit/compression": Metric("compression, counted again", "audit"),
    "audit/macs": Metric("MACs of the dense network, counted again", "audit"),
    "audit/macs_kept": Metric("MACs kept, counted again", "audit"),
    "audit/differences": Metric("numbers that differ from what was logged", "audit", "minimize"),
}

# An objective has a direction; "" is none, which mypy is told by the comparison.
OBJECTIVES: dict[str, Literal["maximize", "minimize"]] = {
    name: metric.better for name, metric in METRICS.items() if metric.objective and metric.better != ""
}
# Of these one number says nothing; of what a search goes by, the last one does.
HISTORIES = {name for name, metric in METRICS.items() if metric.when in ("epoch", "layer") and not metric.objective}
PER_EPOCH = tuple(name for name in OBJECTIVES if METRICS[name].when == "epoch")  # known while a trial trains


def at_end(name: str) -> str:
    """Return the metric that has the last value of the metric `name` once a trial is over."""
    return (METRICS[name].at_end if name in METRICS else "") or name
