"""The plan: what will be computed, what not, and what is refused before anything is."""

from __future__ import annotations

import pytest

from orchestrator.planning.epoch_times import trial_seconds, wall_seconds
from orchestrator.planning.plan import plan, size_words
from orchestrator.planning.resources import Resources, concurrency, each_worker, require_legal, require_somewhere
from orchestrator.terminal import duration
from search_spaces import Cell, Grid, SpaceError, Trial, load

SPACE = {"dataset": "digits", "architecture": "mlp", "pruner": ["random", "snip"], "compression": [2, 4]}


def digits(*overrides):
    return load("digits", overrides)


def test_cells_trials_and_what_they_share(tmp_path):
    made = plan(digits(), cache=tmp_path)
    assert (len(made.cells), len(made.trials), len(made.todo)) == (60, 52, 52)
    assert [(stage.kind, stage.name, stage.serves) for stage in made.stages] == [
        ("data", "digits", 52),
        ("dense", "mlp digits", 5),
        ("dense", "conv digits", 5),
        ("scores", "snip", 10),
        ("scores", "grasp", 10),
    ]
    assert [stage.times for stage in made.stages] == [1, 1, 1, 2, 2]
    assert len(made.shared_scores) == 4
    assert not plan(digits("compression=[1, 2]"), cache=tmp_path).shared_scores  # each serves one compression


def test_finished_trials_are_not_to_do(tmp_path):
    made = plan(digits(), cache=tmp_path)
    first = made.trials[0].fingerprint
    after = made.after({first, "of another space"})
    assert after.done == {first}
    assert first not in {trial.fingerprint for trial in after.todo}


def test_the_record_gives_back_every_cell_and_trial(tmp_path):
    made = plan(digits("seed=[0, 1]"), cache=tmp_path)
    record = made.record()
    assert tuple(map(Cell.model_validate, record["cells"])) == made.cells
    assert {key: Trial.model_validate(value) for key, value in record["trials"].items()} == {
        trial.fingerprint: trial for trial in made.trials
    }


def test_a_grid_of_a_million_is_refused_before_it_is_expanded(tmp_path, monkeypatch):
    space = load(SPACE | {"seed": list(range(20_000)), "lr": [number / 100 for number in range(1, 14)]})
    monkeypatch.setattr(Grid, "points", lambda grid: pytest.fail("expanded"))
    with pytest.raises(SpaceError, match=r"space: 1,040,000 cells \(.*20,000 seed x 13 lr.*at most 100,000"):
        plan(space, cache=tmp_path)


def test_a_grid_of_many_is_announced():
    assert size_words(load(SPACE)) == ""
    many = load(SPACE | {"seed": list(range(20_000)), "compression": 2})
    assert size_words(many).startswith("40,000 cells (2 pruner x 20,000 seed), and up to as many trials")


def test_planning_writes_nothing(tmp_path):
    plan(digits(), cache=tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["architecture=vgg16-bn"], "'vgg16-bn' needs images of at least 16"),
        (["lr={low: 0.1, high: 1}"], "lr: is searched, but there is no search"),
        (["compression=1e17"], "compression: 1e+17 is not allowed; mlp has no more than"),
        (["batch_size=100000000000"], "batch_size: 1e+11 is not allowed; digits has no more than 1437 training images"),
        (["samples_per_class=100000", "pruner=snip"], "samples_per_class: 100000 is not allowed"),
        (["pruner={name: rigl, interval: 0}"], "pruner rigl: interval: 0 is not allowed"),
        (["pruner=fpgm"], "pruner fpgm: It scores whole filters, so granularity 'weight' is not allowed"),
        (
            ["pruner=phew", "architecture=vit-tiny"],
            "architecture vit-tiny: PHEW must follow walks through the model, but",
        ),
        (["pruner={name: bn-scale, granularity: filter}"], "architecture mlp: Pruner 'bn-scale' needs a batch norm"),
        (["pruner={name: obs, ablation: invert}"], "pruner obs: ablation: 'invert' is not allowed"),
        (["pruner=set", "levels=3"], "pruner set: levels: 3 is not allowed"),
        (["pruner={name: gradual, start: 0.9}"], "pruner gradual: start: 0.9 is not allowed"),
        (["dataset=digit"], "dataset: 'digit' is not known; did you mean 'digits'?"),
    ],
)
def test_refusals(tmp_path, overrides, message):
    with pytest.raises(ValueError) as caught:
        plan(digits(*overrides), cache=tmp_path)
    assert message in str(caught.value)


