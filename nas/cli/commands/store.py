"""Check a store, back it up, merge another one into it, or export and import its contents.

nas store check           whether the store is sound, in words; with out=FILE saves what can be read of a damaged one
nas store backup out=…    a copy of an SQLite store as it is at one moment, while it may be in use
nas store merge from=…    the runs of another store, without duplicates
nas store export out=…    all runs as JSON lines; compressed if the name ends with .gz
nas store import from=…   the runs of such a file

store.url= names the store itself, an SQLite file or a PostgreSQL database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.options import RESULT_FORMATS, CommandOptions
from nas.cli.output import print_json
from nas.errors import UsageError, UserError
from nas.formatting import plural
from nas.validation import one_of

if TYPE_CHECKING:
    from nas.config.settings import Settings
    from nas.store.sql import SQLStore
    from nas.store.transfer import Taken

ACTIONS: Mapping[str, tuple[str, ...]] = {
    "check": ("out",),
    "backup": ("out",),
    "merge": ("from", "rename"),
    "export": ("out",),
    "import": ("from", "rename"),
}
"""Words that may follow the command -> the settings that each uses."""
NEEDED = {"backup": "out", "merge": "from", "export": "out", "import": "from"}
"""Action -> the setting that it needs."""


@dataclass(frozen=True)
class StoreOptions(CommandOptions):
    """Settings of `nas store`; `configs/store.yaml` describes them."""

    action: str | None
    out: str | None
    from_: str | None
    rename: str | None
    format: str

    def __post_init__(self) -> None:
        one_of("format", self.format, RESULT_FORMATS)
        if self.action is None:
            raise UsageError(f"nas store needs an action, such as nas store check: one of {', '.join(ACTIONS)}")
        one_of("action", self.action, tuple(ACTIONS))
        values = {"out": self.out, "from": self.from_, "rename": self.rename}
        needed = NEEDED.get(self.action)
        if needed is not None and values[needed] is None:
            raise UsageError(f"nas store {self.action} needs {needed}=FILE")
        for key, value in values.items():
            if value is not None and key not in ACTIONS[self.action]:
                raise UsageError(f"{key}={value} has no effect on nas store {self.action}; leave it out")


def main(settings: Settings) -> int:
    options = StoreOptions.of(settings)
    actions: Mapping[str, Callable[[SQLStore, StoreOptions], int]] = {
        "check": _check, "backup": _back_up, "merge": _merge, "export": _export, "import": _import,
    }  # fmt: skip
    return actions[str(options.action)](settings.make("store"), options)


def _check(store: SQLStore, options: StoreOptions) -> int:
    from nas.store.backup import check_new, salvage
    from nas.store.check import check
    from nas.store.sqlite import SQLiteStore

    path = None if options.out is None else check_new(options.out)
    report = check(store)
    saved = None
    if path is not None and report.damaged is not None and isinstance(store, SQLiteStore):
        saved = salvage(store, path)
    if options.format == "json":
        print_json({"store": store.shown, **asdict(report), "saved": options.out if saved is not None else None})
        return int(bool(report.problems))
    for line in report.notes:
        print(line)
    for problem in report.problems:
        print(f"problem: {problem}")
    if report.damaged is not None:
        _print_readable(report.damaged.trials, report.damaged.expected)
        if saved is not None:
            print(f"what can be read was saved: {plural(sum(saved.trials.values()), 'trial')} in {options.out}")
        else:
            print("nas store check out=FILE saves what can be read; nas store backup makes copies in time")
    elif path is not None:
        print(f"{options.out} was not written, since the file is not damaged; nas store backup copies it")
    print(
        f"store {store.shown}: {plural(len(report.problems), 'problem')}"
        if report.problems
        else f"store {store.shown} is sound"
    )
    return int(bool(report.problems))


def _print_readable(trials: Mapping[str, int], expected: Mapping[str, int]) -> None:
    for run in {**expected, **trials}:
        of = f" of {expected[run]:,}" if run in expected else ", of an unknown number,"
        print(f"run {run!r}: {trials.get(run, 0):,}{of} trials can be read")


def _back_up(store: SQLStore, options: StoreOptions) -> int:
    from nas.store.backup import back_up, check_new
    from nas.store.sqlite import SQLiteStore

    if not isinstance(store, SQLiteStore):
        raise UsageError(
            f"nas store backup copies SQLite files, and {store.shown} is a database of a server; use pg_dump, or "
            "nas store export out=FILE"
        )
    path = check_new(str(options.out))
    back_up(store, path)
    _report(options, {"out": options.out, "bytes": path.stat().st_size}, f"{store.shown} was copied to {options.out}")
    return 0


def _export(store: SQLStore, options: StoreOptions) -> int:
    from nas.store.backup import check_new, new_file
    from nas.store.jsonl import export
    from nas.store.transfer import source_of

    path = check_new(str(options.out))
    with source_of(store) as source, new_file(path) as temporary:
        counts = export(source, temporary, compressed=path.suffix == ".gz")
    _report(options, {"out": options.out, **counts}, f"{_counted(counts)} were written to {options.out}")
    return 0


def _import(store: SQLStore, options: StoreOptions) -> int:
    from nas.store.jsonl import JSONLines
    from nas.store.transfer import take

    with closing(JSONLines(Path(str(options.from_)).expanduser())) as source:
        return _report_taken(store, options, take(store, source, options.rename))


def _merge(store: SQLStore, options: StoreOptions) -> int:
    from nas.store.by_url import store_at
    from nas.store.transfer import source_of, take

    name = str(options.from_)
    with _naming_from(name):
        other = store_at(name if "://" in name else f"sqlite:///{name}")
    if _same(store, other):
        raise UsageError(
            f"from={name} is the store itself; set from= to another one, or store.url= to the one to change"
        )
    with ExitStack() as stack:
        with _naming_from(name):
            source = stack.enter_context(source_of(other))
        return _report_taken(store, options, take(store, source, options.rename))


@contextmanager
def _naming_from(name: str) -> Iterator[None]:
    """Let errors of the other store name the setting that holds it."""
    from nas.store.urls import without_password

    try:
        yield
    except UserError as error:
        raise type(error)(f"from={without_password(name)}: {re.sub('store.url=?', 'from=', str(error))}") from None


def _same(store: SQLStore, other: SQLStore) -> bool:
    return store.shown == other.shown or (store.identity() is not None and store.identity() == other.identity())


def _report_taken(store: SQLStore, options: StoreOptions, taken: Taken) -> int:
    counts = {"runs": len(taken.added), "trials": taken.trials, "retrainings": taken.retrainings}
    lines = [f"{_counted(counts)} were added to {store.shown}"]
    if taken.extended:
        lines.append(f"{plural(len(taken.extended), 'run')} had new trials")
    if taken.same:
        lines.append(f"{plural(len(taken.same), 'run')} had nothing new")
    lines += [f"run {old!r} was added as {new!r}" for old, new in taken.renamed.items()]
    lines += [f"nothing was taken of run {run!r}: {reason}" for run, reason in taken.refused.items()]
    _report(options, {"store": store.shown, **asdict(taken)}, "\n".join(lines))
    return int(bool(taken.refused))


def _counted(counts: Mapping[str, int]) -> str:
    *first, last = (plural(number, name.removesuffix("s")) for name, number in counts.items())
    return f"{', '.join(first)} and {last}" if first else last


def _report(options: StoreOptions, facts: Mapping[str, Any], text: str) -> None:
    if options.format == "json":
        print_json(facts)
    else:
        print(text)
