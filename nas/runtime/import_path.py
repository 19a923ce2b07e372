"""The import path: a user's own modules are found in the current folder, after everything that is installed.

Otherwise a `queue.py` or `random.py` in the current folder would replace the library's.
"""

import sys


def current_folder_last() -> None:
    """Move the current folder, which `python -m nas` puts first, to the end of the import path."""
    if sys.argv[:1] == ["-m"] and sys.path and not sys.flags.safe_path:  # Python has not found the module yet
        module = sys.orig_argv[-len(sys.argv)]
        if module == "nas" or (module.startswith("-") and module.endswith("mnas")):
            sys.path.append(sys.path.pop(0))


def add_current_folder() -> None:
    """Make modules of the current folder, such as a user's `my_space.py`, importable."""
    from contextlib import suppress  # not before `current_folder_last`
    from pathlib import Path

    with suppress(FileNotFoundError):  # the folder was deleted
        if not {"", str(Path.cwd())} & set(sys.path):
            sys.path.append(str(Path.cwd()))
