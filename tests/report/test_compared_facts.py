"""Every number of the reports of a comparison and of a sweep, recomputed from the journal and from the store."""

import json
import re
import sqlite3
import statistics
from itertools import combinations

import pytest
import scipy
from page import Page

FIXED_NUMBERS = {"95", "19", "20", "0.05"}
TABLE = ["evaluator=table", "table=cifar10_8x8", "progress=false"]


def written(nas, tmp_path, *arguments):
    result = nas("report", *arguments)
    assert result.returncode == 0, result.stderr
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def check(page, expected, unchecked=()):
    """Every fact of the page is the expected one, and no number stands elsewhere."""
    assert page.facts.keys() - expected.keys() <= set(unchecked), "facts that this test does not recompute"
    for path, value in expected.items():
        for attribute, text in page.facts.get(path, ()):
            if isinstance(value, str):
                assert text == value, path
            elif value is None:
                assert (attribute, text) == ("", "–"), path
            else:
                assert json.loads(attribute) == pytest.approx(value, rel=1e-6, abs=1e-12), path
    assert set(re.findall(r"\d+(?:[.,]\d+)*", " ".join(page.loose))) <= FIXED_NUMBERS


def strategies(path, runs, column, intervals):
    """The facts of a column, from runs: strategy -> seed -> its values; and the p-values, one by one."""
    facts = {}
    means = {name: statistics.fmean(run[column] for run in own.values()) for name, own in runs.items()}
    order = sorted(means, key=lambda name: -means[name])
    for number, name in enumerate(order):
        values = [run[column] for run in runs[name].values()]
        own = {
            "name": name,
            "n": len(values),
            "mean": means[name],
            "std": statistics.stdev(values),
            "low": intervals[name][0],
            "high": intervals[name][1],
            "trials": statistics.fmean(run["trials"] for run in runs[name].values()),
            "seconds": statistics.fmean(run["seconds"] for run in runs[name].values()),
        }
        facts |= {f"{path}.strategies.{number}.{key}": value for key, value in own.items()}
    pairs = []
    for first, second in combinations(runs, 2):
        gaps = [round(runs[first][seed][column] - runs[second][seed][column], 9) for seed in runs[first]]
        p = float(scipy.stats.wilcoxon([gap for gap in gaps if gap]).pvalue) if any(gaps) else 1.0
        signs = [(gap > 0) - (gap < 0) for gap in gaps]
        pairs.append([first, second, p, statistics.fmean(gaps), signs.count(1), signs.count(0), signs.count(-1)])
    ordered, least = sorted(range(len(pairs)), key=lambda index: pairs[index][2]), 0.0
    for rank, index in enumerate(ordered):
        least = max(least, min(1.0, (len(pairs) - rank) * pairs[index][2]))
        pairs[index].append(least)
    pairs.sort(key=lambda pair: (order[0] not in pair[:2], pair[7]))
    for number, (first, second, _, gap, wins, ties, losses, holm) in enumerate(pairs):
        own = {"first": first, "second": second, "difference": gap, "wins": wins, "ties": ties, "losses": losses}
        own |= {"p": holm, "differs": holm < 0.05}
        facts |= {f"{path}.pairs.{number}.{key}": value for key, value in own.items()}
    return facts | {f"{path}.best": order[0]}


def unchecked(page, path):
    """Intervals of differences, and sentences of the analysis, which has tests of its own."""
    return {
        key for key in page.facts if re.fullmatch(rf"{path}\.\d+\.(pairs\.\d+\.(low|high)|warnings\.\d+|verdict)", key)
    }