def test_a_dataset_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        plan(load("cifar10-quick"), data_root=tmp_path / "nowhere", cache=tmp_path)


def test_measured_epochs_are_believed():
    trial = Trial(dataset="digits", architecture="mlp", epochs=10)
    measured = {("digits", "mlp", 128): [1.0, 2.0, 9.0]}
    assert trial_seconds([trial], measured) == {trial.fingerprint: 20.0}


def test_images_per_second_of_a_small_folder_tell_what_imagenet_costs():
    trial = Trial(dataset="imagenet", architecture="resnet50", epochs=90)
    speeds = {("resnet50", "3x224x224"): [100.0, 1000.0, 2000.0]}
    found = trial_seconds([trial], {}, speeds)[trial.fingerprint]
    assert found == pytest.approx(90 * (1_281_167 + 50_000 / 3) / 1000)
    assert trial_seconds([trial], {("imagenet", "resnet50", 128): [3.0]}, speeds) == {trial.fingerprint: 270.0}


def test_without_measurements_a_step_is_tried():
    trial = Trial(dataset="digits", architecture="mlp", epochs=10)
    assert 0 < trial_seconds([trial], {})[trial.fingerprint] < 60


def test_wall_time_fills_free_slots():
    assert wall_seconds([4, 3, 2, 1], 2) == 5
    assert wall_seconds([], 4) == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (89, "89 s"), (120, "2 min"), (7200, "2.0 h"), (260_000, "3.0 days")]
)
def test_times_in_words(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "resources",
    [
        Resources(cpus=0),
        Resources(cpus=float("nan")),
        Resources(cpus=1e-12),
        Resources(gpus=float("inf")),
        Resources(gpus=-1),
        Resources(gpus=1.5),
        Resources(gpus=0.33333),
        Resources(max_concurrent=0),
    ],
)
def test_resources_ray_would_choke_on(resources):
    with pytest.raises(SpaceError, match="is not allowed"):
        require_legal(resources)


def test_resources_no_node_can_give():
    nodes = [{"CPU": 4}, {"CPU": 2, "GPU": 1}]
    require_somewhere(nodes, Resources(cpus=4, gpus=0.25))
    with pytest.raises(SpaceError, match="--gpus-per-trial: 2 asked for, but no node has more than 1 GPUs"):
        require_somewhere(nodes, Resources(gpus=2))


@pytest.mark.parametrize(
    ("gpus", "workers", "each"),
    [(0.25, None, (0.25, 1)), (4, None, (1, 4)), (4, 4, (1, 4)), (0, 2, (0, 2)), (1.5, None, (1.5, 1))],
)
def test_gpus_of_a_trial_are_one_for_each_worker(gpus, workers, each):
    assert each_worker(gpus, workers) == each


@pytest.mark.parametrize(("gpus", "workers", "says"), [(4, 2, "cannot share 4 GPUs"), (0, 0, "must be at least 1")])
def test_workers_that_cannot_be_are_refused(gpus, workers, says):
    with pytest.raises(SpaceError, match=f"--workers-per-trial.*{says}"):
        each_worker(gpus, workers)


def test_workers_of_a_trial_may_be_on_several_nodes():
    two, nodes = Resources(cpus=1, workers=2), [{"CPU": 1.0}, {"CPU": 3.0}]
    assert concurrency(two, *nodes) == 2
    require_somewhere(nodes[:1], two, to_come=nodes[1:])
    with pytest.raises(SpaceError, match="--workers-per-trial: 2 asked for, but there is room for 1 with 1 CPU"):
        require_somewhere(nodes[:1], two)


def test_concurrency_is_the_scarcest():
    assert concurrency(Resources(cpus=1, gpus=0.25), {"CPU": 16, "GPU": 2}) == 8
    assert concurrency(Resources(cpus=2), {"CPU": 5, "GPU": 0}) == 2
    assert concurrency(Resources(max_concurrent=1), {"CPU": 5, "GPU": 0}) == 1
