"""The standard streams of a command: its result on stdout, everything else on stderr, and no failure ends the command.

A stream may be closed (cron, systemd, `2>&-`), full (`>/dev/full`) or a pipe without a reader. Output that cannot be
written is dropped; if it belongs to the result, the exit code reports the loss.
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
"""The stream for results while stdout is redirected."""


class _Messages(io.FileIO):
    """A file descriptor whose write errors are ignored."""

    def write(self, data: object) -> int:
        try:
            written = super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.failed(error)
            written = None
        return memoryview(data).nbytes if written is None else written  # type: ignore[arg-type]

    def failed(self, error: OSError) -> None:
        """Called with each error; ignores it."""


class _Results(_Messages):
    """A file descriptor whose first write error is remembered."""

    lost: ClassVar[OSError | None] = None

    def failed(self, error: OSError) -> None:
        _Results.lost = _Results.lost or error


def prepare(*, live: bool = False) -> None:
    """Give this process open standard streams that raise no errors.

    A closed descriptor becomes the null device; otherwise a file that is opened later would get its number, and every
    message with it.

    Args:
        live: Write each line of stdout at once, as stderr does; for a process that is killed when it has finished.
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
    """Flush the result; nothing that this process writes later reaches stdout.

    Args:
        code: Exit code of the command.

    Returns:
        The exit code, or 1 instead of 0 if the result was lost. A reader that closes a pipe early has lost nothing.
    """
    sys.stdout.flush()
    os.dup2(STDERR, STDOUT)
    lost = _Results.lost
    if lost is None or isinstance(lost, BrokenPipeError):
        return code
    print(
        f"nas: the result cannot be written to stdout ({lost.strerror}); stored results are safe, so redirect it "
        "elsewhere and run the same command again",
        file=sys.stderr,
    )
    return code or 1


@contextmanager
def only_results() -> Iterator[None]:
    """While open, stdout carries only what is written to `results()`.

    Output of a user's part, of its C code and of processes that it starts goes to stderr.
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
    except OSError:  # a stream without a descriptor, such as that of a test
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
    """The stream to which a command writes its result."""
    return _results or sys.stdout


def is_terminal(stream: TextIO | None) -> bool:
    """Whether the stream is a terminal; None stands for a closed stream."""
    return stream is not None and not stream.closed and stream.isatty()


def say(text: str) -> None:
    """Write a line to stderr, above a progress bar; does nothing if it cannot be written."""
    if sys.stderr is not None:  # print() would write to stdout instead
        with suppress(OSError, ValueError):  # full, or closed
            tqdm.write(text, file=sys.stderr)


def show_warning(message: Warning | str, *_args: object, **_more: object) -> None:
    """Replacement of `warnings.showwarning` in commands: shows the sentence without the source line."""
    print(f"nas: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _over(stream: TextIO | None, number: int, kind: type[_Messages], *, live: bool) -> TextIO:
    """A text stream over a descriptor with the encoding of `stream`; characters that it lacks are escaped.

    Args:
        stream: Stream to replace; None: it is closed.
        number: File descriptor.
        kind: Class of the raw stream.
        live: Write each line at once.
    """
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is no buffer
    if stream is not None and not isinstance(raw, io.FileIO):
        return stream  # a console, or a stream of another program
    encoding = "utf-8" if stream is None else stream.encoding
    writer = io.BufferedWriter(kind(number, "w", closefd=False))
    live = live or raw is buffer is not None
    return io.TextIOWrapper(writer, encoding, "backslashreplace", line_buffering=live)
