"""Journals: what was written stays, even if the process that wrote it dies."""

import json

import pytest

from nas import UsageError, UserError
from nas.studies.journal import journal


def opened(path, identity=None, needed=("n",)):
    return journal(path, identity or {"job": {"seeds": 3}}, {"begun": "today"}, needed)


def test_lines_are_read_back_the_next_time(tmp_path):
    path = tmp_path / "deep" / "job.journal"
    with opened(path) as first:
        assert first.lines == []
        first.append({"n": 1})
        first.append({"n": 2})
    with opened(path) as again:
        assert again.lines == [{"n": 1}, {"n": 2}]
        assert again.head == {"job": {"seeds": 3}, "begun": "today"}


def test_an_unfinished_line_is_written_again(tmp_path):
    path = tmp_path / "job.journal"
    with opened(path) as first:
        first.append({"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "met')
    with opened(path) as again:
        assert again.lines == [{"n": 1}]
        again.append({"n": 2})
    assert [json.loads(line).get("n") for line in path.read_text().splitlines()] == [None, 1, 2]


def test_another_job_is_refused_with_what_differs(tmp_path):
    path = tmp_path / "job.journal"
    with opened(path) as first:
        first.append({"n": 1})
    before = path.read_bytes()
    message = r"was started with job.seeds=3 \(now 4\). Choose another out="
    with pytest.raises(UsageError, match=message), opened(path, {"job": {"seeds": 4}}):
        pass
    assert path.read_bytes() == before


def test_a_second_writer_is_refused(tmp_path):
    path = tmp_path / "job.journal"
    with opened(path), pytest.raises(UsageError, match="is being written by another process"), opened(path):
        pass


@pytest.mark.parametrize(
    "damage", [b"not json\n", b'{"job": {"seeds": 3}}\n{"m": 1}\n', b'{"job": {"seeds": 3}}\n[]\n']
)
def test_a_damaged_journal_is_reported_and_left_unchanged(tmp_path, damage):
    path = tmp_path / "job.journal"
    path.write_bytes(damage)
    with pytest.raises(UserError, match="is damaged"), opened(path):
        pass
    assert path.read_bytes() == damage


def test_a_folder_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), opened(tmp_path / "file" / "job.journal"):
        pass


def test_an_error_within_the_job_is_not_the_journals(tmp_path):
    with pytest.raises(ValueError, match="mine"), opened(tmp_path / "job.journal"):
        raise ValueError("mine")
    with opened(tmp_path / "job.journal"):
        pass  # and the lock was given back
