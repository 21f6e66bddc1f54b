import pytest

from pruners import PRUNERS, PruningError, Settings

SNIP, SYNFLOW, MAGNITUDE = PRUNERS["snip"], PRUNERS["synflow"], PRUNERS["magnitude"]


def test_defaults():
    assert SNIP.settings() == Settings("global", "oneshot", 1, "eval", {"loss": "cross-entropy"})
    of_grasp = {"temperature": 200.0, "per_batch": False}
    assert PRUNERS["grasp"].settings() == Settings("global", "oneshot", 1, "train", of_grasp)
    options = {"norm": "l1", "linearize": False}
    assert SYNFLOW.settings() == Settings("global", "exponential", 100, "eval", options)
    assert MAGNITUDE.settings() == PRUNERS["random"].settings() == Settings("global", "oneshot", 1, "eval", {})


def test_several_iterations_of_a_oneshot_pruner_fall_exponentially():
    assert SNIP.settings(iterations=5) == Settings("global", "exponential", 5, "eval", {"loss": "cross-entropy"})
    assert SNIP.settings(iterations=5, schedule="linear").schedule == "linear"


def test_oneshot_means_one_iteration():
    assert SYNFLOW.settings(schedule="oneshot").iterations == 1
    with pytest.raises(PruningError, match="iterations=100"):
        SYNFLOW.settings(schedule="oneshot", iterations=100)
    with pytest.raises(PruningError, match="iterations=2"):
        MAGNITUDE.settings(schedule="oneshot", iterations=2)


def test_equal_settings_where_the_masks_are_equal():
    assert SYNFLOW.settings(iterations=1) == SYNFLOW.settings(schedule="oneshot")
    assert SNIP.settings(schedule="linear") == SNIP.settings()
    assert MAGNITUDE.settings(schedule="linear", iterations=9, mode="train") == MAGNITUDE.settings()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"scope": "layers"}, "Did you mean 'layer'"),
        ({"schedule": "exp"}, "oneshot, exponential, linear, cubic"),
        ({"mode": "evaluate"}, "train, eval"),
        ({"iterations": 0}, "at least 1"),
        ({"options": {"alpha": 1}}, "'alpha'.*loss"),
        ({"options": {"loss": "hinge"}}, "value of option 'loss' 'hinge': choose one of cross-entropy, nll"),
    ],
)
def test_refusals(asked, message):
    with pytest.raises(PruningError, match=message):
        SNIP.settings(**asked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "l3"}, "value of option 'norm' 'l3': choose one of l1, l2"),
        ({"norm": 2}, "l1, l2"),
        ({"linearize": 1}, "'linearize' is 1; it must be of type bool"),
        ({"linearise": True}, "Did you mean 'linearize'"),
    ],
)
def test_options_of_another_kind_are_refused(options, message):
    with pytest.raises(PruningError, match=message):
        SYNFLOW.settings(options=options)


def test_a_whole_number_will_do_for_a_fraction_but_not_the_reverse():
    assert PRUNERS["prospr"].settings(options={"inner_lr": 1}).options["inner_lr"] == 1
    for wrong in (1.5, True, "3"):
        with pytest.raises(PruningError, match="type int"):
            PRUNERS["prospr"].settings(options={"steps": wrong})


def test_moments_of_training_are_iterations_and_exchanges_are_not():
    gradual, rigl = PRUNERS["gradual"].settings(iterations=10), PRUNERS["rigl"].settings(iterations=10)
    assert (gradual.schedule, gradual.iterations) == ("cubic", 10)
    assert (rigl.schedule, rigl.iterations, rigl.scope) == ("oneshot", 1, "erk")


def test_the_smallest_value_of_an_option_is_allowed():
    ntk_sap = PRUNERS["ntk-sap"]
    assert ntk_sap.settings(options={"resamplings": 1, "scoring_batch": 0}).options["resamplings"] == 1
    with pytest.raises(PruningError, match="'resamplings' is 0; it must be at least 1"):
        ntk_sap.settings(options={"resamplings": 0})
    with pytest.raises(PruningError, match="'scoring_batch' is -1; it must be at least 0"):
        ntk_sap.settings(options={"scoring_batch": -1})


