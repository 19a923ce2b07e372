"""Benchmark tables: what is read, and every way a table can be wrong."""

import csv
import gzip

import pytest
from light import SmallSpace

from nas import TrialFailed, UsageError, UserError
from nas.errors import NOT_IN_TABLE
from nas.tables.table import Table
from search_spaces.nasbench201 import NASBench201

SPACE = SmallSpace()
ARCHITECTURES = list(SPACE.architectures())


def rows_of(architectures=ARCHITECTURES, value=lambda a: sum(a) / 12):
    return [[SPACE.to_text(a), str(value(a)), str(10 + a[0]), str(100 * value(a))] for a in architectures]


def written(folder, rows, head=("arch", "valid", "time", "test"), name="table.csv"):
    path = folder / name
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
    return path


def table(path, **settings):
    return Table(str(path), "light", "valid", **({"cost": "time", "reported": ["test"]} | settings))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return written(tmp_path_factory.mktemp("table"), rows_of())


def test_values_costs_and_reported_columns_are_those_of_the_row(good):
    rows = table(good, scale=2.0, cost_scale=0.5).of(SPACE)
    index = rows.position((3, 0, 0, 1))
    assert rows.values[index] == pytest.approx(2 * 4 / 12)
    assert rows.costs[index] == 6.5
    assert rows.reported["test"][index] == pytest.approx(400 / 12)
    assert rows.best["test"] == (0.0, 100.0)
    assert len(rows) == 4**4


def test_gzip_and_parquet_read_the_same(good, tmp_path):
    zipped = tmp_path / "table.csv.gz"
    zipped.write_bytes(gzip.compress(good.read_bytes()))
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    parquet.write_table(arrow_csv.read_csv(good), tmp_path / "table.parquet")
    plain = table(good).of(SPACE)
    for path in (zipped, tmp_path / "table.parquet"):
        other = table(path).of(SPACE)
        assert other.values == plain.values
        assert other.costs == plain.costs
    assert pyarrow.__version__


def test_a_byte_order_mark_and_empty_lines_do_no_harm(good, tmp_path):
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbf" + good.read_bytes() + b"\r\n\r\n")
    assert table(path).of(SPACE).values == table(good).of(SPACE).values


def test_other_line_ends_names_and_binary_text_are_read(good, tmp_path):
    path = tmp_path / "mac.csv"
    path.write_bytes(good.read_bytes().replace(b"\r\n", b"\r"))
    plain = table(good).of(SPACE).values
    assert table(path).of(SPACE).values == plain
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    columns = arrow_csv.read_csv(good)
    columns = columns.set_column(0, "arch", columns["arch"].cast(pyarrow.binary()))
    for name in ("t.pq", "t.PARQUET", "t"):
        parquet.write_table(columns, tmp_path / name)
        assert table(tmp_path / name).of(SPACE).values == plain
    parquet.write_table(columns.set_column(0, "arch", [pyarrow.array([b"\xff"] * 4**4)]), tmp_path / "t.pq")
    with pytest.raises(UserError, match="has bytes in arch that are not UTF-8 text"):
        table(tmp_path / "t.pq").of(SPACE)


def test_a_column_is_not_mistaken_for_another(good):
    with pytest.raises(UsageError, match=r"has no column 'acc9'; it has arch, valid, time, test\. See table.reported"):
        table(good, reported=["acc9"]).of(SPACE)
    with pytest.raises(UsageError, match=r"has no column 'tests' \(did you mean 'test'\?\)"):
        table(good, reported=["tests"]).of(SPACE)


def test_a_table_is_found_in_its_root_or_in_nas_data(good, monkeypatch):
    assert len(table(good.name, root=str(good.parent)).of(SPACE)) == 4**4
    monkeypatch.setenv("NAS_DATA", str(good.parent))
    assert len(table(good.name).of(SPACE)) == 4**4
    monkeypatch.delenv("NAS_DATA")
    with pytest.raises(UsageError, match=r"table table.csv was not found in table.root \(not set\) or NAS_DATA"):
        table(good.name).of(SPACE)
    with pytest.raises(UsageError, match=r"table.file=pkg://nas.tables/none.csv is not installed"):
        table("pkg://nas.tables/none.csv").of(SPACE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cost": "hours"}, r"has no column 'hours'; it has arch, valid, time, test\. See table.cost"),
        ({"reported": ["tests"]}, r"has no column 'tests' \(did you mean 'test'\?\); it has arch, valid, time, test\."),
        ({"minimized": ["tset"]}, r"has no column 'tset' \(did you mean 'test'\?\);.* See table.minimized"),
        ({"architecture": "arch_str"}, r"has no column 'arch_str'"),
    ],
)
def test_a_missing_column_is_named_with_the_existing_ones(good, settings, message):
    with pytest.raises(UsageError, match=message):
        table(good, **settings).of(SPACE)


def test_a_missing_or_doubled_architecture_is_named(tmp_path):
    short = written(tmp_path, rows_of(ARCHITECTURES[:7] + ARCHITECTURES[8:]))
    with pytest.raises(
        UserError, match=rf"has 255 rows and none for {SPACE.to_text(ARCHITECTURES[7])}; expected every"
    ):
        table(short).of(SPACE)
    double = written(tmp_path, rows_of([*ARCHITECTURES, ARCHITECTURES[5]]))
    with pytest.raises(UserError, match=rf"lists {SPACE.to_text(ARCHITECTURES[5])} twice, in rows 6 and 257"):
        table(double).of(SPACE)


