"""Patil & Dovrolis 2021, section 4: the union of random walks biased by |w|, forwards and backwards."""

import pytest
import torch
from torch import nn, tensor

from pruners import PRUNERS, PruningError, effective, find, prune
from pruners.channels import trace_channels
from pruners.scores.phew import Edges, Walks
from trainables.architectures import build


def scores_of(model, seed=0):
    return PRUNERS["phew"].score(model, [], mode="eval", generator=torch.Generator().manual_seed(seed))


def walks_of(model, **asked):
    channels = trace_channels(model)
    return Walks(channels, {layer: Edges(layer) for layer in channels.inputs}, torch.Generator(), **asked)


def test_by_hand_a_walk_goes_on_in_proportion_to_the_weights():
    # From the one input unit |w| / sum |w| is (1/4, 3/4).
    layer = nn.Linear(1, 2, bias=False)
    layer.weight.data = tensor([[1.0], [-3.0]])
    ((_, _, taken),) = walks_of(layer).forward(torch.arange(4000))
    assert int(taken.sum()) == pytest.approx(3000, abs=3 * (4000 * 3 / 16) ** 0.5)


def test_by_hand_backwards_it_is_of_the_weights_that_enter():
    # A forward walk from any of the inputs takes that input's weight; a backward walk takes (1/4, 3/4).
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = tensor([[1.0, 3.0]])
    walks = walks_of(layer)
    for way, second in ((walks.forward, 1 / 2), (walks.backward, 3 / 4)):
        ((_, _, taken),) = way(torch.arange(4000))
        assert int(taken.sum()) == pytest.approx(4000 * second, abs=3 * (4000 / 4) ** 0.5)


