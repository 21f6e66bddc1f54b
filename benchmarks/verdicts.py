"""How often the report's verdicts are false, and how often they see a true difference, in simulated sweeps.

    python -m benchmarks.verdicts [--sweeps 1000] [--panels 3]
    python -m benchmarks.verdicts --replay sqlite:///results/mlflow.db digits    # of a whole grid, most seeds

Each panel has five pruners at five compressions. In the first table all pruners are equal: a panel with any lead is a
false one, and at most 5 % may be. In the second, neighbours are a point apart. The third table has both for
`seed: {until: decided}`. Nothing is trained. A replay gives the trials of a finished grid to the rule, one look after
the other, and compares its verdicts with those of the whole grid.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from orchestrator.report.panel_seeds import PanelSeeds, looks_of
from orchestrator.report.verdicts import PanelTrial, PanelVerdicts, panel_trials, verdicts
from orchestrator.results.lines import facets
from orchestrator.results.results import read
from orchestrator.results.right_images import RightImages
from search_spaces import UntilDecided

Numbers = NDArray[np.float64]
PRUNERS = ("a", "b", "c", "d", "e")
COMPRESSIONS = (2, 5, 10, 20, 50)
ACCURACIES = np.array([0.94, 0.93, 0.91, 0.87, 0.80])  # by compression
SEEDS = (1, 2, 3, 5)
IMAGES = 1000
DIFFICULTY_NOISE = 0.5  # of one network, beside images' difficulties of deviation 1


@dataclass(frozen=True)
class Scenario:
    """Way in which simulated sweeps vary: the deviation over seeds, in points, by compression and pruner."""

    name: str
    deviations: Numbers  # [compressions, pruners]
    images: bool = False  # whether hits are simulated image by image
    favour: float = 0.0  # how much each pruner has images that it finds easier, in deviations of their difficulty


def _deviations(by_compression: tuple[float, float], by_pruner: tuple[float, float]) -> Numbers:
    rows = np.geomspace(*by_compression, len(COMPRESSIONS))[:, None]
    return rows * np.geomspace(*by_pruner, len(PRUNERS))[None]


EVEN = _deviations((0.3, 0.3), (1, 1))
SCENARIOS = (
    Scenario("equal spread, 0.3 points", EVEN),
    Scenario("spread from 0.2 points at 2x to 2 at 50x", _deviations((0.2, 2), (1, 1))),
    Scenario("the same, and by pruner from a half to twice that", _deviations((0.2, 2), (0.5, 2))),
    Scenario("0.3 points; hits simulated, images hard for all", EVEN, images=True),
    Scenario("0.3 points; hits simulated, each pruner favours some", EVEN, images=True, favour=0.3),
    Scenario("no spread between seeds; hits simulated", 0 * EVEN, images=True),
)


def panel(scenario: Scenario, seeds: int, gap: float, dice: np.random.Generator) -> PanelVerdicts:
    """Return the verdicts on one simulated panel, in which neighbours among the pruners are `gap` points apart."""
    return verdicts(_trials(scenario, seeds, gap, dice))


def _trials(scenario: Scenario, seeds: int, gap: float, dice: np.random.Generator) -> Iterator[PanelTrial]:
    shape = len(COMPRESSIONS), len(PRUNERS), seeds
    shared = dice.normal(size=(shape[0], 1, seeds))  # equal seeds share weights and the order of data
    noise = (dice.normal(size=shape) + 0.5 * shared) * scenario.deviations[:, :, None] / 100
    means = ACCURACIES[:, None, None] - gap / 100 * np.arange(len(PRUNERS))[None, :, None]
    top1 = np.clip(means + noise, 0.001, 0.999)
    right = _hits(scenario, top1, dice) if scenario.images else None
    for i, compression in enumerate(COMPRESSIONS):
        for j, pruner in enumerate(PRUNERS):
            for seed in range(seeds):
                if right is None:
                    yield PanelTrial(pruner, compression, seed, float(top1[i, j, seed]))
                else:
                    bits = right[i, j, seed]
                    yield PanelTrial(
                        pruner, compression, seed, float(bits.mean()), RightImages(("simulated", ""), bits)
                    )


def _hits(scenario: Scenario, top1: Numbers, dice: np.random.Generator) -> NDArray[np.bool_]:
    """Return which images each network gets right: those whose difficulty, as it meets them, is below its skill."""
    difficulty = dice.normal(size=IMAGES) + scenario.favour * dice.normal(size=(1, len(PRUNERS), 1, IMAGES))
    met = difficulty + DIFFICULTY_NOISE * dice.normal(size=(*top1.shape, IMAGES))
    scale = (1 + scenario.favour**2 + DIFFICULTY_NOISE**2) ** 0.5
    return met < scale * ndtri(top1)[..., None]


@dataclass(frozen=True)
class Share:
    """Number of panels or pairs of which something is true."""

    count: int
    of: int

    def __str__(self) -> str:
        """Return `3.1 %`."""
        return f"{100 * self.count / self.of:.1f} %"

    @property
    def value(self) -> float:
        """Return the share as a fraction."""
        return self.count / self.of


@dataclass(frozen=True)
class FalseClaims:
    """Shares of panels with a false claim, all pruners being equal."""

    leads: Share  # over seeds and over test images
    ahead: Share  # over seeds, on these test images
    on_images: Share  # one seed: networks that are said to differ on these images; false only without a spread


def false_claims(scenario: Scenario, seeds: int, panels: int, dice: np.random.Generator) -> FalseClaims:
    """Simulate panels in which all pruners are equal; count those with any claim."""
    leads = ahead = on_images = 0
    for _ in range(panels):
        pairs = panel(scenario, seeds, 0.0, dice).pairs
        leads += any(pair.leads for pair in pairs)
        ahead += any(pair.ahead for pair in pairs)
        on_images += any(pair.differs_on_images for pair in pairs)
    return FalseClaims(Share(leads, panels), Share(ahead, panels), Share(on_images, panels))


def power(scenario: Scenario, seeds: int, panels: int, dice: np.random.Generator) -> tuple[Share, Share, Share]:
    """Simulate panels with gaps of one point; return the shares of pairs decided and of panels with a wrong one.

    The first share is of the pairs that are one point apart, the second of all pairs.
    """
    near = decided = wrong = near_all = every = 0
    for _ in range(panels):
        found = panel(scenario, seeds, 1.0, dice).pairs
        wrong += any(pair.ahead and pair.better > pair.worse for pair in found)
        for pair in found:
            right = pair.ahead and pair.better < pair.worse
            neighbours = abs(ord(pair.better) - ord(pair.worse)) == 1
            near, near_all = near + (right and neighbours), near_all + neighbours
            decided, every = decided + right, every + 1
    return Share(near, near_all), Share(decided, every), Share(wrong, panels)


@dataclass(frozen=True)
class Replayed:
    """What `until: decided` makes of a whole grid: the trials that it needs, and the verdicts on those."""

    kept: tuple[PanelTrial, ...]
    of: int  # trials of the grid
    seeds: PanelSeeds
    found: PanelVerdicts


def replay(grid: Collection[PanelTrial], rule: UntilDecided) -> Replayed:
    """Give the trials of a grid with the most seeds to the rule, as it asks for them."""
    every = {((trial.compression, trial.pruner), trial.seed): trial for trial in grid}
    seeds = PanelSeeds(dict.fromkeys(place for place, _ in every), rule)
    while wanted := seeds.wanted():
        for _, place, seed in wanted:
            seeds.add(place, seed, every[place, seed].top1 if (place, seed) in every else None)
    kept = tuple(trial for (place, seed), trial in every.items() if seed < seeds.asked[place])
    return Replayed(kept, len(every), seeds, verdicts(kept, looks_of(rule)))


@dataclass(frozen=True)
class UntilDecidedFigures:
    """Figures of simulated panels whose seeds come until their comparisons are decided."""

    leads: Share  # panels with a lead: false ones, if all pruners are equal
    ahead: Share  # panels with a difference over seeds, on these test images
    wrong: Share  # panels with a difference in the wrong direction
    trials: Share  # of the grid with the most seeds
    decided: Share  # comparisons with the true best, in the right direction
    nearest: Share  # of these the one with the second
    fixed: dict[int, Share]  # the same of grids with so many seeds, the first ones of these sweeps


def until_decided(
    scenario: Scenario, gap: float, rule: UntilDecided, panels: int, dice: np.random.Generator
) -> UntilDecidedFigures:
    """Simulate panels with neighbours `gap` points apart under a rule."""
    leads = ahead = wrong = trials = grid = 0
    ended: list[tuple[bool, str]] = []
    fixed: Counter[int] = Counter()
    for _ in range(panels):
        full = tuple(_trials(scenario, rule.most, gap, dice))
        came = replay(full, rule)
        for seeds in range(rule.least, rule.most + 1) if gap else ():
            whole = verdicts([trial for trial in full if trial.seed < seeds])
            two = [whole.between(compression, *PRUNERS[:2]) for compression in COMPRESSIONS]
            fixed[seeds] += sum(pair is not None and pair.ahead and pair.better == PRUNERS[0] for pair in two)
        pairs = came.found.pairs
        leads += any(pair.leads for pair in pairs)
        ahead += any(pair.ahead for pair in pairs)
        wrong += any(pair.ahead and pair.better > pair.worse for pair in pairs)
        trials, grid = trials + len(came.kept), grid + came.of
        ended += [(pair.ahead and pair.better == PRUNERS[0], max(pair.better, pair.worse)) for pair in pairs
                  if PRUNERS[0] in (pair.better, pair.worse)]  # fmt: skip
    near = [right for right, other in ended if other == PRUNERS[1]]
    return UntilDecidedFigures(
        Share(leads, panels),
        Share(ahead, panels),
        Share(wrong, panels),
        Share(trials, grid),
        Share(sum(right for right, _ in ended), len(ended)),
        Share(sum(near), len(near)),
        {seeds: Share(count, panels * len(COMPRESSIONS)) for seeds, count in fixed.items()},
    )


def print_until_decided(panels: int, numbers: Collection[int], seed: int) -> None:
    """Print the figures of `until: decided`: of equal pruners in each scenario, and of neighbours a point apart."""
    rule = UntilDecided(until="decided")
    print(f"\n| {rule.words} | leads | ahead on these images | wrong | trials of the grid | decided | nearest | of |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for number, scenario in enumerate(SCENARIOS):
        for gap in ((0.0, 1.0) if number == 0 else (0.0,)) if number in numbers else ():
            count = max(1, panels // 4) if scenario.images else panels
            found = until_decided(scenario, gap, rule, count, np.random.default_rng([seed, number, int(gap)]))
            leads = found.leads if scenario.images else ""
            share = f"{found.ahead} | {found.wrong if gap else ''} | {found.trials}"
            power_ = f"{found.decided} | {found.nearest}" if gap else " | "
            print(f"| {scenario.name}, gaps of {gap:g} | {leads} | {share} | {power_} | {count} |", flush=True)
            grids = ", ".join(f"{seeds}: {share}" for seeds, share in found.fixed.items())
            print(f"nearest in grids of fixed seeds: {grids}" if grids else "", flush=True)


def print_replay(uri: str, experiment: str) -> None:
    """Print, for each panel of a finished grid, the trials needed, and how verdicts compare with the whole grid's."""
    results = read(uri, experiment)
    for facet in facets(results):
        grid = tuple(panel_trials(results, facet))
        rule = UntilDecided(until="decided", most=max(trial.seed for trial in grid) + 1)
        came, whole = replay(grid, rule), verdicts(grid)
        alike = Counter[str]()
        for question in came.seeds.questions:
            pair = whole.between(question.compression, question.leader, question.other)
            word = "decided" if pair and pair.ahead and pair.better == question.leader else "not decided"
            alike[f"{question.ending}, by the whole grid {word}"] += 1
        print(f"{facet.title}: {len(came.kept)} of {came.of} trials, {len(came.kept) / came.of:.2f}; {dict(alike)}")


