"""What is changed, which tests hold it, and which changes nobody could see."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
CORE: dict[str, str] = {  # module -> the tests that hold it, each by its file; its own first
    "pruners.selection": "test_selection test_pruner_contract",
    "pruners.schedules": "test_schedules test_prune",
    "pruners.scopes": "test_scopes test_selection",
    "pruners.granularity": "test_granularity",
    "pruners.filters": "test_filters test_granularity test_kappa test_keep_dense test_pruner_contract",
    "pruners.masks": "test_masks",
    "pruners.weights": "test_weights test_keep_dense",
    "pruners.gradients": "test_snip test_grasp test_prospr test_pruner_contract test_golden_scores test_peer_bugs",
    "pruners.scores.magnitude": "test_magnitude test_golden_scores test_pruner_contract test_pruner",
    "pruners.scores.snip": "test_snip test_force test_golden_scores test_pruner_contract test_pruner",
    "pruners.scores.grasp": "test_grasp test_golden_scores test_pruner_contract",
    "pruners.scores.synflow": "test_synflow test_linear_flow test_pruner_contract test_golden_scores test_pruner",
    "pruners.linear_flow": "test_linear_flow test_px test_synflow",
    "pruners.scores.lamp": "test_lamp test_pruner_contract",
    "pruners.scores.ntk_sap": "test_ntk_sap test_pruner_contract test_pruner",
    "pruners.scores.px": "test_px test_pruner_contract test_pruner",
    "pruners.scores.prospr": "test_prospr test_pruner_contract test_pruner",
    "pruners.scores.phew": "test_phew test_pruner_contract",
    "pruners.scores.random": "test_random test_pruner test_pruner_contract",
    "pruners.scores.during_training": "test_pruner test_pruner_contract",
    "pruners.ablations": "test_ablations",
    "pruners.pruner": "test_pruner test_pruner_contract test_kappa test_granularity test_filters",
    "pruners.prune": "test_prune test_ablations test_kappa test_pruner_contract",
    "pruners.compatibility": "test_compatibility",
    "pruners.reachability": "test_reachability",
    "pruners.channels.records": "test_channels test_compaction test_filters test_phew",
    "pruners.channels.operations": "test_channels test_compaction test_filters test_phew",
    "pruners.channels.trace": "test_channels test_compaction test_filters test_phew test_keep_dense",
    "pruners.compaction": "test_compaction test_compacted",
    "pruners.compaction.constant_model": "test_compacted test_compaction",
    "pruners.compaction.constants": "test_compaction test_compacted",
    "pruners.compaction.frozen_zeros": "test_compacted test_compaction",
    "pruners.compaction.slice_layers": "test_compaction test_compacted",
    "pruners.compaction.removable": "test_compaction test_compacted",
    "search_spaces.grid": "test_space test_studies test_grid test_properties test_kappa_spaces test_phases",
    "search_spaces.point": "test_grid test_space test_kappa_spaces test_measured_spaces test_phases",
    "search_spaces.search": "test_studies test_space",
    "search_spaces.trial": "test_trial test_grid test_shared_stages test_kappa_spaces test_measured_spaces test_phases",
    "trainables.sparse_training.base": "test_sparse_training",
    "trainables.sparse_training.gradual": "test_sparse_training",
    "trainables.sparse_training.set_rigl": "test_sparse_training",
    "trainables.sparse_training.ac_dc": "test_ac_dc",
    "trainables.sparse_training.gra_net": "test_gra_net",
    "trainables.sparse_training.learned_scores": "test_learned_scores",
    "trainables.sparse_training.srigl": "test_srigl",
    "trainables.sparse_training.str_thresholds": "test_str_thresholds",
    "trainables.sparse_training.top_kast": "test_top_kast",
    "trainables.training.batch_norm": "test_batch_norm",
}
EQUIVALENT = {  # (module, the change as it is printed without its line) -> why
    (
        "pruners.scopes",
        "count >= room[name]  ->  count > room[name]",
    ): "a layer just filled has no fraction to round up",
    (
        "pruners.selection",
        "count > spare  ->  count >= spare",
    ): "the first so many of as many are all of them",
    ("pruners.filters", "sizes > 0  ->  sizes >= 0"): "a number that is no group's weighs nothing, kept or not",
    (
        "pruners.channels.records",
        "0  ->  1  in  torch.zeros(0, dtype=torch.bool)",
    ): "replaced once the whole network is followed",
    ("pruners.channels.trace", "0  ->  1  in  self.count = 0"): "one more group, with no channel",
    (
        "pruners.compaction.constants",
        "2  ->  3  in  (2, len(channels.groups[step.name]))",
    ): "NaN in three modes is NaN in two",
    (
        "pruners.reachability",
        "output.sum  ->  output.mean",
    ): "whether a slope is zero is asked, not how large it is",
    ("pruners.reachability", "0  ->  1  in  passes(model, 'eval', 0)"): "in eval mode nothing is drawn",
    (
        "trainables.sparse_training.set_rigl",
        "step < self.end  ->  step <= self.end",
    ): "there the cosine leaves nothing",
}


def path_of(module: str) -> Path:
    """The file of a module."""
    place = HERE.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def test_files(module: str) -> list[str]:
    """Its tests, from the root."""
    files = {file.stem: file for file in (HERE / "tests").rglob("test_*.py")}
    return [str(files[name].relative_to(HERE)) for name in CORE[module].split()]
