"""Commands in this process, whose imports are paid for once."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import NamedTuple

from counts import Counts

from nas.cli.main import main

SENTENCE = re.compile(r"^nas: .", re.MULTILINE)


class Ran(NamedTuple):
    """A command that was run: its exit code and what it printed."""

    code: int
    out: str
    err: str

    def check(self, *codes: int) -> Counts:
        """Count it as a traceback unless it ended with one of these codes, and with one sentence if it failed.

        `nas store check` fails with a report on stdout instead.
        """
        counts = Counts()
        sentences = len(SENTENCE.findall(self.err))
        is_report = bool(self.out) and not self.err
        wrong = "Traceback" in self.err or "nas: unexpected" in self.err or "Exception ignored" in self.err
        if wrong or self.code not in codes or (self.code != 0 and sentences != 1 and not is_report):
            counts.tracebacks += 1
            counts.notes.append(f"exit code {self.code}: {self.err[-3000:]}")
        return counts


def run_here(folder: Path, *arguments: str) -> Ran:
    """Run `nas …` in a folder."""
    out, err, path = io.StringIO(), io.StringIO(), list(sys.path)
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    finally:
        sys.path[:] = path
    return Ran(code, out.getvalue(), err.getvalue())