def main() -> None:
    """Simulate and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--panels", type=int, default=3, help="of each sweep; with images, a quarter of the sweeps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of scenarios, from 0; all by default")
    parser.add_argument("--replay", nargs=2, metavar=("STORE", "EXPERIMENT"), help="a finished grid, seeds from 0 on")
    given = parser.parse_args()
    if given.replay:
        print_replay(*given.replay)
        return
    numbers = range(len(SCENARIOS)) if given.only is None else given.only
    started, count = time.perf_counter(), given.sweeps * given.panels
    print("| all pruners equal: panels with a claim | seeds | leads | ahead on these images | differ on images | of |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for number, scenario in enumerate(SCENARIOS):
        if number not in numbers:
            continue
        for seeds in SEEDS if scenario.images else SEEDS[1:]:  # one seed without images claims nothing
            panels = max(1, count // 4) if scenario.images else count
            found = false_claims(scenario, seeds, panels, np.random.default_rng([given.seed, number, seeds]))
            images = (found.leads, found.on_images if seeds == 1 else "") if scenario.images else ("", "")
            print(f"| {scenario.name} | {seeds} | {images[0]} | {found.ahead} | {images[1]} | {panels} |", flush=True)
    print("\n| gaps of a point, deviation 0.3 | seeds | neighbours told apart | all pairs | panels with a wrong lead |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for seeds in (*SEEDS[1:], 8):
        near, every, wrong = power(SCENARIOS[0], seeds, max(1, count // 10), np.random.default_rng([given.seed, seeds]))
        print(f"| | {seeds} | {near} | {every} | {wrong} |", flush=True)
    print_until_decided(given.sweeps, numbers, given.seed)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
