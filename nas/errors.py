"""The errors that a user can cause, and unexpected exceptions as one line of text."""

from __future__ import annotations

import traceback
from pathlib import Path

NOT_IN_TABLE = "not_in_table"
"""Kind of failure of a proposal that a table of a sample does not contain; it costs nothing."""
LIBRARY_FOLDERS = ("site-packages", "dist-packages", str(Path(traceback.__file__).parent))
"""Folders of installed packages and of Python's own library."""
MAX_TRACEBACK = 20_000
"""Longest stored traceback, in characters; the end names the line that failed."""
TORCH_HOOKS = ("__torch_dispatch__", "__torch_function__")
"""Methods that torch calls for each operator of a network: no frame below them belongs to the network."""


class UserError(Exception):
    """An error the user can fix, in one sentence: the offending value, what was expected, the setting to change."""


class UsageError(UserError, ValueError):
    """The command or its arguments are wrong (exit code 2); nothing was started."""


class TrialFailed(Exception):
    """Ends one trial, not the search.

    Args:
        kind: Stored with the trial: `not_finite`, `out_of_memory`, `time_limit`, `not_in_table`, or one of your own.
        message: One sentence for a person, with what to try.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


SIGNATURES = ", but expected one of:"
"""Text before the signatures that torch lists, in some 700 characters, after a call with wrong arguments."""


def text_of(error: BaseException) -> str:
    """The text of an exception on one line; its `__str__` may fail."""
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 (it must not hide the original error)
        text = f"its __str__ raises {type(failure).__name__}"
    text = text.partition(SIGNATURES)[0]
    return " ".join(text.split()).encode(errors="replace").decode() or "no message"


def outside_libraries(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of an exception that are the user's or our own, outermost first."""
    frames = [*traceback.extract_tb(error.__traceback__)]
    hook = next((index for index, frame in enumerate(frames) if frame.name in TORCH_HOOKS), None)
    return [frame for frame in frames[:hook] if not any(name in frame.filename for name in LIBRARY_FOLDERS)]


def traceback_of(error: BaseException) -> str:
    """The traceback of an exception as Python prints it, at most `MAX_TRACEBACK` characters from its end."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 (an exception whose own text fails)
        text = "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
    text = text.encode(errors="replace").decode().rstrip()
    return text if len(text) <= MAX_TRACEBACK else f"…{text[-MAX_TRACEBACK:]}"


def last_frames(text: str, most: int = 3) -> str:
    """The end of a printed traceback: its last frames outside of libraries and of cellnas, and the exception.

    Args:
        text: As `traceback_of` returns it.
        most: Number of frames.

    Returns:
        Nothing if no frame is the user's: the message of the error says more then.
    """
    frames: list[list[str]] = []
    end: list[str] = []
    for line in text.splitlines():
        if line.startswith('  File "'):
            frames.append([line])
            end = []
        elif line.startswith("    ") and frames and not end:
            frames[-1].append(line)
        else:
            end.append(line)
    ours = (*LIBRARY_FOLDERS, str(Path(__file__).parent))
    users = [frame for frame in frames if not any(folder in frame[0] for folder in ours)]
    if not users:
        return ""
    return "\n".join([*(line for frame in users[-most:] for line in frame), *end[:most]])


def located(error: BaseException) -> str:
    """An unexpected exception on one line, with the file and line that raised it."""
    # The last frame of the user's code or ours says more than one inside a library
    frames = outside_libraries(error) or [*traceback.extract_tb(error.__traceback__)]
    position = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {text_of(error)}{position}"
