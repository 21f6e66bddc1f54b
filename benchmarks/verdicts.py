"""How often the report's verdicts are false, and how often they see a true difference, in simulated sweeps.

    python -m benchmarks.verdicts [--sweeps 1000] [--panels 3]

Each panel has five pruners at five compressions. In the first table all pruners are equal: a panel with any lead is a
false one, and at most 5 % may be. In the second, neighbours are a point apart. Nothing is trained.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from orchestrator.report.verdicts import PanelTrial, PanelVerdicts, verdicts
from orchestrator.results.right_images import RightImages

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

    leads: Share
    beyond_images: Share  # leads that are said not to be explained by the choice of test images
    on_images: Share  # one seed: networks that are said to differ on these images; false only without a spread


def false_claims(scenario: Scenario, seeds: int, panels: int, dice: np.random.Generator) -> FalseClaims:
    """Simulate panels in which all pruners are equal; count those with any claim."""
    leads = beyond = on_images = 0
    for _ in range(panels):
        pairs = panel(scenario, seeds, 0.0, dice).pairs
        leads += any(pair.leads for pair in pairs)
        beyond += any(pair.leads and pair.holds_for_other_images for pair in pairs)
        on_images += any(pair.differs_on_images for pair in pairs)
    return FalseClaims(Share(leads, panels), Share(beyond, panels), Share(on_images, panels))


def power(scenario: Scenario, seeds: int, panels: int, dice: np.random.Generator) -> tuple[Share, Share, Share]:
    """Simulate panels with gaps of one point; return the shares of pairs decided and of panels with a wrong lead.

    The first share is of the pairs that are one point apart, the second of all pairs.
    """
    near = decided = wrong = near_all = every = 0
    for _ in range(panels):
        found = panel(scenario, seeds, 1.0, dice).pairs
        wrong += any(pair.leads and pair.better > pair.worse for pair in found)
        for pair in found:
            right = pair.leads and pair.better < pair.worse
            neighbours = abs(ord(pair.better) - ord(pair.worse)) == 1
            near, near_all = near + (right and neighbours), near_all + neighbours
            decided, every = decided + right, every + 1
    return Share(near, near_all), Share(decided, every), Share(wrong, panels)


def main() -> None:
    """Simulate and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--panels", type=int, default=3, help="of each sweep; with images, a quarter of the sweeps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of scenarios, from 0; all by default")
    given = parser.parse_args()
    started, count = time.perf_counter(), given.sweeps * given.panels
    print(
        "| all pruners equal: panels with a claim | seeds | leads | leads beyond the images | differ on images | of |"
    )
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for number, scenario in enumerate(SCENARIOS):
        if given.only is not None and number not in given.only:
            continue
        for seeds in SEEDS if scenario.images else SEEDS[1:]:  # one seed without images claims nothing
            panels = max(1, count // 4) if scenario.images else count
            found = false_claims(scenario, seeds, panels, np.random.default_rng([given.seed, number, seeds]))
            images = (found.beyond_images, found.on_images if seeds == 1 else "") if scenario.images else ("", "")
            print(f"| {scenario.name} | {seeds} | {found.leads} | {images[0]} | {images[1]} | {panels} |", flush=True)
    print("\n| gaps of a point, deviation 0.3 | seeds | neighbours told apart | all pairs | panels with a wrong lead |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for seeds in (*SEEDS[1:], 8):
        near, every, wrong = power(SCENARIOS[0], seeds, max(1, count // 10), np.random.default_rng([given.seed, seeds]))
        print(f"| | {seeds} | {near} | {every} | {wrong} |", flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
