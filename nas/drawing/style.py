"""One plain style for every figure, independent of the user's matplotlibrc and environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def plain_style(settings: Mapping[str, Any]) -> Iterator[None]:
    """Matplotlib's own defaults with `settings`, and text drawn as it is written; undone afterwards.

    The first import of matplotlib must happen in here: it refuses to be imported if `MPLBACKEND` names a backend that
    is not installed, as in a process started from a notebook, and no figure of ours is shown on a screen.
    """
    named = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as mpl
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    with mpl.rc_context():
        mpl.rcdefaults()
        own: dict[Any, Any] = {"text.usetex": False, "text.parse_math": False, **settings}
        mpl.rcParams.update(own)
        yield
