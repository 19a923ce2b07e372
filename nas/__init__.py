"""cellnas: reproducible neural architecture search for PyTorch."""

from __future__ import annotations

from nas.runtime.import_path import current_folder_last

current_folder_last()  # before anything of the library is imported

# ruff: noqa: E402
import nas.runtime.interrupt  # noqa: F401 (before everything that takes a second to import)

# isort: split
from importlib.metadata import PackageNotFoundError, version

from nas.core import Architecture, Context, Metrics, Objective, Proposal, Task, Trial
from nas.engine.budget import Budget
from nas.engine.search import SearchResult, search
from nas.errors import TrialFailed, UsageError, UserError
from nas.space.base import SearchSpace
from nas.training.summary import describe

try:
    __version__ = version("cellnas")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = [
    "Architecture",
    "Budget",
    "Context",
    "Metrics",
    "Objective",
    "Proposal",
    "SearchResult",
    "SearchSpace",
    "Task",
    "Trial",
    "TrialFailed",
    "UsageError",
    "UserError",
    "describe",
    "search",
]
