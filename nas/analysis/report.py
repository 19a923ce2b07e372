"""The folder of a comparison: every run, the summary for machines and for people, and the figures."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import pkgutil
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import nas.analysis.figures
from nas.analysis.canvas import save
from nas.analysis.results import Column, RunResult
from nas.analysis.statistics import Comparison, Pair, Summary, by_strategy, compare, value
from nas.errors import UserError
from nas.files import atomic_write
from nas.formatting import plural

METRICS = ("mean", "std", "median", "iqm", "ci_low", "ci_high", "regret")
JSON_DIGITS = 10
"""Significant digits in summary.json: further ones depend on the machine's order of summation."""


@dataclass(frozen=True)
class Report:
    """The result of a comparison and its files.

    Args:
        headline: Result for the first column, on one line.
        comparisons: One for each column, in the given order.
        runs: Strategy -> its runs, strategies in the given order.
        files: Paths of all files written.
    """

    headline: str
    comparisons: tuple[Comparison, ...]
    runs: Mapping[str, Sequence[RunResult]]
    files: tuple[Path, ...]


def write_report(
    folder: Path, results: Sequence[RunResult], columns: Sequence[Column], about: Mapping[str, str]
) -> Report:
    """Write runs.csv, summary.json, summary.md and the figures, each atomically.

    Nothing is written if an argument is wrong. A figure that these results do not allow is removed if an earlier report
    left it in the folder.

    Args:
        folder: Folder, created if missing; its other files are not touched.
        columns: At least one; the first is that of the headline and the figures.
        about: What a reader needs to reproduce it (command, table, wall time, …), shown in this order.

    Raises:
        UsageError: There are no runs, two runs of the same strategy and seed, or a run lacks a column.
        UserError: A file cannot be written.
    """
    comparisons = tuple(compare(results, column) for column in columns)
    first, runs = comparisons[0], by_strategy(results)
    figures = {name: module.draw(first, results) for name, module in figure_modules().items()}
    drawn = [name for name, figure in figures.items() if figure is not None]
    title = headline(first)
    texts = {
        "runs.csv": _runs(runs, columns),
        "summary.json": _json(comparisons, runs),
        "summary.md": _markdown(title, comparisons, runs, about, drawn),
    }
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with atomic_write(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
            files.append(folder / name)
        for name, figure in figures.items():
            if figure is not None:
                files += save(figure, folder / name)
            else:  # that of an earlier report would be wrong
                for kind in ("png", "svg"):
                    (folder / f"{name}.{kind}").unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename or folder} cannot be written ({error.strerror})") from None
    return Report(title, comparisons, runs, tuple(files))


def terminal_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for `nas.cli.output.print_table`, a row for each strategy; column `strategy` is text."""
    simulated = any(run.simulated_seconds is not None for runs in report.runs.values() for run in runs)
    columns = ["strategy", "seeds", "queries", *(["simulated s"] if simulated else []), "seconds"]
    columns += [comparison.column.name for comparison in report.comparisons]
    rows = []
    for strategy, runs in report.runs.items():
        spent = _simulated(runs)
        row = [strategy, str(len(runs)), f"{_mean(run.queries for run in runs):.4g}"]
        row += ["" if spent is None else f"{spent:,.0f}"] if simulated else []
        row += [f"{_mean(run.seconds for run in runs):.3g}"]
        rows.append(row + [plus_minus(comparison, strategy) for comparison in report.comparisons])
    return columns, rows


def headline(comparison: Comparison) -> str:
    """Best strategy, mean ± std and n of a column."""
    best, column = comparison.best, comparison.column
    return f"{column.label or column.name} {plus_minus(comparison, best)} ({best}, n = {comparison.summaries[best].n})"


def plus_minus(comparison: Comparison, strategy: str) -> str:
    """`93.97 ± 0.35`: mean and standard deviation of the runs; only the mean for one run."""
    summary, decimals = comparison.summaries[strategy], _count_decimals(comparison.summaries.values())
    spread = "" if summary.std is None else f" ± {summary.std:.{decimals}f}"
    return f"{summary.mean:.{decimals}f}{spread}"


def p_text(p: float) -> str:
    """A p-value with three decimals, `< 0.001` below."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _count_decimals(summaries: Collection[Summary]) -> int:
    """Decimals that give standard deviations two significant digits; without any, the means get five."""
    spreads = [summary.std for summary in summaries if summary.std]
    if spreads:
        least, typical = (1 - math.floor(math.log10(std)) for std in (min(spreads), statistics.median(spreads)))
        return max(0, min(least, typical + 1))
    largest = max(abs(summary.mean) for summary in summaries)
    return max(0, 4 - math.floor(math.log10(largest))) if largest else 2


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _simulated(runs: Sequence[RunResult]) -> float | None:
    """Mean simulated seconds of the runs; None if one has none."""
    spent = [run.simulated_seconds for run in runs if run.simulated_seconds is not None]
    return _mean(spent) if len(spent) == len(runs) else None


