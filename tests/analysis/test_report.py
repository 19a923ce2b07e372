import csv
import itertools
import json

import pytest

from nas.analysis.report import figure_modules, p_text, terminal_table, write_report
from nas.analysis.results import Column, IncumbentChange, RunResult
from nas.analysis.statistics import compare
from nas.errors import UsageError, UserError

COLUMNS = [Column("accuracy", optimum=95.0, label="Test accuracy (%)"), Column("loss", direction="minimize")]
ANYTIME, CRITICAL_DIFFERENCE = (
    {f"{name}.{kind}" for kind in ("png", "svg")} for name in ("anytime", "critical_difference")
)
TEXTS = {"runs.csv", "summary.json", "summary.md"}
STRATEGIES = ("random", "aging|x", "a(lr=0.5,k=2)")


def runs(*strategies, n=8, simulated=True):
    """Strategy number i has accuracy 90 + i plus a few tenths, and loss 2 - i / 10; its second step is the winner."""
    result = []
    for index, strategy in enumerate(strategies):
        for seed in range(n):
            value = {"accuracy": 90 + index + seed / 10, "loss": 2 - index / 10}
            first = {"accuracy": 80.0, "loss": 3.0}
            steps = [IncumbentChange(q, 10.0 * q if simulated else None, m) for q, m in ((1, first), (5 + seed, value))]
            text = f"|conv,{seed}|"
            result.append(RunResult(strategy, seed, 20 + seed, 300.0 if simulated else None, 0.5, text, steps))
    return result


def figures(results):
    """The files of the figures that these results allow."""
    drawn = {name: module.draw(compare(results, COLUMNS[0]), results) for name, module in figure_modules().items()}
    return {f"{name}.{kind}" for name, figure in drawn.items() if figure is not None for kind in ("png", "svg")}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    about = {"command": "nas compare strategies=[random,aging]", "wall time": "3 s"}
    return folder, write_report(folder, runs(*STRATEGIES), COLUMNS, about)


def test_exactly_the_files_of_a_report_are_written(written):
    folder, report = written
    drawn = figures(runs(*STRATEGIES))
    assert drawn >= ANYTIME | CRITICAL_DIFFERENCE
    assert {path.name for path in folder.iterdir()} == drawn | TEXTS
    assert {path.name for path in report.files} == drawn | TEXTS


def test_runs_csv_has_a_row_a_run(written):
    with (written[0] / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert rows[9] == {
        "strategy": "aging|x", "seed": "1", "queries": "21", "simulated_seconds": "300.0", "seconds": "0.5",
        "architecture": "|conv,1|", "accuracy": "91.1", "loss": "1.9",
    }  # fmt: skip


def test_summary_json_for_machines(written):
    result = json.loads((written[0] / "summary.json").read_text())
    assert [one["strategy"] for one in result] == ["random", "aging|x", "a(lr=0.5,k=2)"]
    first = result[0]
    assert {key: first[key] for key in ("seeds", "queries", "simulated_seconds", "seconds")} == {
        "seeds": 8, "queries": 23.5, "simulated_seconds": 300.0, "seconds": 0.5,
    }  # fmt: skip
    assert list(first["metrics"]) == ["accuracy", "loss"]
    metrics = first["metrics"]["accuracy"]
    assert list(metrics) == ["mean", "std", "median", "iqm", "ci_low", "ci_high", "regret"]
    assert (metrics["mean"], metrics["median"], metrics["iqm"], metrics["regret"]) == (90.35, 90.35, 90.35, 4.65)
    assert metrics["std"] == pytest.approx(0.2449489743)
    assert first["metrics"]["loss"]["regret"] is None


def test_summary_md_opens_with_the_result(written):
    lines = (written[0] / "summary.md").read_text().splitlines()
    assert lines[0] == "# Test accuracy (%) 92.35 ± 0.24 (a(lr=0.5,k=2), n = 8)"
    assert lines[2].startswith("a(lr=0.5,k=2) is significantly better than random and aging|x (Wilcoxon")
    assert lines[4:6] == ["- command: nas compare strategies=[random,aging]", "- wall time: 3 s"]


def test_summary_md_has_the_tables(written):
    text = (written[0] / "summary.md").read_text()
    assert "| random | 8 | 23.5 | 300 | 0.5 | 90.35 ± 0.24 | 2.0000 ± 0.0000 |" in text
    assert "**92.35 ± 0.24**" in text
    assert "| optimum of the space |  |  |  |  | 95 |  |" in text
    # 8 wins of 8: 2 / 2^8, by 3 pairs
    assert "| random | aging\\|x | 0 / 0 / 8 | -1.00 | -1.000 | -1.000 to -1.000 | 0.008 | 0.023 |" in text
    assert "| a(lr=0.5,k=2) | 1.00 |" in text
    assert "With 8 seeds per strategy the 95 % intervals are rough" in text
    for name in figures(runs(*STRATEGIES)):
        assert f"({name})" in text


def test_every_row_of_a_markdown_table_has_as_many_cells(written):
    lines = (written[0] / "summary.md").read_text().replace("\\|", "").splitlines()
    for above, below in itertools.pairwise(lines):
        if above.startswith("|") and below.startswith("|"):
            assert above.count("|") == below.count("|"), below


def test_the_terminal_table_is_of_strings(written):
    columns, rows = terminal_table(written[1])
    assert columns == ["strategy", "seeds", "queries", "simulated s", "seconds", "accuracy", "loss"]
    assert rows[1][:6] == ["aging|x", "8", "23.5", "300", "0.5", "91.35 ± 0.24"]
    assert written[1].headline == "Test accuracy (%) 92.35 ± 0.24 (a(lr=0.5,k=2), n = 8)"


def test_one_run_makes_a_report_too(tmp_path):
    (tmp_path / "critical_difference.png").write_text("of an earlier report")
    (tmp_path / "mine.txt").write_text("left alone")
    results = runs("random", n=1, simulated=False)
    report = write_report(tmp_path, results, COLUMNS, {})
    drawn = figures(results)
    assert drawn >= ANYTIME
    assert not drawn & CRITICAL_DIFFERENCE
    assert {path.name for path in tmp_path.iterdir()} == TEXTS | drawn | {"mine.txt"}
    (result,) = json.loads((tmp_path / "summary.json").read_text())
    assert result["simulated_seconds"] is None
    assert result["metrics"]["accuracy"]["std"] is None
    assert report.headline == "Test accuracy (%) 90.000 (random, n = 1)"
    assert "simulated s" not in terminal_table(report)[0]
    assert "one seed gives no standard deviation" in (tmp_path / "summary.md").read_text()


def test_two_equal_strategies_do_not_differ(tmp_path):
    first = runs("a")
    second = [RunResult("b", *[getattr(run, name) for name in list(vars(run))[1:]]) for run in first]
    text = write_report(tmp_path, first + second, COLUMNS[:1], {}) and (tmp_path / "summary.md").read_text()
    assert "a is not significantly better than b (Wilcoxon signed-rank test over shared seeds, p < 0.05)." in text
    assert "for two, see the Wilcoxon test above" in text


def test_nothing_is_written_if_an_argument_is_wrong(tmp_path):
    with pytest.raises(UsageError, match="no flops"):
        write_report(tmp_path / "new", runs("a"), [Column("flops")], {})
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file cannot be written"):
        write_report(tmp_path / "file", runs("a"), COLUMNS, {})


@pytest.mark.parametrize(("p", "text"), [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.0432, "0.043"), (1.0, "1.000")])
def test_p_values_for_people(p, text):
    assert p_text(p) == text
