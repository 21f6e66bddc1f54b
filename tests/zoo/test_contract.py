"""Every network of the zoo, and random ones, keep the contract: what is done to them is what plain PyTorch does.

ZOO_NETWORKS=2000 sets how many random networks are tried (make test-random); a description that fails is printed.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.zoo import contract
from tests.zoo.generator import descriptions
from tests.zoo.networks import CLASSES, ENTRIES, LARGE, SMALL

NETWORKS = int(os.environ.get("ZOO_NETWORKS", "60"))
MANY = NETWORKS > 60
MOST_REFUSED = 0.1  # of random networks: a refusal must stay what happens to odd requests
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.zoo]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_network_keeps_the_contract(name, tmp_path):
    contract.hold(contract.of_name(name), tmp_path)


@pytest.mark.parametrize("name", ENTRIES)
def test_and_with_few_filters_left(name, tmp_path):
    compression = 1.2 if name == "stochasticdepth" else 2.0  # of its channels few can go
    contract.hold(contract.of_name(name, granularity="filter", compression=compression), tmp_path)


@pytest.mark.parametrize("name", ["plain", "tiedconvolutions", "lstm", "attentionfirst", "weight_norm", "transposed"])
@pytest.mark.parametrize("compression", [1.25, 10.0])
def test_counts_are_exact_in_every_layer(name, compression):
    case = contract.of_name(name, scope="layer", pruner="snip", compression=compression)
    run = case.bench()
    contract.counts_are_exact(case, run.find(compression).masks)


def test_the_networks_are_small_and_run_in_plain_pytorch():
    for name, entry in ENTRIES.items():
        model = contract.of_name(name).build()
        assert sum(parameter.numel() for parameter in model.parameters()) < 6000, name
        x = torch.rand(3, *entry.shape, dtype=torch.float64 if entry.exact else torch.float32)
        assert model(x.clone()).shape == model.eval()(x.clone()).shape == (3, CLASSES)


TRIALS = st.fixed_dictionaries(
    {
        "pruner": st.sampled_from(["magnitude", "magnitude", "random", "snip"]),
        "compression": st.sampled_from([1.25, 2.0, 3.0, 10.0, 30.0]),
        "scope": st.sampled_from(["global", "global", "layer"]),
        "granularity": st.sampled_from(["weight", "filter"]),
        "nesterov": st.booleans(),
        "seed": st.integers(0, 3),
    }
)


def test_random_networks_keep_the_contract(tmp_path_factory, capsys):
    folder, ways, ran = tmp_path_factory.mktemp("zoo"), Counter(), 0

    @settings(
        max_examples=NETWORKS,
        derandomize=not MANY,  # the long run finds new ones each time
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(descriptions(), st.sampled_from([LARGE, SMALL]), TRIALS)
    def hold(description, shape, fields):
        nonlocal ran
        filters = {"scope": "global"} if fields["granularity"] == "filter" else {}
        case = contract.of_description(description, shape, **fields | filters)
        assume(contract.trains_in_plain_pytorch(case))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            taken = contract.hold(case, folder)
            ran += 1
            if filters and taken["pruned"] != "masks":  # no filters in such a network: then weights
                weights = contract.of_description(description, shape, **fields | {"granularity": "weight"})
                taken = {"filters": taken["pruned"]} | contract.hold(weights, folder)
        ways.update(taken.items())

    hold()
    with capsys.disabled():
        print(f"\n{ran} random networks keep the contract:")  # noqa: T201
        for (turn, way), count in sorted(ways.items(), key=lambda item: (item[0][0], -item[1])):
            print(f"{count:6d}  {turn}: {way}")  # noqa: T201
    refused = sum(count for (turn, way), count in ways.items() if turn == "pruned" and way != "masks")
    assert refused <= MOST_REFUSED * ran
