"""Every reference score and mask in tests/golden, number for number."""

import pytest
import torch
from nets import load

from pruners import PRUNERS, apply_masks, densities, find, prunable, prune

OURS = {
    "mag": "magnitude",
    "snip": "snip",
    "itersnip": "iter-snip",
    "grasp": "grasp",
    "synflow": "synflow",
    "synflow_linear": "synflow",
}
AS_THERE = {"itersnip": {"loss": "cross-entropy"}}  # of the SynFlow and NTK-SAP programs; ours has another default
TIED = ("convnet", "mask/grasp/eval/T1/x2")  # 145 scores are 0; the reference drops them all
# In iteration 1 of 10, 739 scores are 0 where 339 weights are to go; the reference drops them all.
TIED_ON_THE_WAY = ("convnet_itersnip", "mask/itersnip/eval/T10/x2")


def read(file):
    return load(file.removesuffix("_itersnip"), file)


KEYS = {
    net: sorted({key.rsplit("/", 1)[0] for key in read(net)[2] if key.startswith(("score/", "mask/"))})
    for net in ("mlp", "convnet", "mlp_itersnip", "convnet_itersnip")
}


@pytest.mark.parametrize(("net", "key"), [(n, k) for n, keys in KEYS.items() for k in keys if k.startswith("score")])
def test_scores_equal_the_reference_up_to_one_factor(net, key):
    model, batches, arrays = read(net)
    _, pruner, mode = key.split("/")
    scores = PRUNERS[OURS[pruner]].score(
        model, batches, mode=mode, generator=torch.Generator(), **AS_THERE.get(pruner, {})
    )
    ours = torch.cat([score.flatten() for score in scores.values()])
    reference = torch.cat([arrays[f"{key}/{name}"].flatten() for name in scores])
    factor = reference.abs().sum() / ours.abs().sum()
    torch.testing.assert_close(ours * factor, reference, rtol=1e-9, atol=1e-12 * float(reference.abs().max()))


@pytest.mark.parametrize(("net", "key"), [(n, k) for n, keys in KEYS.items() for k in keys if k.startswith("mask")])
def test_masks_equal_the_reference(net, key):
    model, batches, arrays = read(net)
    _, pruner, mode, iterations, compression = key.split("/")
    if (net, key) == TIED_ON_THE_WAY:
        pytest.skip("the reference breaks a tie otherwise: see the next test")
    masks = prune(
        model,
        OURS[pruner],
        compression=float(compression[1:]),
        batches=batches,
        schedule="linear" if pruner == "synflow_linear" else None,
        iterations=int(iterations[1:]),
        mode=mode,
        options=AS_THERE.get(pruner),
    )
    reference = {name: arrays[f"{key}/{name}"] for name in masks}
    if (net, key) == TIED:
        assert sum(int(mask.sum()) for mask in reference.values()) == 2387
        assert sum(int(mask.sum()) for mask in masks.values()) == 2532
        assert not any((reference[name] & ~masks[name]).any() for name in masks)
    else:
        assert all(torch.equal(masks[name], reference[name]) for name in masks)


def test_the_tie_on_the_way_is_all_that_differs():
    net, key = TIED_ON_THE_WAY
    model, batches, arrays = read(net)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}
    for density in densities("exponential", 1 / 2, 10):
        apply_masks(model, masks)
        scores = PRUNERS["snip"].score(model, batches, mode="eval", generator=torch.Generator())
        every = torch.cat([score.flatten() for score in scores.values()])
        threshold = every.kthvalue(int((1 - density) * len(every))).values
        masks = {name: score > threshold for name, score in scores.items()}
    assert all(torch.equal(mask, arrays[f"{key}/{name}"]) for name, mask in masks.items())


def test_every_kind_of_reference_is_covered():
    kinds = {key.split("/")[1] for keys in KEYS.values() for key in keys}
    assert kinds == set(OURS)
    assert {key.split("/")[3] for keys in KEYS.values() for key in keys if "synflow/" in key and "mask" in key} == {
        "T1",
        "T100",
    }


def test_defaults_are_the_published_settings():
    model, batches, arrays = load("convnet")
    for pruner, key in [
        ("snip", "mask/snip/eval/T1/x10"),
        ("grasp", "mask/grasp/train/T1/x10"),
        ("synflow", "mask/synflow/eval/T100/x10"),
    ]:
        masks = find(model, pruner, 10, batches).masks
        assert all(torch.equal(mask, arrays[f"{key}/{name}"]) for name, mask in masks.items())
