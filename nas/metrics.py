"""Names of metrics that say something of another metric."""

from __future__ import annotations

from collections.abc import Iterable

UNCOUNTED = "uncounted:"
"""Prefix of a metric that names an operator whose work is missing in `flops`; its value is the number of calls."""


def uncounted(metrics: Iterable[str]) -> list[str]:
    """Names of the operators whose work is missing in the `flops` of these metrics."""
    return sorted(name.removeprefix(UNCOUNTED) for name in metrics if name.startswith(UNCOUNTED))