@pytest.mark.parametrize("bad", ["nan", "inf", "", "fast", "1_0"])
def test_values_that_are_not_numbers_are_named(tmp_path, bad):
    rows = rows_of()
    rows[3][1] = rows[9][1] = bad
    message = rf"has '{bad}' as valid of {SPACE.to_text(ARCHITECTURES[3])}; expected a finite number \(2 such rows\)"
    with pytest.raises(UserError, match=message):
        table(written(tmp_path, rows)).of(SPACE)


def test_a_negative_cost_is_refused(tmp_path):
    rows = rows_of()
    rows[3][2] = "-1"
    with pytest.raises(UserError, match="has a negative time for"):
        table(written(tmp_path, rows)).of(SPACE)


def test_a_table_of_another_space_is_refused(good):
    with pytest.raises(UsageError, match=r"row 1, is not of space NASBench201 .*; the table is of space=light"):
        table(good).of(NASBench201())


def test_damaged_files_are_distinguished_from_empty_ones(good, tmp_path):
    raw, text = gzip.compress(good.read_bytes()), good.read_bytes()
    for content, message in (
        (raw[: len(raw) // 2], "is damaged"),
        (b"\x1f\x8bnot gzip at all", "is damaged"),
        (b"\xff\xfe\x00", "is UTF-16 and not UTF-8 text; save it as UTF-8"),
        (text.decode().encode("utf-16"), "is UTF-16 and not UTF-8 text; save it as UTF-8"),
        (text + "# caf\xe9,1,2,3\n".encode("latin-1"), r"is not UTF-8 text \('utf-8' codec .*\); save it as UTF-8"),
        (b"PK\x03\x04 and so on", r"is a zip archive; expected CSV \(plain or gzip\) or Parquet"),
        (text.replace(b",", b";"), "is separated by semicolons where commas are expected"),
        (text.replace(b",", b"\t"), "is separated by tabs where commas are expected"),
        (text + b"1" * 200_000 + b",1,2,3\n", "after row 256, is not CSV .*is a quotation mark missing"),
        (b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 40, "is damaged"),
        (b"", r"has no column 'arch'; it has none"),
        (b"arch,valid,time,test\n", "has no rows"),
        (b"arch,valid,time,test\na,1\n", r"row 1, has 2 values; expected 4"),
        (b"arch,valid,valid,time,test\n", "has column 'valid' twice"),
    ):
        path = tmp_path / "bad.csv"
        path.write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            table(path).of(SPACE)
        assert "\n" not in str(error.value)


def test_settings_that_contradict_each_other(good):
    with pytest.raises(UsageError, match=r"table.rows must be one of architecture, class, got 'cell'"):
        table(good, rows="cell")
    with pytest.raises(UsageError, match=r"table.complete must be true or false, got 'no'"):
        table(good, complete="no")


def test_labels_of_columns_that_are_not_reported_have_no_effect(good):
    found = table(good, reported=[], minimized=["test"], labels={"test": "accuracy", "elsewhere": "another file's"})
    assert found.of(SPACE).reported == {}


def test_all_columns_are_listed_or_counted(tmp_path):
    many = [f"acc{n}" for n in range(40)]
    path = written(tmp_path, [[SPACE.to_text(ARCHITECTURES[0]), *"0" * 40]], ("arch", *many))
    with pytest.raises(
        UsageError, match=r"has no column 'acc99' \(did you mean 'acc9'\?\); it has arch, acc0, .*"
    ) as caught:
        Table(str(path), "light", "acc99").of(SPACE)
    assert "acc28 and 11 more. See table.column" in str(caught.value)


def test_a_table_of_a_sample_is_read_where_its_yaml_says_so(tmp_path):
    path = written(tmp_path, rows_of(ARCHITECTURES[:100]))
    with pytest.raises(UserError, match=r"set complete: false in its YAML \(\+table.complete=false\)"):
        table(path).of(SPACE)
    rows = table(path, complete=False).of(SPACE)
    assert (len(rows), rows.has(ARCHITECTURES[99]), rows.has(ARCHITECTURES[100])) == (100, True, False)
    with pytest.raises(TrialFailed, match=r"d3=a is not in the table, a sample of 100|is not in the table") as caught:
        rows.position(ARCHITECTURES[100])
    assert caught.value.kind == NOT_IN_TABLE


def test_a_table_of_classes_answers_for_every_member(tmp_path):
    space = NASBench201()
    classes = {}
    for architecture in space.architectures():
        classes.setdefault(space.canonical(architecture), architecture)
    rows = [[space.to_text(a), str(sum(a)), "1", "1"] for a in classes.values()]
    found = table(written(tmp_path, rows), rows="class").of(space)
    assert len(found) == 5875
    for architecture in ((0, 0, 0, 0, 0, 0), (0, 1, 2, 3, 4, 0), (3, 0, 0, 3, 0, 0)):
        representative = classes[space.canonical(architecture)]
        assert found.values[found.position(architecture)] == sum(representative)
    with pytest.raises(UserError, match=r"has 5,874 rows and none for"):
        table(written(tmp_path, rows[1:]), rows="class").of(space)
