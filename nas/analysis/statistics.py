"""The claims that a comparison supports: summaries with intervals, paired tests, ranks, and warnings about too few
seeds.

The pairwise tests (Wilcoxon with Holm's correction) carry the conclusions; the ranks are an overview, since a mean
rank depends on which strategies are compared (Benavoli, Corani & Mangili, "Should We Really Use Post-Hoc Tests Based
on Mean-Ranks?", JMLR 17, 2016).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import scipy

from nas.analysis.bootstrap import Array, bootstrap_interval
from nas.analysis.results import Column, RunResult
from nas.errors import UsageError
from nas.formatting import plural

LEVEL = 0.05
"""Significance level of the tests."""

ENOUGH_SEEDS = 20
"""Number of seeds from which the bootstrap's intervals need no warning."""


@dataclass(frozen=True)
class Summary:
    """One column over the runs of one strategy, in the column's units.

    Args:
        n: Number of runs.
        std: Standard deviation of the runs, with n - 1; None for one run.
        iqm: Mean without the floor(n / 4) lowest and highest runs (Agarwal et al., "Deep RL at the Edge of the
            Statistical Precipice", NeurIPS 2021).
        ci_low, ci_high: 95 % interval of the mean; None for one run.
        regret: Distance of the mean from the column's optimum, at least 0 unless the optimum is wrong; None if it is
            unknown.
    """

    n: int
    mean: float
    std: float | None
    median: float
    iqm: float
    ci_low: float | None
    ci_high: float | None
    regret: float | None


@dataclass(frozen=True)
class Pair:
    """Two strategies on the seeds that both have.

    Args:
        n: Number of shared seeds; wins + ties + losses.
        wins, ties, losses: Number of seeds on which the first is better, equal, worse.
        mean_difference: Mean of first - second, in the column's units and regardless of its direction.
        ci_low, ci_high: 95 % interval of the mean difference; None for one seed.
        rank_biserial: Matched-pairs rank-biserial correlation, (favourable - unfavourable) rank sum over their total
            (Kerby, "The Simple Difference Formula", 2014); -1 to 1, 1 if the first is better on every seed without a
            tie, 0 if all tie.
        p_value: Two-sided Wilcoxon signed-rank test without the ties (Wilcoxon 1945); 1 if all tie.
        p_holm: P-value corrected for the number of pairs (Holm 1979).
    """

    first: str
    second: str
    n: int
    wins: int
    ties: int
    losses: int
    mean_difference: float
    ci_low: float | None
    ci_high: float | None
    rank_biserial: float
    p_value: float
    p_holm: float

    @property
    def differs(self) -> bool:
        return self.p_holm < LEVEL


@dataclass(frozen=True)
class Ranking:
    """Strategies ranked on each seed that all have; 1 is best, and equal ones share the mean of their ranks.

    Args:
        n: Number of these seeds.
        average: Strategy -> mean rank, 1 to number of strategies, best first.
        friedman, friedman_p: Chi-squared of Friedman's test with its correction for ties, and its p-value; None for two
            strategies, to which it does not apply.
        critical_difference: Smallest significant distance of two mean ranks (Nemenyi).
        cliques: Largest groups of strategies less than this distance apart, best first; at least two in each.
    """

    n: int
    average: Mapping[str, float]
    friedman: float | None
    friedman_p: float | None
    critical_difference: float
    cliques: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Comparison:
    """All results for one column.

    Args:
        summaries: Strategy -> summary, in the given order.
        pairs: Every two strategies with a shared seed, in the given order.
        ranking: None for fewer than two strategies, or if they share no seed.
        warnings: Sentences for the reader.
    """

    column: Column
    summaries: Mapping[str, Summary]
    pairs: tuple[Pair, ...]
    ranking: Ranking | None
    warnings: tuple[str, ...]

    @property
    def best(self) -> str:
        """The strategy with the best mean; of equal ones the first."""
        sign = 1 if self.column.direction == "maximize" else -1
        return max(self.summaries, key=lambda strategy: sign * self.summaries[strategy].mean)


def compare(results: Sequence[RunResult], column: Column) -> Comparison:
    """Summaries, pairs, ranks and warnings for a column.

    Raises:
        UsageError: There are no runs, two runs of the same strategy and seed, or a run lacks the column.
    """
    values = {
        strategy: {run.seed: value(run, column) for run in runs} for strategy, runs in by_strategy(results).items()
    }
    summaries = {strategy: summarise(list(seeds.values()), column) for strategy, seeds in values.items()}
    pairs = compare_pairs(values, column)
    ranking = rank(values, column)
    return Comparison(column, summaries, pairs, ranking, _warnings(values, summaries, pairs, ranking, column))