RECORDED = {  # a record that leaves them out stands for these: other ones would give its results another meaning
    "random": ("global", "oneshot", 1, 0, {}),
    "magnitude": ("global", "oneshot", 1, 0, {}),
    "snip": ("global", "oneshot", 1, 0, {"loss": "cross-entropy"}),
    "grasp": ("global", "oneshot", 1, 0, {"temperature": 200.0, "per_batch": False}),
    "synflow": ("global", "exponential", 100, 0, {"norm": "l1", "linearize": False}),
    "iter-snip": ("global", "exponential", 60, 0, {"loss": "cross-entropy", "fresh_batches": False}),
    "force": ("global", "exponential", 60, 0, {"loss": "cross-entropy", "fresh_batches": False}),
    "ntk-sap": ("global", "exponential", 20, 0, {"resamplings": 5, "epsilon": 0.01, "scoring_batch": 0}),
    "prospr": ("global", "oneshot", 1, 0, {"steps": 3, "inner_lr": 0.1, "momentum": 0.0}),
    "px": ("global", "exponential", 100, 0, {}),
    "phew": ("global", "oneshot", 1, 0, {"identity_shortcuts": True}),
    "lamp": ("global", "oneshot", 1, 0, {}),
    "taylor": ("global", "oneshot", 1, 0, {}),
    "fpgm": ("layer", "oneshot", 1, 0, {}),
    "obd": ("global", "oneshot", 1, 0, {"images_per_gradient": 1}),
    "smart-ratio": ("smart-ratio", "oneshot", 1, 0, {}),
    "group-norm": ("global", "oneshot", 1, 0, {}),
    "sparsegpt": ("layer", "oneshot", 1, 0, {"block": 128, "damp": 0.01}),
    "obs": ("global", "exponential", 8, 0, {"block": 50, "damp": 1e-7, "images_per_gradient": 1}),
    "wanda": ("row", "oneshot", 1, 0, {}),
    "bn-scale": ("global", "oneshot", 1, 0, {}),
    "imp": ("global", "oneshot", 1, 5, {}),
    "gradual": ("global", "cubic", 100, 0, {"start": 0.0, "end": 0.75}),
    "set": ("erk", "oneshot", 1, 0, {"interval": 100, "end": 0.75, "drop": 0.3}),
    "rigl": ("erk", "oneshot", 1, 0, {"interval": 100, "end": 0.75, "drop": 0.3, "at_start": False}),
    "srigl": (
        "erk", "oneshot", 1, 0, {"interval": 100, "end": 0.75, "drop": 0.3, "salient": 0.3, "growth": "gradient"},
    ),
    "gra-net": ("erk", "oneshot", 1, 0, {"initial": 0.5, "interval": 100, "end": 0.5, "drop": 0.5}),
    "ac-dc": ("global", "oneshot", 1, 0, {"warmup": 0.05, "phase": 0.1, "last": 0.15}),
    "str": ("global", "oneshot", 1, 0, {"end": 0.75, "initial": -5.0}),
    "movement": ("global", "oneshot", 1, 0, {"start": 0.0, "end": 0.75, "interval": 1}),
    "edge-popup": ("layer", "oneshot", 1, 0, {"interval": 1}),
    "top-kast": ("layer", "oneshot", 1, 0, {"interval": 100, "spread": 2.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_records_stay_what_they_mean(name):
    settings = PRUNERS[name].settings(granularity="filter" if PRUNERS[name].whole_filters else "weight")
    options = {**settings.options, **PRUNERS[name].unrecorded}
    found = (settings.scope, settings.schedule, settings.iterations, PRUNERS[name].levels, options)
    assert found == RECORDED[name]


def test_what_was_so_before_an_option_is_a_value_of_the_option():
    for pruner in PRUNERS.values():
        granularity = "filter" if pruner.whole_filters else "weight"
        settings = pruner.settings(options=pruner.unrecorded, granularity=granularity)
        assert settings.options == {**pruner.options, **pruner.unrecorded}


def test_train_mode_is_the_default_of_those_whose_programs_score_in_it():
    # mil-ad/prospr calls train(), naver/force nothing, GraSP comments its eval() out; snip-public has is_train False.
    assert {name for name, pruner in PRUNERS.items() if pruner.mode == "train"} == {
        "grasp",
        "iter-snip",
        "force",
        "prospr",
    }


def test_a_temperature_is_above_zero():
    with pytest.raises(PruningError, match="'temperature' is 0; it must be at least 1e-06"):
        PRUNERS["grasp"].settings(options={"temperature": 0})
