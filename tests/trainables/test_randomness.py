import numpy as np
import pytest
import torch

from trainables.randomness import derive, generator, seeded


@pytest.mark.parametrize(
    ("names", "value"),
    [
        ((0,), 6197007067532723406),
        ((0, "weights"), 3593040475183021931),
        ((1, "weights"), 7685045782610658503),
        ((0, "order", 0), 8407243675484231436),
        ((0, "order", 1), 116889601432050504),
    ],
)
def test_derived_seeds_never_change(names, value):
    assert derive(*names) == value


def test_names_are_kept_apart():
    variants = [(0, "a"), (0, "b"), (1, "a"), (0, "a", "b"), (0, "ab"), (0, "a", 1), (0, "a", "1"), (0, "a", 11)]
    values = {derive(*names) for names in variants}
    assert len(values) == len(variants)
    assert all(0 <= value < 2**63 for value in values)


def test_a_number_whose_text_depends_on_a_version_is_refused():
    with pytest.raises(TypeError):
        derive(np.int64(3), "weights")


def test_generators_of_one_name_agree_and_ignore_the_global_state():
    torch.manual_seed(1)
    first = torch.rand(3, generator=generator(7, "order", 2))
    torch.manual_seed(2)
    assert torch.equal(first, torch.rand(3, generator=generator(7, "order", 2)))
    assert not torch.equal(first, torch.rand(3, generator=generator(7, "order", 3)))


def test_seeded_sets_the_global_state_and_puts_it_back():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with seeded(0, "dropout"):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    with seeded(0, "dropout"):
        assert torch.equal(torch.rand(3), first)


def test_seeded_puts_the_state_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(0):
        torch.rand(3)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)
