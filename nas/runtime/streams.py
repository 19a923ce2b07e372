"""The standard streams of a command: its result on stdout, everything else on stderr, and neither ends its work.

A stream may be closed (cron, systemd, `2>&-`), full (`>/dev/full`) or a pipe that nobody reads any more. What cannot be
written is dropped; a result that was lost is reported by the exit code.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar, TextIO

from tqdm import tqdm

STDIN, STDOUT, STDERR = 0, 1, 2
_results: TextIO | None = None
"""Where results go while stdout is redirected."""


class _Messages(io.FileIO):
    """A file descriptor whose failures are nobody's business."""

    def write(self, data: object) -> int:
        try:
            written = super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.failed(error)
            written = None
        return memoryview(data).nbytes if written is None else written  # type: ignore[arg-type]

    def failed(self, error: OSError) -> None:
        """What becomes of a failure."""


class _Results(_Messages):
    """One whose first failure is remembered."""

    lost: ClassVar[OSError | None] = None

    def failed(self, error: OSError) -> None:
        _Results.lost = _Results.lost or error


def prepare(*, live: bool = False) -> None:
    """Give this process streams that are there, and that raise nothing.

    A closed descriptor becomes the null device: a file opened later would get its number, and every message with it.

    Args:
        live: write each line of stdout at once, as stderr does; for a process that is killed when it has done its work.
    """
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number) if null != number else os.set_inheritable(null, True)
    sys.stdin = sys.stdin or open(STDIN, closefd=False)  # noqa: SIM115 (as long as the process)
    sys.stdout = _over(sys.stdout, STDOUT, _Results, live=live or os.isatty(STDOUT))
    sys.stderr = _over(sys.stderr, STDERR, _Messages, live=True)


def finish(code: int) -> int:
    """Write out what is left of the result; nothing that this process does later may add to it.

    Args:
        code: the exit code of the command.

    Returns:
        The exit code, 1 in place of 0 where the result was lost. A reader that has seen enough has lost nothing.
    """
    sys.stdout.flush()
    os.dup2(STDERR, STDOUT)
    lost = _Results.lost
    if lost is None or isinstance(lost, BrokenPipeError):
        return code
    print(
        f"nas: the result cannot be written to stdout ({lost.strerror}); what was stored is kept, so redirect it "
        "elsewhere and run the same command again",
        file=sys.stderr,
    )
    return code or 1


@contextmanager
def result_alone() -> Iterator[None]:
    """While open, stdout carries what is written to `results()` and nothing else.

    What a user's part, its C code or a process that it starts prints goes to stderr.
    """
    global _results  # noqa: PLW0603 (the streams are the process's own state)
    before, saved = sys.stdout, None
    before.flush()
    _results = before
    try:
        if before.fileno() == STDOUT:
            saved = os.dup(STDOUT)
            _results = _over(before, saved, _Results, live=False)
            os.dup2(STDERR, STDOUT)
    except OSError:  # a stream of another program, such as a test's: it has no descriptor
        pass
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = before
        _results.flush()
        _results = None
        if saved is not None:
            os.dup2(saved, STDOUT)
            os.close(saved)


def results() -> TextIO:
    """Where a command writes its result."""
    return _results or sys.stdout


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person watches the stream; None is one that is closed."""
    return stream is not None and not stream.closed and stream.isatty()


def say(text: str) -> None:
    """Write a line to stderr, above a progress bar; nothing where it cannot be written."""
    if sys.stderr is not None:  # print() would take stdout in its place
        with suppress(OSError, ValueError):  # full, or closed
            tqdm.write(text, file=sys.stderr)


def show_warning(message: Warning | str, *_args: object, **_more: object) -> None:
    """A warning as a command shows it, in place of `warnings.showwarning`: the sentence without the source's line."""
    print(f"nas: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _over(stream: TextIO | None, number: int, kind: type[_Messages], *, live: bool) -> TextIO:
    """A text stream over a descriptor, written as `stream` is; a sign that it lacks becomes its escape.

    Args:
        live: write each line at once.
    """
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # PYTHONUNBUFFERED leaves the buffer out
    if stream is not None and not isinstance(raw, io.FileIO):
        return stream  # a console or another program's
    encoding = "utf-8" if stream is None else stream.encoding
    writer = io.BufferedWriter(kind(number, "w", closefd=False))
    live = live or raw is buffer is not None
    return io.TextIOWrapper(writer, encoding, "backslashreplace", line_buffering=live)
