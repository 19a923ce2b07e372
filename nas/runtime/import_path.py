"""Where a user's own modules are found: in the current folder, after everything that is installed.

Otherwise a `queue.py` or `random.py` beside the command would replace the library's.
"""

import sys


def current_folder_last() -> None:
    """Undo what `python -m nas` does: it puts the current folder first."""
    if sys.argv[:1] == ["-m"] and sys.path and not sys.flags.safe_path:  # Python has not found the module yet
        module = sys.orig_argv[-len(sys.argv)]
        if module == "nas" or (module.startswith("-") and module.endswith("mnas")):
            sys.path.append(sys.path.pop(0))


def add_current_folder() -> None:
    """Make a user's own `my_space.py` importable from wherever nas is started."""
    from contextlib import suppress  # not before `current_folder_last`
    from pathlib import Path

    with suppress(FileNotFoundError):  # the folder was deleted
        if not {"", str(Path.cwd())} & set(sys.path):
            sys.path.append(str(Path.cwd()))