def _runs(runs: Mapping[str, Sequence[RunResult]], columns: Sequence[Column]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [column.name for column in columns]
    writer.writerow(["strategy", "seed", "queries", "simulated_seconds", "seconds", "architecture", *names])
    for run in (run for group in runs.values() for run in group):
        spent = "" if run.simulated_seconds is None else run.simulated_seconds
        values = [value(run, column) for column in columns]
        writer.writerow([run.strategy, run.seed, run.queries, spent, run.seconds, run.architecture, *values])
    return out.getvalue()


def _json(comparisons: Sequence[Comparison], runs: Mapping[str, Sequence[RunResult]]) -> str:
    def rounded(number: float | None) -> float | None:
        return None if number is None else float(f"{number:.{JSON_DIGITS}g}")

    tree = [
        {
            "strategy": strategy,
            "seeds": len(group),
            "queries": rounded(_mean(run.queries for run in group)),
            "simulated_seconds": rounded(_simulated(group)),
            "seconds": rounded(_mean(run.seconds for run in group)),
            "metrics": {
                comparison.column.name: {
                    name: rounded(getattr(comparison.summaries[strategy], name)) for name in METRICS
                }
                for comparison in comparisons
            },
        }
        for strategy, group in runs.items()
    ]
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


LEGEND = """\
- Interval: BCa bootstrap of the mean, 10,000 resamples. IQM: mean of the middle half of the runs. Regret: distance of
  the mean from the optimum of the space.
- Pairs: first against second on the seeds that both have; the difference is first - second. Rank-biserial is 1 if the
  first is better on every seed without a tie, -1 if the second is. p: two-sided Wilcoxon signed-rank test; Holm's
  correction is over the pairs of one table, not over the columns.
- Seeds repeat the search on one benchmark, so nothing here applies to another one. A mean rank depends on which
  strategies are compared; conclusions rest on the pairs.
- Curves: a finished run keeps its winner, so the right end of a curve is the mean in the table."""


# --- summary.md --------------------------------------------------------------------------------------------------


def _markdown(
    title: str,
    comparisons: Sequence[Comparison],
    runs: Mapping[str, Sequence[RunResult]],
    about: Mapping[str, str],
    figures: Sequence[str],
) -> str:
    first = comparisons[0]
    parts = [f"# {_plain(title)}", verdict(first)]
    parts.append("\n".join(f"- {_plain(key)}: {_plain(text)}" for key, text in about.items()))
    warnings = dict.fromkeys(sentence for comparison in comparisons for sentence in comparison.warnings)
    if warnings:
        parts += ["## Warnings", "\n".join(f"- {_plain(sentence)}" for sentence in warnings)]
    parts += ["## Results", _results(comparisons, runs), "Mean ± standard deviation of the runs."]
    titles = {name: module.TITLE for name, module in figure_modules().items()}
    parts += [f"![{titles[name]}]({name}.png)\n\n[{titles[name]} as SVG]({name}.svg)" for name in figures]
    for comparison in comparisons:
        parts += [f"## {_plain(comparison.column.label or comparison.column.name)}", _summary(comparison)]
        parts += [_pairs(comparison), _ranks(comparison)]
    parts += ["## How to read this", LEGEND]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict(comparison: Comparison) -> str:
    """One sentence on which strategies the best one is significantly better than; empty for one strategy."""
    best = comparison.best
    worse: list[str] = []
    unclear: list[str] = []
    for pair in comparison.pairs:
        if best in (pair.first, pair.second):
            other = pair.second if pair.first == best else pair.first
            ahead = pair.rank_biserial if pair.first == best else -pair.rank_biserial
            (worse if pair.differs and ahead > 0 else unclear).append(other)
    parts = [f"significantly better than {_listed(worse, 'and')}"] if worse else []
    parts += [f"not significantly better than {_listed(unclear, 'or')}"] if unclear else []
    if not parts:
        return ""
    holm = ", Holm's correction" if len(comparison.pairs) > 1 else ""
    return f"{_plain(best)} is {', but '.join(parts)} (Wilcoxon signed-rank test over shared seeds{holm}, p < 0.05)."


def _results(comparisons: Sequence[Comparison], runs: Mapping[str, Sequence[RunResult]]) -> str:
    columns, rows = terminal_table(Report("", tuple(comparisons), runs, ()))
    best = [comparison.best for comparison in comparisons]
    for row in rows:
        for index, winner in enumerate(best, start=-len(best)):
            if winner == row[0]:
                row[index] = f"**{row[index]}**"
    optima = [comparison.column.optimum for comparison in comparisons]
    if any(optimum is not None for optimum in optima):
        known = ["" if optimum is None else f"{optimum:.6g}" for optimum in optima]
        rows.append(["optimum of the space", *[""] * (len(columns) - len(known) - 1), *known])
    return _table(columns, rows)


def _summary(comparison: Comparison) -> str:
    decimals = _count_decimals(comparison.summaries.values()) + 1

    def shown(summary: Summary) -> list[str]:
        def number(x: float | None) -> str:
            return "" if x is None else f"{x:.{decimals}f}"

        inside = "" if summary.ci_low is None else f"{number(summary.ci_low)} to {number(summary.ci_high)}"
        rest = [number(x) for x in (summary.std, summary.median, summary.iqm, summary.regret)]
        return [str(summary.n), number(summary.mean), inside, *rest]

    header = ["strategy", "n", "mean", "95 % interval of the mean", "std", "median", "IQM", "regret"]
    return _table(header, [[name, *shown(summary)] for name, summary in comparison.summaries.items()])


def _pairs(comparison: Comparison) -> str:
    if not comparison.pairs:
        return ""
    decimals = _count_decimals(comparison.summaries.values()) + 1

    def shown(pair: Pair) -> list[str]:
        inside = "" if pair.ci_low is None else f"{pair.ci_low:+.{decimals}f} to {pair.ci_high:+.{decimals}f}"
        record = f"{pair.wins} / {pair.ties} / {pair.losses}"
        difference = f"{pair.mean_difference:+.{decimals}f}"
        return [record, f"{pair.rank_biserial:+.2f}", difference, inside, p_text(pair.p_value), p_text(pair.p_holm)]

    header = ["first", "second", "better / equal / worse", "rank-biserial", "mean difference", "95 % interval"]
    rows = [[pair.first, pair.second, *shown(pair)] for pair in comparison.pairs]
    return _table([*header, "p", "p (Holm)"], rows)


def _ranks(comparison: Comparison) -> str:
    ranking = comparison.ranking
    if ranking is None:
        return ""
    rows = [[strategy, f"{average:.2f}"] for strategy, average in ranking.average.items()]
    if ranking.friedman is None or ranking.friedman_p is None:
        test = "Friedman's test needs three strategies; for two, see the Wilcoxon test above."
    else:
        p = p_text(ranking.friedman_p)
        p = p if p.startswith("<") else f"= {p}"
        test = f"Friedman's chi-squared is {ranking.friedman:.1f} with {len(rows) - 1} degrees of freedom, p {p}."
    text = f"Mean ranks over {plural(ranking.n, 'seed')}; 1 is best. {test}"
    return (
        f"{_table(['strategy', 'mean rank'], rows)}\n\n{text}"
        f" Nemenyi's critical difference at 0.05 is {ranking.critical_difference:.3g} ranks."
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns of text are aligned left."""
    marks = ["---" if column in ("strategy", "first", "second") else "---:" for column in columns]
    lines = [columns, marks, *rows]
    return "\n".join(
        "| " + " | ".join(cell if cell in marks else _cell(cell) for cell in line) + " |" for line in lines
    )


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Text on one line."""
    return " ".join(text.split())


def _listed(names: Sequence[str], word: str) -> str:
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def figure_modules() -> dict[str, ModuleType]:
    """Name of each figure -> its module of `nas.analysis.figures`."""
    names = sorted(info.name for info in pkgutil.iter_modules(nas.analysis.figures.__path__))
    return {name: importlib.import_module(f"nas.analysis.figures.{name}") for name in names}