@pytest.mark.parametrize("total", [128, 1024])
def test_by_hand_walks_end_when_half_is_taken_and_the_others_rank_by_their_size(monkeypatch, total):
    # Here walk n takes weight n, which is -n.
    layer = nn.Linear(1, total, bias=False)
    layer.weight.data = -torch.arange(float(total))[:, None]
    for way in ("forward", "backward"):
        monkeypatch.setattr(f"pruners.scores.phew.Walks.{way}", lambda self, numbers: [(layer, numbers, numbers)])
    scores = scores_of(layer)["weight"].flatten()
    assert scores.argsort(descending=True).tolist() == [*range(total // 2), *range(total - 1, total // 2 - 1, -1)]
    assert scores[total // 2 - 1] == 1 - total // 2 and scores[-1] == -total - 1 / total


@pytest.mark.parametrize("taken", [0, 9, 100])
def test_what_the_first_walks_take_is_whole_paths(taken):
    model = build("resnet20", input_shape=(3, 32, 32), num_classes=10, seed=0)
    masks = {name: score >= -taken for name, score in scores_of(model).items()}
    for name, reached in effective(model, masks, (3, 32, 32)).items():
        assert torch.equal(reached, masks[name])


def test_groups_flattening_and_concatenation_lead_where_they_should():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)  # a tap of a larger kernel might only see padding at the one place flattened
            self.more = nn.Conv2d(4, 6, 1, groups=2)
            self.head = nn.Linear(10 * 16, 5)

        def forward(self, x):
            x = self.stem(x).relu()
            return self.head(torch.cat([x, self.more(x)], 1).flatten(1))

    model = Dense()
    for taken in (0, 1, 2, 3, 20):
        masks = {name: score >= -taken for name, score in scores_of(model, seed=taken).items()}
        for name, reached in effective(model, masks, (3, 4, 4)).items():
            assert torch.equal(reached, masks[name])
    walks = walks_of(model)
    for way in (walks.forward, walks.backward):
        crossed = {layer: when.sort().values.tolist() for layer, when, _ in way(torch.arange(50))}
        assert crossed[model.stem] == crossed[model.head] == [*range(50)]


def test_by_hand_every_weight_is_found_from_both_its_ends():
    layer = nn.Conv1d(4, 6, 3, groups=2, bias=False)  # 6 outputs read 2 inputs each, with 3 taps
    for index in range(36):
        layer.weight.data.zero_().view(-1)[index] = 1.0
        edges, generator = Edges(layer), torch.Generator()
        out, into = index // 6, index // 18 * 2 + index // 3 % 2
        for found, here, there in (
            (edges.on(torch.arange(4), generator), into, out),
            (edges.back(torch.arange(6), generator), out, into),
        ):
            alive, where, at = found
            assert (alive.nonzero().tolist(), where.tolist(), at.tolist()) == ([[here]], [index], [there])


def test_rounding_leads_to_no_other_weight():
    # Doubles at 1e16 are 2 apart: of the second output's one weight what is drawn is the beginning or the end.
    layer = nn.Linear(2, 2, bias=False).double()
    layer.weight.data = tensor([[1e16, 0.0], [0.0, 2.0]]).double()
    _, where, _ = Edges(layer).back(torch.ones(50, dtype=torch.int64), torch.Generator())
    assert where.tolist() == [3] * 50


def test_what_nobody_reads_is_not_entered():
    class DeadEnd(nn.Module):
        def __init__(self):
            super().__init__()
            self.aside, self.head = nn.Linear(2, 3), nn.Linear(2, 1)

        def forward(self, x):
            self.aside(x)
            return self.head(x)

    model = DeadEnd()
    walks = walks_of(model)
    for way in (walks.forward, walks.backward):
        crossed = {layer: len(when) for layer, when, _ in way(torch.arange(50))}
        assert crossed == {model.aside: 0, model.head: 50}


def crossings(model, identity_shortcuts):
    """How many of a hundred walks cross each layer, forwards and backwards."""
    names = {module: name for name, module in model.named_modules()}
    walks = walks_of(model, identity_shortcuts=identity_shortcuts)
    for way in (walks.forward, walks.backward):
        yield {names[layer]: len(when) for layer, when, _ in way(torch.arange(100))}


def test_walks_take_shortcuts_of_convolutions_but_no_identities():
    # ShreyasMalakarjunPatil/PHEW c4a0d40, Prune/phew_utils.py: at kernels of 1x1 one of two ways is drawn, and others
    # follow one another. Of ResNet-20's nine blocks seven have identities.
    model = build("resnet20", input_shape=(3, 32, 32), num_classes=10, seed=0)
    for crossed in crossings(model, identity_shortcuts=False):
        assert sorted(crossed.values())[-16:] == [100] * 16  # the first layer, the last, two in each of seven blocks
        rest = sorted(crossed.values())[:-16]
        assert len(rest) == 6 and all(20 < count < 80 for count in rest)  # two blocks of a shortcut and two others
    for crossed in crossings(model, identity_shortcuts=True):
        assert sum(count == 100 for count in crossed.values()) == 2


def test_a_shortcut_of_what_a_layer_gives_is_an_identity_too():
    class Preactivated(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            x = self.stem(x)
            return self.head(x + self.inner(x.relu()))

    for crossed in crossings(Preactivated(), identity_shortcuts=False):
        assert crossed == {"stem": 100, "inner": 100, "head": 100}


def test_large_weights_are_taken_sooner_and_pruned_ones_never(model):
    model.head.weight.data[:, :48] *= 100
    model.head.weight.data[:, 90:] = 0
    mask = prune(model, "phew", 5)["head.weight"]
    assert int(mask[:, :48].sum()) > 3 * int(mask[:, 48:].sum())
    assert not mask[:, 90:].any()


def test_it_is_wider_than_synflow():
    # Section 5: as many weights, spread over more units.
    model = build("mlp", input_shape=(1, 8, 8), num_classes=10, seed=0)
    data = [(torch.zeros(1, 1, 8, 8), torch.zeros(1))]
    phew, synflow = (
        find(model, name, 50, data, **options).masks
        for name, options in [("phew", {}), ("synflow", {"options": {"norm": "l2"}})]
    )
    units = [sum(int(mask.any(1).sum()) for mask in list(masks.values())[:-1]) for masks in (phew, synflow)]
    assert units[0] > 1.5 * units[1]


def test_a_network_that_cannot_be_followed_is_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(x) if x.sum() > 0 else x

    with pytest.raises(PruningError, match=r"torch\.fx cannot trace"):
        scores_of(Odd())
