"""Names of a package that are imported when they are first used (PEP 562).

`from nas.strategies import DARTS` then needs torch, and `import nas.strategies` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_attributes(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    Args:
        package: Its `__name__`.
        names: Module within the package -> the names it holds.
    """
    module_of = {name: module for module, held in names.items() for name in held}

    def attribute(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{module_of[name]}"), name)

    return attribute