def test_a_comparison(nas, tmp_path):
    compare = ["compare", "strategies=[random,regularized_evolution,local_search]", "seeds=4"]
    assert nas(*compare, *TABLE, "budget.trials=20", "out=c").returncode == 0
    page = written(nas, tmp_path, "comparison=c")
    head, *lines = map(json.loads, (tmp_path / "c" / "runs.journal").read_text().splitlines())
    summary = {one["strategy"]: one for one in json.loads((tmp_path / "c" / "summary.json").read_text())}
    columns = list(lines[0]["steps"][-1]["metrics"])
    runs = {}
    for line in sorted(lines, key=lambda one: (one["strategy"], one["seed"])):
        known = {**line["steps"][-1]["metrics"], "trials": line["queries"], "seconds": line["seconds"]}
        runs.setdefault(line["strategy"], {})[line["seed"]] = known
    expected = {
        "comparison.name": "c",
        "comparison.runs": 12,
        "comparison.strategies": 3,
        "comparison.seeds": 4,
        "comparison.trials": sum(line["queries"] for line in lines),
        "comparison.seconds": sum(line["seconds"] for line in lines),
        "comparison.metric": "valid_accuracy",
        "commands.0.name": "repeat the comparison",
        "commands.0.command": head["command"],
    }
    for number, column in enumerate(columns):
        intervals = {
            name: [one["metrics"][column][key] for key in ("ci_low", "ci_high")] for name, one in summary.items()
        }
        expected |= strategies(f"columns.{number}", runs, column, intervals)
        expected[f"columns.{number}.label"] = head["table"]["labels"].get(column) or column.replace("_", " ")
    limits = {key: value for key, value in head["budget"].items() if value is not None}
    for number, (key, value) in enumerate(limits.items()):
        expected |= {f"budget.{number}.key": key, f"budget.{number}.value": str(value)}
    for number, (name, value) in enumerate(head["environment"].items()):
        expected |= {f"versions.{number}.name": name, f"versions.{number}.value": str(value)}
    check(page, expected, unchecked(page, "columns"))
    verdict, summary_text = page.facts["columns.0.verdict"][0][1], (tmp_path / "c" / "summary.md").read_text()
    assert set(verdict.replace(",", "").split()) <= set(summary_text.replace(",", "").split())
    for name, row in page.rows().items():
        line = next(line for line in lines if f"{line['strategy']} {line['seed']}" == name)
        assert (row["architecture"], row["queries"]) == (line["architecture"], line["queries"])
        assert [row[column] for column in columns] == pytest.approx(
            list(line["steps"][-1]["metrics"].values()), rel=1e-5
        )


def test_a_sweep(nas, tmp_path):
    for strategy in ("random", "regularized_evolution"):
        for seed in range(3):
            search = ["search", *TABLE, f"strategy={strategy}", f"seed={seed}", "budget.trials=8"]
            assert nas(*search, f"run=two-{strategy}-{seed}", "sweep=two").returncode == 0
    page = written(nas, tmp_path, "sweep=two")
    connection = sqlite3.connect(tmp_path / "nas.db")
    seconds = dict(connection.execute("select run, seconds from sessions"))
    best = dict(connection.execute("select run, max(score) from trials group by run"))
    runs = {}
    for name, value in best.items():
        _, strategy, seed = name.split("-")
        runs.setdefault(strategy, {})[int(seed)] = {"x": value, "trials": 8, "seconds": seconds[name]}
    shown = {
        one: [json.loads(page.facts[f"groups.0.strategies.{n}.{key}"][0][0]) for key in ("low", "high")]
        for n, one in ((n, page.facts[f"groups.0.strategies.{n}.name"][0][1]) for n in range(2))
    }
    for name, (low, high) in shown.items():
        assert low <= statistics.fmean(run["x"] for run in runs[name].values()) <= high
    expected = {
        "sweep.name": "two",
        "sweep.runs": 6,
        "sweep.finished": 6,
        "sweep.running": 0,
        "sweep.interrupted": 0,
        "sweep.unsuccessful": 0,
        "sweep.trials": 48,
        "sweep.failed": 0,
        "sweep.seconds": sum(seconds.values()),
        "commands.0.name": "list its trials",
        "commands.0.command": "nas leaderboard sweep=two",
        "commands.1.name": "compare its finished searches",
        "commands.1.command": "nas compare sweep=two",
        "groups.0.label": "accuracy on validation pictures",
        **strategies("groups.0", runs, "x", shown),
    }
    check(page, expected, {*unchecked(page, "groups"), "groups.0.name"})
    for name, row in page.rows().items():
        assert row["value"] == pytest.approx(best[name], rel=1e-5)
        assert (row["state"], row["trials"], row["seed"]) == ("finished", 8, int(name[-1]))