def by_strategy(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Runs of each strategy sorted by seed, strategies in the order of their first run.

    Raises:
        UsageError: There are no runs, or two of the same strategy and seed.
    """
    if not results:
        raise UsageError("there are no runs to compare; give at least one strategy and one seed")
    groups: dict[str, dict[int, RunResult]] = {}
    for run in results:
        runs = groups.setdefault(run.strategy, {})
        if run.seed in runs:
            raise UsageError(f"strategy {run.strategy!r} has two runs of seed {run.seed}; give each its own label")
        runs[run.seed] = run
    return {strategy: [runs[seed] for seed in sorted(runs)] for strategy, runs in groups.items()}


def value(run: RunResult, column: Column, step: int = -1) -> float:
    """The value of a column for a run's winner, or for the incumbent of another step.

    Raises:
        UsageError: The value is missing or not finite.
    """
    number = run.steps[step].metrics.get(column.name)
    if number is None or not math.isfinite(number):
        problem = "has no" if number is None else f"has {number} as"
        raise UsageError(f"run {run.strategy!r} of seed {run.seed} {problem} {column.name}; leave that column out")
    return float(number)


def summarise(values: Sequence[float] | Array, column: Column) -> Summary:
    """Summary of one finite value per run, (n,) with n >= 1."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(np.mean(array))
    low, high = _ends(array)
    cut = len(array) // 4
    return Summary(
        n=len(array),
        mean=mean,
        std=float(np.std(array, ddof=1)) if len(array) > 1 else None,
        median=float(np.median(array)),
        iqm=float(np.mean(np.sort(array)[cut : len(array) - cut])),
        ci_low=low,
        ci_high=high,
        regret=_regret(mean, column),
    )


def compare_pairs(values: Mapping[str, Mapping[int, float]], column: Column) -> tuple[Pair, ...]:
    """Every two strategies on the seeds that both have; pairs without a shared seed are left out.

    Args:
        values: Strategy -> seed -> value of the winner.
    """
    sign = 1 if column.direction == "maximize" else -1
    pairs = []
    for first, second in combinations(values, 2):
        seeds = sorted(values[first].keys() & values[second].keys())
        if not seeds:
            continue
        ours, theirs = (np.array([values[strategy][seed] for seed in seeds]) for strategy in (first, second))
        # rounded, or 91.53 - 91.50 and 90.03 - 90.00 would not tie
        difference = _without_noise(ours - theirs, like=np.concatenate([ours, theirs]))
        nonzero = sign * difference[difference != 0]
        ranks = scipy.stats.rankdata(np.abs(nonzero))
        low, high = _ends(difference)
        pairs.append(
            Pair(
                first,
                second,
                n=len(seeds),
                wins=int((nonzero > 0).sum()),
                ties=len(seeds) - len(nonzero),
                losses=int((nonzero < 0).sum()),
                mean_difference=float(difference.mean()),
                ci_low=low,
                ci_high=high,
                rank_biserial=float((np.sign(nonzero) * ranks).sum() / ranks.sum()) if len(nonzero) else 0.0,
                p_value=float(scipy.stats.wilcoxon(nonzero).pvalue) if len(nonzero) else 1.0,
                p_holm=math.nan,
            )
        )
    corrected = holm([pair.p_value for pair in pairs])
    return tuple(replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the given order (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank_of_p, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank_of_p) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def rank(values: Mapping[str, Mapping[int, float]], column: Column) -> Ranking | None:
    """Mean ranks over the seeds that all strategies have; None without such a seed, or for fewer than two strategies.

    Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006, section 3.2, with seeds
    instead of data sets: a difference is one on this benchmark.
    """
    shared = sorted(set.intersection(*(set(seeds) for seeds in values.values())))
    if len(values) < 2 or not shared:
        return None
    sign = 1 if column.direction == "maximize" else -1
    table = np.array([[sign * seeds[seed] for seeds in values.values()] for seed in shared])
    ranks = scipy.stats.rankdata(-_without_noise(table, like=table), axis=1)
    average = dict(sorted(zip(values, ranks.mean(axis=0).tolist(), strict=True), key=lambda item: item[1]))
    distance = critical_difference(len(values), len(shared))
    chi2 = p_value = None
    if len(values) > 2:
        chi2, p_value = 0.0, 1.0
        if np.ptp(ranks):  # scipy divides by zero if all strategies tie on every seed
            chi2, p_value = map(float, scipy.stats.friedmanchisquare(*ranks.T))
    return Ranking(len(shared), average, chi2, p_value, distance, cliques(average, distance))


def critical_difference(strategies: int, seeds: int) -> float:
    """Nemenyi's critical difference at level 0.05, in ranks (Demšar 2006, section 3.2.2); strategies >= 2."""
    q = scipy.stats.studentized_range.ppf(1 - LEVEL, strategies, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(strategies * (strategies + 1) / (6 * seeds)))


def cliques(average: Mapping[str, float], distance: float) -> tuple[tuple[str, ...], ...]:
    """The largest groups of strategies whose mean ranks are less than a distance apart, best first, of two or more.

    Args:
        average: Strategy -> mean rank, best first.
    """
    names = list(average)
    groups: list[tuple[str, ...]] = []
    reached = 0
    for start, strategy in enumerate(names):
        stop = sum(average[other] - average[strategy] < distance for other in names)
        if stop > max(reached, start + 1):
            groups.append(tuple(names[start:stop]))
        reached = max(reached, stop)
    return tuple(groups)


def _ends(values: Array) -> tuple[float | None, float | None]:
    if len(values) < 2:
        return None, None
    low, high = bootstrap_interval(values[:, None])
    return float(low[0]), float(high[0])


def _regret(mean: float, column: Column) -> float | None:
    if column.optimum is None:
        return None
    regret = column.optimum - mean if column.direction == "maximize" else mean - column.optimum
    # the mean of equal numbers may differ from them by rounding
    return max(regret, 0.0) if regret > -1e-9 * abs(column.optimum) else regret


def _without_noise(values: Array, like: Array) -> Array:
    """Values without the digits that are rounding errors in sums of numbers as large as those of `like`."""
    largest = float(np.abs(like).max())
    return np.round(values, 11 - math.ceil(math.log10(largest))) if largest > 0 else values


def _warnings(
    values: Mapping[str, Mapping[int, float]],
    summaries: Mapping[str, Summary],
    pairs: Sequence[Pair],
    ranking: Ranking | None,
    column: Column,
) -> tuple[str, ...]:
    warnings = []
    counts = {strategy: summary.n for strategy, summary in summaries.items()}
    fewest = min(counts.values())
    single = [strategy for strategy, n in counts.items() if n == 1]
    if single:
        warnings.append(
            f"{', '.join(single)}: one seed gives no standard deviation and no interval, and no test can use it."
        )
    elif fewest < ENOUGH_SEEDS:
        warnings.append(
            f"With {fewest} seeds per strategy the 95 % intervals are rough and probably too narrow;"
            f" use {ENOUGH_SEEDS} or more."
        )
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{strategy} {n}" for strategy, n in counts.items())
        warnings.append(f"The numbers of seeds differ ({each}); a test uses only the seeds that both strategies have.")
    if len(values) > 1 and len(pairs) < math.comb(len(values), 2):
        unpaired = [f"{a} and {b}" for a, b in combinations(values, 2) if not values[a].keys() & values[b].keys()]
        warnings.append(f"No shared seed, so no test: {'; '.join(unpaired)}.")
    if pairs:
        most, needed = max(pair.n for pair in pairs), _pairs_needed(len(pairs))
        if most < needed:
            smallest = min(1.0, 2.0 ** (1 - most) * len(pairs))
            correction = f" after Holm's correction over {len(pairs)} pairs" if len(pairs) > 1 else ""
            warnings.append(
                f"With {plural(most, 'shared seed')} no pair can reach p < {LEVEL}: the smallest Wilcoxon p-value"
                f" is {smallest:.2g}{correction}. Use at least {needed} seeds."
            )
    for pair in pairs:
        if pair.ties == pair.n and pair.n > 1:
            warnings.append(f"{pair.first} and {pair.second} are equal in {column.name} on all {pair.n} seeds.")
        elif pair.ties > pair.n / 2:
            rest = plural(pair.n - pair.ties, "seed")
            warnings.append(
                f"{pair.first} and {pair.second} tie in {column.name} on {pair.ties} of {pair.n} seeds: their p-value"
                f" and effect size are based on the other {rest} only."
            )
    if ranking and ranking.n <= 10:
        warnings.append(
            f"The mean ranks are over {plural(ranking.n, 'seed')}; their tests are approximations for more than 10."
        )
    for strategy, summary in summaries.items():
        if summary.regret is not None and summary.regret < 0:
            warnings.append(
                f"{strategy} is better than the given optimum of {column.name} ({column.optimum:g}), which is wrong."
            )
    return tuple(warnings)


def _pairs_needed(tests: int) -> int:
    """The fewest pairs with which a test can reach LEVEL as the strictest of several: 2^(1 - n) * tests < LEVEL."""
    return next(n for n in range(1, 64) if 2 ** (1 - n) * tests < LEVEL)
